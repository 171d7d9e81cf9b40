!> Layers of pruned weights, `y = activation(x w**T + bias)`, that skip what was pruned.
!>
!> Python: `pyfq/sparse.py`.  Reference: `pyfq/reference/sparse.py`.
module fq_sparse_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_SOFTMAX
  use fq_activation_real32, only: activate_row
  use fq_align, only: aligned_start
  use fq_epilogue_real32, only: epilogue
  use fq_finish_real32, only: finish_rows
  use fq_gemm_real32, only: LANES, transpose_columns, TRANSPOSE_STEPS
  use fq_code_rule, only: code_rule
  use fq_gemm_int8, only: CODE_KIND, CODE_SHIFT, CODE_STEPS, multiply_codes
  use fq_kinds, only: i8, i16, i32, i64, wp => sp
  use fq_quantize_real32, only: quantize
  use fq_share, only: piece => part
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_work_size, only: SMALL_PRODUCT, SMALL_WORK
  implicit none (type, external)
  private
  public :: sparse_codes, sparse_pairs, sparse_row, sparse_scatter, sparse_stream

  ! Rows of weights of an item of `sparse_stream` at most: their sums, 256 KiB, stay in L2.
  integer(i64), parameter :: STREAM_ROWS = 512
  integer, parameter :: ENTRY_BYTES = storage_size(1.0_wp)/8
  integer, parameter :: LINE = 16                  ! entries of a line of cache at most
  ! Vectors of samples side by side: sums in as many registers, for which a value is broadcast once.
  integer, parameter :: MOST_VECTORS = 8, MANY_VECTORS = 4
  ! Blocks of at most so many steps times MOST_VECTORS vectors fill 32 KiB of L1, or half of it.
  integer(i64), parameter :: NARROW_STEPS = 128
  ! Rows of weights that `sparse_pairs` takes side by side, and samples at a time.
  integer(i64), parameter :: PAIR_ROWS = 16, PAIR_BATCH = 8
  integer(i64), parameter :: PAIR_GROUPS = 8       ! groups whose positions are one word
  ! Bytes of unpacked rows of an item of `sparse_codes`: they stay in L2 while samples pass by.
  integer(i64), parameter :: CODE_BYTES = 262144
  integer(i64), parameter :: MOST_CODE_ROWS = 192  ! unpacked rows of an item at most
  integer(i64), parameter :: CODE_SAMPLES = 48     ! samples whose integer sums are held at a time

