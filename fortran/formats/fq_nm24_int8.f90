!> 2:4 weights of 8 bits, for activations that are quantized on the fly.
!>
!> A few rows are expanded to dense bytes in L2, then multiplied as dense ones are.
module fq_nm24_int8_real32
  use fq_align, only: aligned_start
  use fq_epilogue_real32, only: epilogue
  use fq_gemm_int8, only: CODE_KIND, CODE_SHIFT, CODE_STEPS, MAX_STEPS, multiply_block_int8
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_layer_parts, only: layer_parts
  use fq_nonzeros_real32, only: read_position_bits, store_scale
  use fq_precondition, only: CHECKED, require
  use fq_quantized_rows_real32, only: CHUNK_ROWS, multiply_quantized, quantized_format, &
    row_chunk, share_rows
  use fq_share, only: part, share
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_stored_layer, only: place, stored_layer
  use fq_weight_parts_real32, only: REAL_BYTES
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: multiply_nm24_int8_layer, pack_nm24_int8_layer, plan_nm24_int8_layer, takes_nm24_int8

  !> Rows of codes of which two of every four neighbours are stored.  A sum is `scale*S`, S the
  !> exact sum of products.
  !>
  !> *Preconditions*: a row holds five runs of `run_bytes` bytes, a multiple of 64.  The first two
  !> are the first and second values of groups `1 ... run_bytes`, the next two those of groups
  !> `run_bytes + 1 ... 2*run_bytes`, zeros behind the last group; the last has the four bits of
  !> `fq_nm24` for each group of the first half, and above them those of the second.
  !> `8*run_bytes <= 65536`.
  type, extends(quantized_format) :: nm24_codes
    integer(i64) :: run_bytes = 0                                !! bytes of a run
    integer(i8), pointer, contiguous :: codes(:, :) => null()    !! rows, `(5*run_bytes, n)`
    integer(i32), pointer, contiguous :: code_sums(:) => null()  !! sum of the values of each row
    real(wp), pointer, contiguous :: scale(:) => null()          !! step of a code of each row
    integer(i64), private :: ldw = 0   !! codes from one expanded row to the next, of w and of x
    ! Codes of x as the machine multiplies them, from `left_start` on.
    integer(CODE_KIND), allocatable, private :: left(:)
    integer(i64), private :: left_start = 0
    ! Expanded rows of w, `cols` of them for each thread, from `dense_start` on.
    integer(i8), allocatable, private :: dense(:)
    integer(i64), private :: dense_start = 0, cols = 0
    integer(i32), allocatable, private :: sums(:, :)   ! sums of products, by thread
  contains
    procedure :: prepare => prepare_nm24_int8
    procedure :: store_row => store_nm24_int8_row
    procedure :: multiply_chunk => multiply_chunk_nm24_int8
  end type nm24_codes

