!> Compressed sparse rows in blocks of columns, times many rows of activations side by side.
!>
!> The nonzeros of a block lie row by row, those of the next block behind them.  Rows of
!> activations, here samples, lie side by side in vectors: a nonzero is one broadcast and, for each
!> vector, one multiplication and addition.  The columns of samples that a block multiplies stay in
!> L1 or L2.
module fq_blocked_csr_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_align, only: aligned_start
  use fq_epilogue_real32, only: epilogue
  use fq_finish_real32, only: finish_rows, finish_softmax
  use fq_gemm_real32, only: LANES, LINE, transpose_columns, TRANSPOSE_STEPS
  use fq_kinds, only: i8, i16, i32, i64, wp => sp
  use fq_layer_parts, only: INPUTS_CODED, layer_parts
  use fq_nonzeros_real32, only: count_nonzeros, nonzeros, read_nonzeros, store_scale
  use fq_precondition, only: CHECKED, require
  use fq_quantized_rows_real32, only: quantize_to_reals, scale_rows
  use fq_share, only: part
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_stored_layer, only: place, stored_layer
  use fq_weight_parts_real32, only: REAL_BYTES
  use fq_work_size, only: SMALL_PRODUCT
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: block_cols_of, multiply_blocked_csr_layer, pack_blocked_csr_layer, &
    plan_blocked_csr_layer

  ! Rows of weights of an item at most: their sums, 256 KiB, stay in L2.
  integer(i64), parameter :: MOST_ROWS = 512
  integer, parameter :: ENTRY_BYTES = storage_size(1.0_wp)/8
  ! Vectors of samples side by side: sums in as many registers, for which a value is broadcast once.
  integer, parameter :: MOST_VECTORS = 8, MANY_VECTORS = 4
  ! Blocks of at most so many columns times MOST_VECTORS vectors fill 32 KiB of L1, or half of it.
  integer(i64), parameter :: NARROW_COLS = 128
  ! Samples up to which blocks are long: side by side they fit L1 all the same.
  integer(i64), parameter, public :: FEW_LANES = 16
  integer(i64), parameter :: LONG_BLOCK_COLS = 2048

  !> How the weights are blocked and scaled.
  type :: blocked_csr
    integer(i64) :: block_cols = 0     !! columns of a block, at most 32768
    logical :: has_scale = .false.     !! else there is no scale and no step
  end type blocked_csr

  !> Samples that lie side by side.
  type :: sample_run
    integer(i64) :: first = 0   !! samples before them
    integer(i64) :: width = 0   !! samples for which there are lanes
    integer(i64) :: valid = 0   !! samples that there are
  end type sample_run