contains

  !> The layer for weights as a stream: blocks of columns, in each block rows, in each row its
  !> nonzeros.
  !>
  !> Samples lie side by side, so that a nonzero is one broadcast and, for each vector of samples,
  !> one multiplication and addition.  A sum is one chain, in the order of the stream.
  !>
  !> *Preconditions*: `starts(block*n + row)`, both from 0, counts the nonzeros before that row of
  !> that block; `cols` counts from 0 within a block of `block_steps` columns, at most 32768.
  subroutine sparse_stream(x, block_steps, starts, cols, values, has_scale, scale, step, has_bias, &
                           bias, activation, slope, y, threads, info)
    real(wp), intent(in), contiguous :: x(:, :)   !! activations, `(k, m)`
    integer(i64), intent(in) :: block_steps       !! columns of a block
    integer(i64), intent(in) :: starts(0:*)       !! nonzeros before each row of each block, and all
    integer(i16), intent(in) :: cols(*)           !! column of each nonzero in its block
    real(wp), intent(in) :: values(*)             !! nonzeros
    logical, intent(in) :: has_scale              !! else scale and step are not looked at
    real(wp), intent(in) :: scale(*)              !! factor of each column of y, `(n)`
    real(wp), intent(in) :: step(*)               !! factor of each row of y, `(m)`
    logical, intent(in) :: has_bias               !! else bias is not looked at
    real(wp), intent(in) :: bias(*)               !! added to each row of y, `(n)`
    integer(i32), intent(in) :: activation        !! one of ACT_...
    real(wp), intent(in) :: slope                 !! of ACT_LEAKY_RELU
    real(wp), intent(out), contiguous :: y(:, :)  !! results, `(n, m)`
    integer(i32), intent(in) :: threads           !! threads to use, at least 1
    integer(i32), intent(out) :: info             !! FQ_OK or FQ_NO_MEMORY
    real(wp), allocatable :: turned(:), sums(:, :)
    integer(i64) :: k, m, n, most, parts, down, rows, item, part, row, last_row, first, width, valid
    integer(i64) :: turned_start, sums_start, nonzeros, i
    integer(i32) :: team
    integer :: t, stat
    logical :: again

    k = size(x, 1, kind=i64)
    m = size(x, 2, kind=i64)
    n = size(y, 1, kind=i64)
    most = merge(MOST_VECTORS, MANY_VECTORS, block_steps <= NARROW_STEPS)*LANES
    parts = parts_of(m, most)
    nonzeros = starts((k + block_steps - 1)/block_steps*n)
    team = merge(threads, 1_i32, nonzeros*m > SMALL_PRODUCT)
    rows = min(STREAM_ROWS, max(16_i64, n*parts/(4*team)))
    if (team == 1) rows = STREAM_ROWS
    down = (n + rows - 1)/rows
    ! Either the weights are read again for each part, or x for each item of rows: what is less.
    again = (parts - 1)*nonzeros*(ENTRY_BYTES + 2) < (down - 1)*k*m*ENTRY_BYTES
    allocate (turned(k*(m + LANES) + LINE), stat=stat)
    if (stat == 0) allocate (sums(most*rows + LINE, team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    turned_start = aligned_start(turned, storage_size(turned))
    !$omp parallel default(none) num_threads(team) if(team > 1) &
    !$omp private(t, part, row, last_row, first, width, valid, sums_start) &
    !$omp shared(x, block_steps, starts, cols, values, has_scale, scale, step, has_bias, bias, &
    !$omp        activation, slope, y, turned, turned_start, sums, k, m, n, most, parts, down, &
    !$omp        again, rows)
    t = 1
    !$ t = omp_get_thread_num() + 1
    sums_start = aligned_start(sums(:, t), storage_size(sums))
    !$omp do schedule(static)
    do part = 1, parts
      call find_part(part, m, most, first, width, valid)
      call turn_samples(k, valid, x(:, first + 1:first + valid), width, &
                        turned(turned_start + first*k))
    end do
    !$omp do schedule(dynamic)
    do item = 0, down*parts - 1
      part = merge(item/down, mod(item, parts), again)
      row = merge(mod(item, down), item/parts, again)*rows
      call find_part(part + 1, m, most, first, width, valid)
      last_row = min(row + rows, n)
      call multiply_stream(k, n, block_steps, starts, cols, values, row, last_row, width, &
                           turned(turned_start + first*k), sums(sums_start, t))
      call turn_sums(width, row, last_row, sums(sums_start, t), n, first, valid, y)
      if (has_scale) call scale_rows(first, first + valid, row, last_row, scale, step, n, y)
      call finish_rows(piece(first, first + valid, row, last_row), bias, epilogue(has_bias, &
        activation, slope), n, y)
    end do
    if (activation == ACT_SOFTMAX .and. down > 1) then
      !$omp do schedule(static)
      do i = 1, m
        call activate_row(activation, slope, y(:, i))
      end do
    end if
    !$omp end parallel
  end subroutine sparse_stream

  !> Parts of side-by-side samples: as many of `most` as fit, then halves of it, one vector at
  !> least.
  pure function parts_of(m, most) result(parts)
    integer(i64), intent(in) :: m, most
    integer(i64) :: parts
    integer(i64) :: left, width

    parts = m/most
    left = m - parts*most
    width = most/2
    do while (left > 0)
      if (left >= width .or. width == LANES) then
        parts = parts + 1
        left = left - width
      else
        width = width/2
      end if
    end do
  end function parts_of

  !> Samples before a part, those it has room for, and those it has.
  pure subroutine find_part(part, m, most, first, width, valid)
    integer(i64), intent(in) :: part, m, most
    integer(i64), intent(out) :: first, width, valid
    integer(i64) :: p

    first = 0
    width = most
    do p = 1, part
      do while (m - first < width .and. width > LANES)
        width = width/2
      end do
      if (p < part) first = first + width
    end do
    valid = min(width, m - first)
  end subroutine find_part

  !> Samples side by side, step by step of k, and zeros where there are none.
  pure subroutine turn_samples(k, valid, x, width, turned)
    integer(i64), intent(in) :: k, valid, width
    real(wp), intent(in) :: x(k, valid)
    real(wp), intent(inout) :: turned(width, k)
    integer(i64) :: l, s, steps

    do s = 0, k - 1, 4*TRANSPOSE_STEPS
      steps = min(4*TRANSPOSE_STEPS, k - s)
      do l = 0, valid - LANES, LANES
        call transpose_columns(steps, k, x(s + 1, l + 1), steps, width, turned(l + 1, s + 1))
      end do
    end do
    l = valid/LANES*LANES
    if (l == valid) return
    do s = 1, k
      turned(l + 1:l + LANES, s) = 0
    end do
    do l = l + 1, valid
      turned(l, :) = x(:, l)
    end do
  end subroutine turn_samples

  !> Sums of samples side by side as columns `row + 1 ... last_row` of y.
  pure subroutine turn_sums(width, row, last_row, sums, n, first, valid, y)
    integer(i64), intent(in) :: width, row, last_row, n, first, valid
    real(wp), intent(in) :: sums(width, last_row - row)
    real(wp), intent(inout) :: y(n, *)
    integer(i64) :: j, rows

    rows = last_row - row
    do j = 0, rows - LANES, LANES
      call transpose_columns(width, width, sums(1, j + 1), valid, n, y(row + j + 1, first + 1))
    end do
    do j = rows/LANES*LANES + 1, rows
      y(row + j, first + 1:first + valid) = sums(1:valid, j)
    end do
  end subroutine turn_sums

  !> Products of rows `row + 1 ... last_row` of the stream with samples side by side.
  pure subroutine multiply_stream(k, n, block_steps, starts, cols, values, row, last_row, width, &
                                  x, sums)
    integer(i64), intent(in) :: k, n, block_steps, starts(0:*), row, last_row, width
    integer(i16), intent(in) :: cols(*)
    real(wp), intent(in) :: values(*), x(width, k)
    real(wp), intent(inout) :: sums(width, last_row - row)
    integer(i64) :: b, rows

    rows = last_row - row
    sums = 0
    do b = 0, (k - 1)/block_steps
      select case (width/LANES)
      case (8)
        call multiply_eight(rows, starts(b*n + row), cols, values, x(1, b*block_steps + 1), sums)
      case (4)
        call multiply_four(rows, starts(b*n + row), cols, values, x(1, b*block_steps + 1), sums)
      case (2)
        call multiply_two(rows, starts(b*n + row), cols, values, x(1, b*block_steps + 1), sums)
      case default
        call multiply_halves(rows, starts(b*n + row), cols, values, x(1, b*block_steps + 1), sums)
      end select
    end do
  end subroutine multiply_stream

  pure subroutine multiply_eight(rows, starts, cols, values, x, sums)
    integer, parameter :: V = LANES, P = 8
    include 'fq_stream.inc'
  end subroutine multiply_eight

  pure subroutine multiply_four(rows, starts, cols, values, x, sums)
    integer, parameter :: V = LANES, P = 4
    include 'fq_stream.inc'
  end subroutine multiply_four

  pure subroutine multiply_two(rows, starts, cols, values, x, sums)
    integer, parameter :: V = LANES, P = 2
    include 'fq_stream.inc'
  end subroutine multiply_two

  pure subroutine multiply_halves(rows, starts, cols, values, x, sums)
    integer, parameter :: V = LANES/2, P = 2
    include 'fq_stream.inc'
  end subroutine multiply_halves

  !> Multiply by the factor of the column, then by that of the row.
  pure subroutine scale_rows(row, last_row, col, last_col, scale, step, n, y)
    integer(i64), intent(in) :: row, last_row, col, last_col, n
    real(wp), intent(in) :: scale(*), step(*)
    real(wp), intent(inout) :: y(n, *)
    integer(i64) :: i, j

    do i = row + 1, last_row
      do j = col + 1, last_col
        y(j, i) = scale(j)*y(j, i)*step(i)
      end do
    end do
  end subroutine scale_rows

  !> The layer for weights in the rows of SciPy's csr_array, and one sample.
  !>
  !> Entry i of a row goes to lane `mod(i, 16)` of its sum, those behind the last 16 one by one.
  subroutine sparse_row(x, indptr, indices, values, has_scale, scale, step, has_bias, bias, &
                        activation, slope, y, threads)
    real(wp), intent(in) :: x(*)                  !! activations, `(k)`
    integer(i64), intent(in) :: indptr(0:*)       !! nonzeros before each row, and all, `(0:n)`
    integer(i32), intent(in) :: indices(*)        !! column of each nonzero, from 0
    real(wp), intent(in) :: values(*)             !! nonzeros
    logical, intent(in) :: has_scale              !! else scale and step are not looked at
    real(wp), intent(in) :: scale(*), step(1)     !! factors of each entry of y `(n)`, and of all
    logical, intent(in) :: has_bias               !! else bias is not looked at
    real(wp), intent(in) :: bias(*)               !! added, `(n)`
    integer(i32), intent(in) :: activation        !! one of ACT_...
    real(wp), intent(in) :: slope                 !! of ACT_LEAKY_RELU
    real(wp), intent(out), contiguous :: y(:, :)  !! result, `(n, 1)`
    integer(i32), intent(in) :: threads           !! threads to use, at least 1
    integer(i64), parameter :: ROWS = 128
    integer(i64) :: n, row, last_row, j

    n = size(y, 1, kind=i64)
    !$omp parallel do default(none) private(last_row, j) schedule(dynamic) num_threads(threads) &
    !$omp shared(x, indptr, indices, values, has_scale, scale, step, has_bias, bias, activation, &
    !$omp        slope, y, n) &
    !$omp if(indptr(n) > SMALL_WORK)
    do row = 0, n - 1, ROWS
      last_row = min(row + ROWS, n)
      do j = row + 1, last_row
        y(j, 1) = gather_dot(indptr(j) - indptr(j - 1), indices(indptr(j - 1) + 1), &
                             values(indptr(j - 1) + 1), x)
      end do
      if (has_scale) call scale_rows(0_i64, 1_i64, row, last_row, scale, step, n, y)
      call finish_rows(piece(0_i64, 1_i64, row, last_row), bias, epilogue(has_bias, activation, &
        slope), n, y)
    end do
    if (activation == ACT_SOFTMAX .and. n > ROWS) call activate_row(activation, slope, y(:, 1))
  end subroutine sparse_row

  pure function gather_dot(count, indices, values, x) result(total)
    integer(i64), intent(in) :: count
    integer(i32), intent(in) :: indices(count)
    real(wp), intent(in) :: values(count), x(*)
    real(wp) :: total
    real(wp) :: lane(16)
    integer(i64) :: t
    integer :: l

    lane = 0
    do t = 0, count - 16, 16
      do l = 1, 16  ! vgatherdps
        lane(l) = lane(l) + values(t + l)*x(indices(t + l) + 1)
      end do
    end do
    total = 0
    do t = count/16*16 + 1, count
      total = total + values(t)*x(indices(t) + 1)
    end do
    lane(1:8) = lane(1:8) + lane(9:16)
    lane(1:4) = lane(1:4) + lane(5:8)
    lane(1:2) = lane(1:2) + lane(3:4)
    total = total + (lane(1) + lane(2))
  end function gather_dot

  !> The layer for 2:4 weights and few samples: an output a lane, groups spread to dense in
  !> registers.
  !>
  !> *Preconditions*: 16 rows lie side by side, groups are filled up to a multiple of 8 with zeros;
  !> of the four bits of a group's positions the first says that the first value is at 0, the second
  !> that it is at 1, the third that the second value is at 3, the fourth that it is at 2.
  subroutine sparse_pairs(x, groups, values, positions, has_bias, bias, activation, slope, y, &
                          threads, info)
    real(wp), intent(in), contiguous :: x(:, :)           !! activations, `(k, m)`
    integer(i64), intent(in) :: groups                    !! groups of a row, a multiple of 8
    real(wp), intent(in), contiguous :: values(:, :)      !! `(16*2*groups, panels)`
    integer(i32), intent(in), contiguous :: positions(:, :)  !! `(16*groups/8, panels)`
    logical, intent(in) :: has_bias                       !! else bias is not looked at
    real(wp), intent(in) :: bias(*)                       !! added to each row of y, `(n)`
    integer(i32), intent(in) :: activation                !! one of ACT_...
    real(wp), intent(in) :: slope                         !! of ACT_LEAKY_RELU
    real(wp), intent(out), contiguous :: y(:, :)          !! results, `(n, m)`
    integer(i32), intent(in) :: threads                   !! threads to use, at least 1
    integer(i32), intent(out) :: info                     !! FQ_OK or FQ_NO_MEMORY
    real(wp), allocatable :: turned(:, :)
    real(wp) :: sums(PAIR_ROWS, PAIR_BATCH)
    integer(i64) :: m, n, panel, first, row, last_row, i
    integer(i32) :: team
    integer :: stat

    m = size(x, 2, kind=i64)
    n = size(y, 1, kind=i64)
    team = merge(threads, 1_i32, size(values, kind=i64)*m > SMALL_PRODUCT)
    allocate (turned(4*groups*PAIR_BATCH, (m + PAIR_BATCH - 1)/PAIR_BATCH), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    !$omp parallel default(none) num_threads(team) if(team > 1) &
    !$omp private(sums, first, row, last_row, i) &
    !$omp shared(x, groups, values, positions, has_bias, bias, activation, slope, y, turned, m, n)
    !$omp do schedule(static)
    do first = 0, m - 1, PAIR_BATCH
      call interleave(size(x, 1, kind=i64), min(PAIR_BATCH, m - first), x(:, first + 1:), &
                      pair_height(m - first), 4*groups, turned(:, first/PAIR_BATCH + 1))
    end do
    !$omp do schedule(dynamic)
    do panel = 1, size(values, 2, kind=i64)
      row = (panel - 1)*PAIR_ROWS
      last_row = min(row + PAIR_ROWS, n)
      do first = 0, m - 1, PAIR_BATCH
        call multiply_pairs(pair_height(m - first), groups, values(:, panel), positions(:, panel), &
                            turned(:, first/PAIR_BATCH + 1), sums)
        do i = 1, min(PAIR_BATCH, m - first)
          y(row + 1:last_row, first + i) = sums(1:last_row - row, i)
        end do
      end do
      call finish_rows(piece(0_i64, m, row, last_row), bias, epilogue(has_bias, activation, slope), &
        n, y)
    end do
    if (activation == ACT_SOFTMAX .and. n > PAIR_ROWS) then
      !$omp do schedule(static)
      do i = 1, m
        call activate_row(activation, slope, y(:, i))
      end do
    end if
    !$omp end parallel
  end subroutine sparse_pairs

  !> Samples multiplied at a time when so many are left: 1, 4 or 8.
  pure function pair_height(left) result(high)
    integer(i64), intent(in) :: left
    integer(i64) :: high

    high = PAIR_BATCH
    if (left <= 4) high = 4
    if (left == 1) high = 1
  end function pair_height

  !> Samples step by step of k, and zeros where there are none.
  pure subroutine interleave(k, count, x, high, steps, turned)
    integer(i64), intent(in) :: k, count, high, steps
    real(wp), intent(in) :: x(k, count)
    real(wp), intent(out) :: turned(high, steps)
    integer(i64) :: i

    do i = 1, high
      if (i > count) then
        turned(i, :) = 0
      else
        turned(i, 1:k) = x(:, i)
        turned(i, k + 1:) = 0
      end if
    end do
  end subroutine interleave

  pure subroutine multiply_pairs(high, groups, values, positions, x, sums)
    integer(i64), intent(in) :: high, groups
    real(wp), intent(in) :: values(*), x(*)
    integer(i32), intent(in) :: positions(*)
    real(wp), intent(inout) :: sums(PAIR_ROWS, PAIR_BATCH)

    if (high == 1) then
      call pairs_once(groups, values, positions, x, sums)
    else if (high == 4) then
      call pairs_four(groups, values, positions, x, sums)
    else
      call pairs_eight(groups, values, positions, x, sums)
    end if
  end subroutine multiply_pairs

  pure subroutine pairs_once(groups, values, positions, x, sums)
    integer, parameter :: B = 1, C = 4  ! four chains hide the latency of an addition
    include 'fq_pairs.inc'
  end subroutine pairs_once

  pure subroutine pairs_four(groups, values, positions, x, sums)
    integer, parameter :: B = 4, C = 1
    include 'fq_pairs.inc'
  end subroutine pairs_four

  pure subroutine pairs_eight(groups, values, positions, x, sums)
    integer, parameter :: B = PAIR_BATCH, C = 1
    include 'fq_pairs.inc'
  end subroutine pairs_eight

  !> The layer for 2:4 weights of 8 bits, x quantized to 8 bits per row, sums of products exact.
  !>
  !> A few rows are spread to dense bytes in L2, then multiplied as dense ones are.  With the sum S,
  !> `y = scale*S*step`, each product rounded, step that of the row of x.
  !>
  !> *Preconditions*: a row holds five runs of `run` bytes, a multiple of 64.  The first two are the
  !> first and second values of groups `1 ... run`, the next two those of groups `run + 1 ...
  !> 2*run`, zeros behind the last group; the last has four bits for each group of the first half,
  !> as `sparse_pairs` has them, and above them those of the second.  `8*run <= 65536`.
  subroutine sparse_codes(x, run, w, code_sums, scale, has_bias, bias, activation, slope, y, &
                          threads, info)
    real(wp), intent(in), contiguous :: x(:, :)       !! activations, `(k, m)`
    integer(i64), intent(in) :: run                   !! bytes of a run
    integer(i8), intent(in), contiguous :: w(:, :)    !! values and positions, `(5*run, n)`
    integer(i32), intent(in) :: code_sums(*)          !! sum of the values of each row, `(n)`
    real(wp), intent(in) :: scale(*)                  !! step of a code of each row, `(n)`
    logical, intent(in) :: has_bias                   !! else bias is not looked at
    real(wp), intent(in) :: bias(*)                   !! added to each row of y, `(n)`
    integer(i32), intent(in) :: activation            !! one of ACT_...
    real(wp), intent(in) :: slope                     !! of ACT_LEAKY_RELU
    real(wp), intent(out), contiguous :: y(:, :)      !! results, `(n, m)`
    integer(i32), intent(in) :: threads               !! threads to use, at least 1
    integer(i32), intent(out) :: info                 !! status code
    type(code_rule), parameter :: INT8 = code_rule(8, -127, 127, 0, 0, 0, 0, 0, 0)
    integer(CODE_KIND), allocatable :: left(:)
    integer(i8), allocatable :: codes(:, :), dense(:, :)
    integer(i32), allocatable :: zeros(:, :), sums(:, :)
    real(wp), allocatable :: step(:, :), minima(:, :)
    integer(i64) :: k, m, n, ldw, cols, across, samples, item, i, start, dense_start
    integer(i32) :: team
    integer :: t, stat

    k = size(x, 1, kind=i64)
    m = size(x, 2, kind=i64)
    n = size(y, 1, kind=i64)
    ldw = 8*run + CODE_STEPS  ! rows do not meet in a set of L1
    team = merge(threads, 1_i32, m*n*k > SMALL_PRODUCT)
    cols = max(12_i64, min(MOST_CODE_ROWS, CODE_BYTES/ldw)/12*12)  ! a multiple of a tile's columns
    cols = min(cols, ((n + team - 1)/team + 11)/12*12)
    across = (n + cols - 1)/cols
    samples = m
    if (across < 4*team) samples = max(4*CODE_SAMPLES, (m*across + 4*team - 1)/(4*team))
    samples = min(samples, m)
    allocate (left(ldw*m + CODE_STEPS), stat=stat)
    if (stat == 0) allocate (codes(k, m), stat=stat)
    if (stat == 0) allocate (zeros(1, m), stat=stat)
    if (stat == 0) allocate (step(1, m), stat=stat)
    if (stat == 0) allocate (minima(1, m), stat=stat)
    if (stat == 0) allocate (dense(ldw*cols + CODE_STEPS, team), stat=stat)
    if (stat == 0) allocate (sums(cols*CODE_SAMPLES, team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info == FQ_OK) call quantize(x, INT8, k, step, zeros, minima, codes, team, info)
    if (info /= FQ_OK) return
    start = aligned_start(left, storage_size(left))
    !$omp parallel default(none) num_threads(team) if(team > 1) private(t, dense_start) &
    !$omp shared(run, w, code_sums, scale, has_bias, bias, activation, slope, y, left, codes, &
    !$omp        dense, sums, step, start, k, m, n, ldw, cols, across, samples)
    t = 1
    !$ t = omp_get_thread_num() + 1
    dense_start = aligned_start(dense(:, t), storage_size(dense))
    !$omp do schedule(static)
    do i = 1, m
      call spread_sample(k, codes(:, i), run, left(start + (i - 1)*ldw))
    end do
    !$omp do schedule(dynamic)
    do item = 0, across*((m + samples - 1)/samples) - 1
      call multiply_rows(mod(item, across)*cols, min(mod(item, across)*cols + cols, n), &
                         item/across*samples, min(item/across*samples + samples, m), run, ldw, &
                         left(start), w, code_sums, scale, step, has_bias, bias, activation, &
                         slope, n, y, dense(dense_start, t), sums(1, t))
    end do
    if (activation == ACT_SOFTMAX .and. across > 1) then
      !$omp do schedule(static)
      do i = 1, m
        call activate_row(activation, slope, y(:, i))
      end do
    end if
    !$omp end parallel
  end subroutine sparse_codes

  !> Codes of a sample in the order in which `spread_row` leaves those of weights.
  pure subroutine spread_sample(k, codes, run, left)
    integer(i64), intent(in) :: k, run
    integer(i8), intent(in) :: codes(k)
    integer(CODE_KIND), intent(out) :: left(run, 4, 2)
    integer(i64) :: g, half, groups
    integer :: j

    left = 0
    do half = 0, 1
      groups = max(0_i64, min(run, k/4 - half*run))
      do g = 1, groups
        !GCC$ unroll 4
        do j = 1, 4
          left(g, j, half + 1) = int(int(codes(4*(half*run + g) - 4 + j), i32) + CODE_SHIFT, &
                                     CODE_KIND)
        end do
      end do
    end do
    g = k/4  ! a short last group
    do j = 1, int(k - 4*g)
      left(mod(g, run) + 1, j, g/run + 1) = int(int(codes(4*g + j), i32) + CODE_SHIFT, CODE_KIND)
    end do
  end subroutine spread_sample

  !> Columns `col + 1 ... last_col` of rows `row + 1 ... last_row` of y.
  pure subroutine multiply_rows(col, last_col, row, last_row, run, ldw, left, w, code_sums, scale, &
                                step, has_bias, bias, activation, slope, n, y, dense, sums)
    integer(i64), intent(in) :: col, last_col, row, last_row, run, ldw, n
    integer(CODE_KIND), intent(in) :: left(ldw, *)
    integer(i8), intent(in) :: w(5*run, n)
    integer(i32), intent(in) :: code_sums(*), activation
    real(wp), intent(in) :: scale(*), step(*), bias(*), slope
    logical, intent(in) :: has_bias
    real(wp), intent(inout) :: y(n, *)
    integer(i8), intent(inout) :: dense(ldw, last_col - col)
    integer(i32), intent(inout) :: sums(last_col - col, CODE_SAMPLES)
    integer(i64) :: first, rows, i, j

    do j = 1, last_col - col
      call spread_row(run, w(1, col + j), dense(1, j))
    end do
    do first = row, last_row - 1, CODE_SAMPLES
      rows = min(CODE_SAMPLES, last_row - first)
      call multiply_codes(8*run/CODE_STEPS, rows, ldw, left(1, first + 1), last_col - col, ldw, &
                          dense, last_col - col, sums)
      do i = 1, rows
        do j = 1, last_col - col
          y(col + j, first + i) = real(sums(j, i) - CODE_SHIFT*code_sums(col + j), wp)
        end do
      end do
      call scale_rows(first, first + rows, col, last_col, scale, step, n, y)
      call finish_rows(piece(first, first + rows, col, last_col), bias, epilogue(has_bias, &
        activation, slope), n, y)
    end do
  end subroutine multiply_rows

  !> A row of 2:4 codes as dense bytes: those at position 0 of each group, then 1, 2 and 3.
  pure subroutine spread_row(run, w, dense)
    integer(i64), intent(in) :: run
    integer(i8), intent(in) :: w(run, 5)
    integer(i8), intent(out) :: dense(run, 4, 2)

    call spread_half(run, w(1, 1), w(1, 2), w(1, 5), 0, dense)
    call spread_half(run, w(1, 3), w(1, 4), w(1, 5), 4, dense(1, 1, 2))
  end subroutine spread_row

  !> Half a row, whose four bits start at bit `low`.
  pure subroutine spread_half(run, first, second, positions, low, dense)
    integer(i64), intent(in) :: run
    integer(i8), intent(in) :: first(run), second(run), positions(run)
    integer, intent(in) :: low
    integer(i8), intent(out) :: dense(run, 4)
    integer(i8) :: v, w, p
    integer(i64) :: i

    do i = 1, run  ! tests of bits become masks, `vpcmpneqb`
      v = first(i)
      w = second(i)
      p = positions(i)
      dense(i, 1) = merge(v, 0_i8, iand(p, shiftl(1_i8, low)) /= 0)
      dense(i, 2) = ior(merge(v, 0_i8, iand(p, shiftl(2_i8, low)) /= 0), &
                        merge(w, 0_i8, iand(p, shiftl(12_i8, low)) == 0))
      dense(i, 3) = ior(merge(w, 0_i8, iand(p, shiftl(8_i8, low)) /= 0), &
                        merge(v, 0_i8, iand(p, shiftl(3_i8, low)) == 0))
      dense(i, 4) = merge(w, 0_i8, iand(p, shiftl(4_i8, low)) /= 0)
    end do
  end subroutine spread_half

  !> Rows of y from the columns that were kept; the others are `activation(bias)`.
  subroutine sparse_scatter(kept, part, has_bias, bias, activation, slope, y, threads)
    integer(i64), intent(in), contiguous :: kept(:)     !! columns of y kept, from 0, `(count)`
    real(wp), intent(in), contiguous :: part(:, :)      !! what they hold, `(count, m)`
    logical, intent(in) :: has_bias                     !! else bias is not looked at
    real(wp), intent(in) :: bias(*)                     !! added to each row of y, `(n)`
    integer(i32), intent(in) :: activation              !! one of ACT_...
    real(wp), intent(in) :: slope                       !! of ACT_LEAKY_RELU
    real(wp), intent(out), contiguous :: y(:, :)        !! results, `(n, m)`
    integer(i32), intent(in) :: threads                 !! threads to use, at least 1
    integer(i64) :: i, j, n

    n = size(y, 1, kind=i64)
    !$omp parallel do default(none) private(j) schedule(static) num_threads(threads) &
    !$omp shared(kept, part, has_bias, bias, activation, slope, y, n) &
    !$omp if(size(y, kind=i64) > SMALL_WORK)
    do i = 1, size(y, 2, kind=i64)
      y(:, i) = 0
      do j = 1, size(kept, kind=i64)
        y(kept(j) + 1, i) = part(j, i)
      end do
      call finish_rows(piece(i - 1, i, 0_i64, n), bias, epilogue(has_bias, activation, slope), n, y)
    end do
  end subroutine sparse_scatter
end module fq_sparse_real32