contains

  !> Whether rows of so many inputs are short enough for exact sums.
  pure function takes_nm24_int8(k) result(takes)
    integer(i64), intent(in) :: k   !! inputs
    logical :: takes

    takes = 8*run_bytes_of(k) <= MAX_STEPS
  end function takes_nm24_int8

  !> Bytes of a run: half the groups, filled up.
  pure function run_bytes_of(k) result(bytes)
    integer(i64), intent(in) :: k
    integer(i64) :: bytes

    bytes = max((k + 8*CODE_STEPS - 1)/(8*CODE_STEPS), 1_i64)*CODE_STEPS
  end function run_bytes_of

  !> Places of a layer.
  pure subroutine plan_nm24_int8_layer(layer, used)
    type(stored_layer), intent(inout) :: layer   !! of FORMAT_NM24_INT8
    integer(i64), intent(inout) :: used          !! bytes of the memory

    layer%run_bytes = run_bytes_of(layer%k)
    call place(5*layer%run_bytes*layer%n, used, layer%weights)
    call place(4*layer%n, used, layer%code_sums)
    call place(layer%n*REAL_BYTES, used, layer%scale)
  end subroutine plan_nm24_int8_layer

  !> Its arrays.
  subroutine pack_nm24_int8_layer(parts, layer, memory)
    type(layer_parts), intent(in) :: parts                       !! what it is made of, 2:4
    type(stored_layer), intent(in) :: layer                      !! where its arrays go
    integer(i8), intent(inout), target, contiguous :: memory(:)  !! the memory
    integer(i8), pointer, contiguous :: runs(:, :, :), codes(:, :)
    integer(i32), pointer, contiguous :: code_sums(:)
    integer(i32) :: bits((layer%k + 3)/4)
    integer(i64) :: r, half, first, length

    call c_f_pointer(parts%values%start, codes, [2*size(bits, kind=i64), layer%n])
    call c_f_pointer(c_loc(memory(layer%weights + 1)), runs, [layer%run_bytes, 5_i64, layer%n])
    call c_f_pointer(c_loc(memory(layer%code_sums + 1)), code_sums, [layer%n])
    runs = 0
    do r = 1, layer%n
      call read_position_bits(parts, r, bits)
      do half = 0, 1
        first = half*layer%run_bytes
        length = max(min(layer%run_bytes, size(bits, kind=i64) - first), 0_i64)
        runs(:length, 2*half + 1, r) = codes(2*first + 1:2*(first + length):2, r)
        runs(:length, 2*half + 2, r) = codes(2*first + 2:2*(first + length):2, r)
        runs(:length, 5, r) = ior(runs(:length, 5, r), int(shiftl(bits(first + 1:first + length), &
          4*half), i8))
      end do
      code_sums(r) = sum(int(codes(:, r), i32))
    end do
    call store_scale(parts, layer, memory)
  end subroutine pack_nm24_int8_layer

  !> A layer of a network.
  subroutine multiply_nm24_int8_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer                   !! of FORMAT_NM24_INT8
    integer(i8), intent(in), target, contiguous :: memory(:)  !! arrays of the layer
    real(wp), intent(in), contiguous :: x(:, :)               !! activations, `(k, m)`
    real(wp), intent(in) :: bias(*)                           !! added to each row, `(rows)`
    type(epilogue), intent(in) :: after                       !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)              !! results, `(rows, m)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! status code
    type(nm24_codes) :: weights

    weights%run_bytes = layer%run_bytes
    call c_f_pointer(c_loc(memory(layer%weights + 1)), weights%codes, [5*layer%run_bytes, &
      layer%rows])
    call c_f_pointer(c_loc(memory(layer%code_sums + 1)), weights%code_sums, [layer%rows])
    call c_f_pointer(c_loc(memory(layer%scale + 1)), weights%scale, [layer%rows])
    call multiply_quantized(weights, x, bias, after, y, threads, info)
  end subroutine multiply_nm24_int8_layer

  subroutine prepare_nm24_int8(weights, m, n, shared, info)
    class(nm24_codes), intent(inout) :: weights
    integer(i64), intent(in) :: m, n
    type(share), intent(inout) :: shared
    integer(i32), intent(out) :: info
    integer :: stat

    if (CHECKED) call require_runs(weights%k, weights%run_bytes, weights%codes)
    weights%ldw = 8*weights%run_bytes + CODE_STEPS  ! rows do not meet in a set of L1
    call share_rows(m, n, weights%ldw, shared)
    weights%cols = shared%panels
    allocate (weights%left(weights%ldw*m + CODE_STEPS), stat=stat)
    if (stat == 0) then
      allocate (weights%dense(weights%ldw*shared%panels*shared%team + CODE_STEPS), stat=stat)
    end if
    if (stat == 0) allocate (weights%sums(shared%panels*CHUNK_ROWS, shared%team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    weights%left_start = aligned_start(weights%left, storage_size(weights%left))
    weights%dense_start = aligned_start(weights%dense, storage_size(weights%dense))
  end subroutine prepare_nm24_int8

  !> What is expected of rows of runs.
  pure subroutine require_runs(k, run, codes)
    integer(i64), intent(in) :: k, run
    integer(i8), intent(in), contiguous :: codes(:, :)
    integer(i64) :: groups

    if (.not. CHECKED) return
    call require(mod(run, CODE_STEPS) == 0 .and. 8*run <= MAX_STEPS, &
      'nm24_codes: run_bytes is a multiple of 64, 8*run_bytes <= 65536')
    call require(size(codes, 1, kind=i64) == 5*run, 'nm24_codes: a row holds five runs')
    groups = (k + 3)/4
    call require(groups <= 2*run, 'nm24_codes: all groups lie in the runs')
    if (groups <= run) then
      call require(all(codes(groups + 1:run, :) == 0) .and. all(codes(run + groups + 1:4*run, &
        :) == 0), 'nm24_codes: zeros behind the last group')
    else
      call require(all(codes(run + groups + 1:3*run, :) == 0) .and. all(codes(2*run + groups &
        + 1:4*run, :) == 0), 'nm24_codes: zeros behind the last group')
    end if
  end subroutine require_runs

  pure subroutine store_nm24_int8_row(weights, row, codes)
    class(nm24_codes), intent(inout) :: weights
    integer(i64), intent(in) :: row
    integer(i8), intent(in), contiguous :: codes(:)

    call reorder_codes(size(codes, kind=i64), codes, weights%run_bytes, &
      weights%left(weights%left_start + (row - 1)*weights%ldw))
  end subroutine store_nm24_int8_row

  !> Codes of a row of x in the order in which `expand_row` leaves those of weights.
  pure subroutine reorder_codes(k, codes, run, left)
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
  end subroutine reorder_codes

  pure subroutine multiply_chunk_nm24_int8(weights, chunk, ldy, y)
    class(nm24_codes), intent(inout) :: weights
    type(row_chunk), intent(in) :: chunk
    integer(i64), intent(in) :: ldy
    real(wp), intent(inout) :: y(ldy, *)
    integer(i64) :: dense, j

    dense = weights%dense_start + (chunk%thread - 1)*weights%cols*weights%ldw
    if (chunk%is_first) then
      do j = 0, chunk%last_col - chunk%col - 1
        call expand_row(weights%run_bytes, weights%codes(:, chunk%col + j + 1), &
          weights%dense(dense + j*weights%ldw))
      end do
    end if
    call multiply_dense(chunk%part, weights%ldw, weights%left(weights%left_start), &
      weights%dense(dense), weights%code_sums, weights%scale, weights%sums(1, chunk%thread), ldy, y)
  end subroutine multiply_chunk_nm24_int8

  !> Columns of a chunk of rows, from expanded rows of weights.
  pure subroutine multiply_dense(chunk, ldw, left, dense, code_sums, scale, sums, ldy, y)
    type(part), intent(in) :: chunk
    integer(i64), intent(in) :: ldw, ldy
    integer(CODE_KIND), intent(in) :: left(ldw, *)
    integer(i8), intent(in) :: dense(ldw, chunk%last_col - chunk%col)
    integer(i32), intent(in) :: code_sums(*)
    real(wp), intent(in) :: scale(*)
    integer(i32), intent(inout) :: sums(chunk%last_col - chunk%col, CHUNK_ROWS)
    real(wp), intent(inout) :: y(ldy, *)
    integer(i64) :: col, cols, rows, i, j

    col = chunk%col
    cols = chunk%last_col - col
    rows = chunk%last_row - chunk%row
    call multiply_block_int8(ldw/CODE_STEPS - 1, rows, ldw, left(1, chunk%row + 1), cols, ldw, &
      dense, cols, sums)
    do i = 1, rows
      do j = 1, cols
        y(col + j, chunk%row + i) = scale(col + j)*real(sums(j, i) - CODE_SHIFT*code_sums(col &
          + j), wp)
      end do
    end do
  end subroutine multiply_dense

  !> A row of 2:4 codes as dense bytes: those at position 0 of each group, then 1, 2 and 3.
  pure subroutine expand_row(run, w, dense)
    integer(i64), intent(in) :: run
    integer(i8), intent(in) :: w(run, 5)
    integer(i8), intent(out) :: dense(run, 4, 2)
    integer :: half

    do half = 1, 2  ! not two calls: with a number for `low`, tests of bits become other compares
      call expand_groups(run, w(1, 2*half - 1), w(1, 2*half), w(1, 5), 4*(half - 1), dense(1, 1, &
        half))
    end do
  end subroutine expand_row

  !> The groups of half a row, whose four bits start at bit `low`.
  pure subroutine expand_groups(run, first, second, positions, low, dense)
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
  end subroutine expand_groups
end module fq_nm24_int8_real32