contains

  !> Places of a layer.
  subroutine plan_blocked_csr_layer(parts, batch, layer, used)
    type(layer_parts), intent(in) :: parts       !! what it is made of: `count_nonzeros` takes it
    integer(i64), intent(in) :: batch            !! samples that come together
    type(stored_layer), intent(inout) :: layer   !! of FORMAT_BLOCKED_CSR
    integer(i64), intent(inout) :: used          !! bytes of the memory
    integer(i64) :: total, most, blocks

    call count_nonzeros(parts, total, most)
    layer%rows = layer%n
    layer%block_cols = block_cols_of(parts, total, batch)
    blocks = (layer%k + layer%block_cols - 1)/layer%block_cols
    call place((layer%n*blocks + 1)*8, used, layer%starts)
    call place(total*2, used, layer%indices)
    call place(total*REAL_BYTES, used, layer%weights)
    if (parts%inputs == INPUTS_CODED) call place(layer%n*REAL_BYTES, used, layer%scale)
  end subroutine plan_blocked_csr_layer

  !> Columns of a block: some 30 nonzeros a row, or as many as L2 holds.
  pure function block_cols_of(parts, total, batch) result(cols)
    type(layer_parts), intent(in) :: parts   !! what a layer is made of
    integer(i64), intent(in) :: total        !! its nonzeros
    integer(i64), intent(in) :: batch        !! samples that come together
    integer(i64) :: cols

    if (batch <= FEW_LANES) then
      cols = LONG_BLOCK_COLS
    else if (100*total > 30*parts%n*parts%k) then
      cols = 64
    else
      cols = merge(128_i64, 1024_i64, 100*total > 15*parts%n*parts%k)
    end if
  end function block_cols_of

  !> Its arrays.
  subroutine pack_blocked_csr_layer(parts, layer, memory, info)
    type(layer_parts), intent(in) :: parts                       !! what it is made of
    type(stored_layer), intent(in) :: layer                      !! where its arrays go
    integer(i8), intent(inout), target, contiguous :: memory(:)  !! the memory
    integer(i32), intent(out) :: info                            !! FQ_OK or FQ_NO_MEMORY
    type(nonzeros) :: found
    integer(i64), pointer, contiguous :: starts(:)
    integer(i16), pointer, contiguous :: cols(:)
    real(wp), pointer, contiguous :: values(:)
    integer(i64) :: segments, count

    call read_nonzeros(parts, layer%coded_inputs /= 0, found, info)
    if (info /= FQ_OK) return
    count = found%starts(layer%n + 1)
    segments = layer%n*((layer%k + layer%block_cols - 1)/layer%block_cols)
    call c_f_pointer(c_loc(memory(layer%starts + 1)), starts, [segments + 1])
    call c_f_pointer(c_loc(memory(layer%indices + 1)), cols, [count])
    call c_f_pointer(c_loc(memory(layer%weights + 1)), values, [count])
    call sort_by_block(layer%n, layer%block_cols, found, starts, cols, values)
    call store_scale(parts, layer, memory)
  end subroutine pack_blocked_csr_layer

  !> Nonzeros by blocks of columns, in each block by rows.
  pure subroutine sort_by_block(n, block_cols, found, starts, cols, values)
    integer(i64), intent(in) :: n, block_cols
    type(nonzeros), intent(in) :: found
    integer(i64), intent(out) :: starts(0:)
    integer(i16), intent(out) :: cols(:)
    real(wp), intent(out) :: values(:)
    integer(i64) :: r, i, segment, at

    starts = 0
    do r = 1, n
      do i = found%starts(r) + 1, found%starts(r + 1)
        segment = found%cols(i)/block_cols*n + r
        starts(segment) = starts(segment) + 1
      end do
    end do
    do segment = 1, size(starts, kind=i64) - 1
      starts(segment) = starts(segment) + starts(segment - 1)
    end do
    ! Each segment is filled from where it starts, which is then where it ends: that of the next.
    do r = 1, n
      do i = found%starts(r) + 1, found%starts(r + 1)
        segment = found%cols(i)/block_cols*n + r - 1
        starts(segment) = starts(segment) + 1
        at = starts(segment)
        cols(at) = int(mod(int(found%cols(i), i64), block_cols), i16)
        values(at) = found%values(i)
      end do
    end do
    do segment = size(starts, kind=i64) - 1, 1, -1
      starts(segment) = starts(segment - 1)
    end do
    starts(0) = 0
  end subroutine sort_by_block

  !> `y = activation(scale*(x w**T)*step + bias)`, the zeros of w skipped.
  !>
  !> A sum is one chain, in the order in which the nonzeros lie.
  !>
  !> *Preconditions*: `starts(block*n + row)`, both from 0, counts the nonzeros before that row of
  !> that block; `cols` counts from 0 within a block.
  subroutine multiply_blocked_csr(x, blocking, starts, cols, values, scale, step, bias, after, y, &
    threads, info)
    real(wp), intent(in), contiguous :: x(:, :)   !! activations, `(k, m)`
    type(blocked_csr), intent(in) :: blocking     !! how the weights are blocked
    integer(i64), intent(in) :: starts(0:*)       !! nonzeros before each row of each block, and all
    integer(i16), intent(in) :: cols(*)           !! column of each nonzero in its block
    real(wp), intent(in) :: values(*)             !! nonzeros
    real(wp), intent(in) :: scale(*)              !! factor of each column of y, `(n)`
    real(wp), intent(in) :: step(*)               !! factor of each row of y, `(m)`
    real(wp), intent(in) :: bias(*)               !! added to each row of y, `(n)`
    type(epilogue), intent(in) :: after           !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)    !! results, `(n, m)`
    integer(i32), intent(in) :: threads           !! threads to use, at least 1
    integer(i32), intent(out) :: info             !! FQ_OK or FQ_NO_MEMORY
    real(wp), allocatable :: samples(:), sums(:, :)
    type(sample_run) :: run
    type(part) :: piece
    integer(i64) :: k, m, n, most, runs, down, rows, item, nonzeros, samples_start, sums_start
    integer(i32) :: team
    integer :: t, stat
    logical :: again

    k = size(x, 1, kind=i64)
    m = size(x, 2, kind=i64)
    n = size(y, 1, kind=i64)
    if (CHECKED) call require_blocks(k, n, blocking%block_cols, starts, cols)
    most = merge(MOST_VECTORS, MANY_VECTORS, blocking%block_cols <= NARROW_COLS)*LANES
    runs = runs_of(m, most)
    nonzeros = starts((k + blocking%block_cols - 1)/blocking%block_cols*n)
    team = merge(threads, 1_i32, nonzeros*m > SMALL_PRODUCT)
    rows = min(MOST_ROWS, max(16_i64, n*runs/(4*team)))
    if (team == 1) rows = MOST_ROWS
    down = (n + rows - 1)/rows
    ! Either the weights are read again for each run, or x for each item of rows: what is less.
    again = (runs - 1)*nonzeros*(ENTRY_BYTES + 2) < (down - 1)*k*m*ENTRY_BYTES
    allocate (samples(k*(m + LANES) + LINE), stat=stat)
    if (stat == 0) allocate (sums(most*rows + LINE, team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    samples_start = aligned_start(samples, storage_size(samples))
    !$omp parallel default(none) num_threads(team) if(team > 1) private(t, run, piece, sums_start) &
    !$omp shared(x, blocking, starts, cols, values, scale, step, bias, after, y, samples, &
    !$omp        samples_start, sums, k, m, n, most, runs, down, again, rows)
    t = 1
    !$ t = omp_get_thread_num() + 1
    sums_start = aligned_start(sums(:, t), storage_size(sums))
    !$omp do schedule(static)
    do item = 1, runs
      run = run_of(item, m, most)
      call transpose_samples(k, run, x(:, run%first + 1:run%first + run%valid), &
        samples(samples_start + run%first*k))
    end do
    !$omp do schedule(dynamic)
    do item = 0, down*runs - 1
      run = run_of(merge(item/down, mod(item, runs), again) + 1, m, most)
      piece%row = run%first
      piece%last_row = run%first + run%valid
      piece%col = merge(mod(item, down), item/runs, again)*rows
      piece%last_col = min(piece%col + rows, n)
      call sum_csr_blocks(k, n, blocking%block_cols, starts, cols, values, piece, run%width, &
        samples(samples_start + run%first*k), sums(sums_start, t))
      call transpose_sums(run%width, sums(sums_start, t), piece, n, y)
      if (blocking%has_scale) call scale_rows(piece, scale, step, n, y)
      call finish_rows(piece, bias, after, n, y)
    end do
    !$omp end parallel
    if (down > 1) call finish_softmax(after, y, team)
  end subroutine multiply_blocked_csr

  !> What is expected of weights in blocks.
  pure subroutine require_blocks(k, n, block_cols, starts, cols)
    integer(i64), intent(in) :: k, n, block_cols
    integer(i64), intent(in) :: starts(0:*)
    integer(i16), intent(in) :: cols(*)
    integer(i64) :: block, first, last, r

    if (.not. CHECKED) return
    call require(block_cols >= 1 .and. block_cols <= 32768, &
      'multiply_blocked_csr: 1 <= block_cols <= 32768')
    call require(starts(0) == 0, 'multiply_blocked_csr: no nonzeros before the first row')
    do block = 0, (k + block_cols - 1)/block_cols - 1
      first = starts(block*n)
      do r = 1, n
        last = starts(block*n + r)
        call require(last >= first, 'multiply_blocked_csr: starts ascend')
        call require(all(cols(first + 1:last) >= 0 .and. cols(first + 1:last) < min(block_cols, k &
          - block*block_cols)), 'multiply_blocked_csr: cols lie in their block')
        first = last
      end do
    end do
  end subroutine require_blocks

  !> Runs of side-by-side samples: as many of `most` as fit, then halves of it, one vector at least.
  pure function runs_of(m, most) result(runs)
    integer(i64), intent(in) :: m, most
    integer(i64) :: runs
    integer(i64) :: left, width

    runs = m/most
    left = m - runs*most
    width = most/2
    do while (left > 0)
      if (left >= width .or. width == LANES) then
        runs = runs + 1
        left = left - width
      else
        width = width/2
      end if
    end do
  end function runs_of

  !> The samples of a run, counted from 1.
  pure function run_of(number, m, most) result(run)
    integer(i64), intent(in) :: number, m, most
    type(sample_run) :: run
    integer(i64) :: r

    run%width = most
    do r = 1, number
      do while (m - run%first < run%width .and. run%width > LANES)
        run%width = run%width/2
      end do
      if (r < number) run%first = run%first + run%width
    end do
    run%valid = min(run%width, m - run%first)
  end function run_of

  !> Samples side by side, step by step of k, and zeros where there are none.
  pure subroutine transpose_samples(k, run, x, samples)
    integer(i64), intent(in) :: k
    type(sample_run), intent(in) :: run
    real(wp), intent(in) :: x(k, run%valid)
    real(wp), intent(inout) :: samples(run%width, k)
    integer(i64) :: l, s, steps

    do s = 0, k - 1, 4*TRANSPOSE_STEPS
      steps = min(4*TRANSPOSE_STEPS, k - s)
      do l = 0, run%valid - LANES, LANES
        call transpose_columns(steps, k, x(s + 1, l + 1), steps, run%width, samples(l + 1, s + 1))
      end do
    end do
    l = run%valid/LANES*LANES
    if (l == run%valid) return
    do s = 1, k
      samples(l + 1:l + LANES, s) = 0
    end do
    do l = l + 1, run%valid
      samples(l, :) = x(:, l)
    end do
  end subroutine transpose_samples

  !> Sums of samples side by side as a part of y.
  pure subroutine transpose_sums(width, sums, piece, n, y)
    integer(i64), intent(in) :: width, n
    type(part), intent(in) :: piece
    real(wp), intent(in) :: sums(width, piece%last_col - piece%col)
    real(wp), intent(inout) :: y(n, *)
    integer(i64) :: j, rows, valid

    rows = piece%last_col - piece%col
    valid = piece%last_row - piece%row
    do j = 0, rows - LANES, LANES
      call transpose_columns(width, width, sums(1, j + 1), valid, n, y(piece%col + j + 1, &
        piece%row + 1))
    end do
    do j = rows/LANES*LANES + 1, rows
      y(piece%col + j, piece%row + 1:piece%last_row) = sums(1:valid, j)
    end do
  end subroutine transpose_sums

  !> Products of the rows of weights of a part with samples side by side.
  pure subroutine sum_csr_blocks(k, n, block_cols, starts, cols, values, piece, width, x, sums)
    integer(i64), intent(in) :: k, n, block_cols, starts(0:*), width
    integer(i16), intent(in) :: cols(*)
    type(part), intent(in) :: piece
    real(wp), intent(in) :: values(*), x(width, k)
    real(wp), intent(inout) :: sums(width, piece%last_col - piece%col)
    integer(i64) :: b, rows, first

    rows = piece%last_col - piece%col
    sums = 0
    do b = 0, (k - 1)/block_cols
      first = b*n + piece%col
      select case (width/LANES)
      case (8)
        call add_eight_vectors(rows, starts(first), cols, values, x(1, b*block_cols + 1), sums)
      case (4)
        call add_four_vectors(rows, starts(first), cols, values, x(1, b*block_cols + 1), sums)
      case (2)
        call add_two_vectors(rows, starts(first), cols, values, x(1, b*block_cols + 1), sums)
      case default
        call add_half_vectors(rows, starts(first), cols, values, x(1, b*block_cols + 1), sums)
      end select
    end do
  end subroutine sum_csr_blocks

  pure subroutine add_eight_vectors(rows, starts, cols, values, x, sums)
    integer, parameter :: V = LANES, P = 8
    include 'fq_tile_blocked_csr.inc'
  end subroutine add_eight_vectors

  pure subroutine add_four_vectors(rows, starts, cols, values, x, sums)
    integer, parameter :: V = LANES, P = 4
    include 'fq_tile_blocked_csr.inc'
  end subroutine add_four_vectors

  pure subroutine add_two_vectors(rows, starts, cols, values, x, sums)
    integer, parameter :: V = LANES, P = 2
    include 'fq_tile_blocked_csr.inc'
  end subroutine add_two_vectors

  !> One vector, as two halves.
  pure subroutine add_half_vectors(rows, starts, cols, values, x, sums)
    integer, parameter :: V = LANES/2, P = 2
    include 'fq_tile_blocked_csr.inc'
  end subroutine add_half_vectors

  !> A layer of a network.
  subroutine multiply_blocked_csr_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer                   !! of FORMAT_BLOCKED_CSR
    integer(i8), intent(in), target, contiguous :: memory(:)  !! arrays of the layer
    real(wp), intent(in), target, contiguous :: x(:, :)       !! activations, `(k, m)`
    real(wp), intent(in) :: bias(*)                           !! added to each row, `(rows)`
    type(epilogue), intent(in) :: after                       !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)              !! results, `(rows, m)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! status code
    type(blocked_csr) :: blocking
    real(wp), allocatable, target :: codes(:, :)
    real(wp), allocatable :: step(:, :)
    real(wp), pointer, contiguous :: inputs(:, :), values(:), scale(:)
    integer(i64), pointer, contiguous :: starts(:)
    integer(i16), pointer, contiguous :: cols(:)
    integer(i64) :: segments, count

    blocking = blocked_csr(layer%block_cols, layer%coded_inputs /= 0)
    call quantize_to_reals(x, blocking%has_scale, codes, step, threads, info)
    if (info /= FQ_OK) return
    inputs => x
    if (blocking%has_scale) inputs => codes
    segments = layer%rows*((layer%k + layer%block_cols - 1)/layer%block_cols)
    call c_f_pointer(c_loc(memory(layer%starts + 1)), starts, [segments + 1])
    count = starts(segments + 1)
    call c_f_pointer(c_loc(memory(layer%indices + 1)), cols, [count])
    call c_f_pointer(c_loc(memory(layer%weights + 1)), values, [count])
    call c_f_pointer(c_loc(memory(max(layer%scale, 0_i64) + 1)), scale, [layer%rows])
    call multiply_blocked_csr(inputs, blocking, starts, cols, values, scale, step, bias, after, y, &
      threads, info)
  end subroutine multiply_blocked_csr_layer
end module fq_blocked_csr_real32
