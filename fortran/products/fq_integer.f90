!> Exact products of matrices of 8-bit integers, and such products as codes again.
!>
!> Python: `pyfq/products/integer.py`.  Reference: `pyfq/reference/products/integer.py`.
module fq_integer
  !$ use omp_lib, only: omp_get_thread_num
  use fq_align, only: aligned_start
  use fq_gemm_int8, only: CODE_KIND, CODE_SHIFT, CODE_STEPS, multiply_block_int8, padded_steps
  use fq_kinds, only: i8, i32, i64, sp
  use fq_precondition, only: CHECKED, require
  use fq_share, only: part, part_of, share
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_work_size, only: SMALL_PRODUCT
  implicit none (type, external)
  private
  public :: matmul_integer, quantized_matmul

  ! Steps of k that are multiplied at a time.
  integer(i64), parameter :: RUN_STEPS = 2048
  ! Bytes of the columns of b of a part: they stay in L2 while rows of a pass by.
  integer(i64), parameter :: BLOCK_BYTES = 409600
  ! Columns of a part at most; and a multiple of SIDE and of the columns of any tile of sums.
  integer(i64), parameter :: MOST_COLS = 192, COL_STEP = 48
  ! Rows of a that are multiplied at a time: these too stay in L2, with their sums.
  integer(i64), parameter :: CHUNK_ROWS = 48
  ! Rows that pay for transposing columns of b once more.
  integer(i64), parameter :: LEAST_ROWS = 256
  ! Rows of a part whose k is more than RUN_STEPS: all their sums are held.
  integer(i64), parameter :: MOST_ROWS = 1024
  ! Side of the squares in which b is transposed.
  integer, parameter :: SIDE = 16

  !> A matrix of 8-bit codes that stand for `(code - zero_point)*scale`.
  type, public :: code_matrix
    logical :: is_signed = .true.                                   !! else codes are 0 ... 255
    integer(i8), pointer, contiguous :: codes(:, :) => null()       !! `(k, m)`, or `(n, k)`
    integer(i32), pointer, contiguous :: zero_point(:) => null()    !! of each row, or column
    real(sp), pointer, contiguous :: scale(:) => null()  !! the same; only `quantized_matmul` looks
  end type code_matrix

  !> How sums become codes.
  type, public :: requantization
    real(sp) :: y_scale = 1         !! step of the codes
    integer(i32) :: y_zero = 0      !! code of 0
    logical :: is_signed = .true.   !! -128 ... 127, else 0 ... 255
    logical :: wanted = .true.      !! else sums are what is wanted
  end type requantization

  !> What threads work in; each has its share of every array.
  type :: product_scratch
    integer(i64) :: ldw = 0                     ! codes from row to row of left and block
    integer(i64) :: cols = 0                    ! columns of a part at most
    ! CHUNK_ROWS rows of codes of a as the machine multiplies them, and a row of ones.
    integer(CODE_KIND), allocatable :: left(:)
    integer(i8), allocatable :: block(:)        ! columns of b as rows of signed codes
    integer(i64) :: left_start = 0, block_start = 0
    ! Sums of products of a chunk; and behind them those of all rows, if k is more than RUN_STEPS.
    integer(i32), allocatable :: held(:, :, :)
    integer(i32), allocatable :: row_sums(:, :), col_sums(:, :)   ! sums of codes
    real(sp), allocatable :: steps(:, :)        ! factors of a row of sums
  end type product_scratch

contains

  !> `sums = (a - a_zero) (b - b_zero)`, modulo 2**32 where that does not fit.
  subroutine matmul_integer(a, b, sums, threads, info)
    type(code_matrix), intent(in) :: a                   !! left codes by rows, `(k, m)`
    type(code_matrix), intent(in) :: b                   !! right codes by columns, `(n, k)`
    integer(i32), intent(out), contiguous :: sums(:, :)  !! product, `(n, m)`
    integer(i32), intent(in) :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info                    !! FQ_OK or FQ_NO_MEMORY
    type(requantization) :: rule
    integer(i8) :: no_codes(1)

    rule%wanted = .false.
    call multiply_matrices(a, b, rule, sums, no_codes, threads, info)
  end subroutine matmul_integer

  !> `y = saturate(round(sums * (a_scale * b_scale / y_scale)) + y_zero)`, ties to even, in float32.
  !>
  !> The sums are those of `matmul_integer`.
  !>
  !> *Preconditions*: all of `a_scale * b_scale / y_scale` is finite.
  subroutine quantized_matmul(a, b, rule, y, threads, info)
    type(code_matrix), intent(in) :: a                 !! left codes by rows, `(k, m)`
    type(code_matrix), intent(in) :: b                 !! right codes by columns, `(n, k)`
    type(requantization), intent(in) :: rule           !! how sums become codes
    integer(i8), intent(out), contiguous :: y(:, :)    !! codes of the product, `(n, m)`
    integer(i32), intent(in) :: threads                !! threads to use, at least 1
    integer(i32), intent(out) :: info                  !! FQ_OK or FQ_NO_MEMORY
    integer(i32) :: no_sums(1)

    if (CHECKED) call require(max(0.0_sp, maxval(abs(a%scale)))*max(0.0_sp, maxval(abs(b%scale))) &
      /rule%y_scale <= huge(1.0_sp), 'quantized_matmul: a_scale*b_scale/y_scale is finite')
    call multiply_matrices(a, b, rule, no_sums, y, threads, info)
  end subroutine quantized_matmul

  !> Sums or codes of the product.
  !>
  !> With u and w the codes as they are multiplied, s and t their codes of 0, a sum of
  !> `(u - s) (w - t)` is `sum(u w) - t sum(u) - s (sum(w) - k t)`: products of codes, and terms of
  !> a row and of a column.  All of it wraps around, so that only the result has to fit.
  subroutine multiply_matrices(a, b, rule, sums, codes, threads, info)
    type(code_matrix), intent(in) :: a, b
    type(requantization), intent(in) :: rule
    integer(i32), intent(inout) :: sums(*)
    integer(i8), intent(inout) :: codes(*)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    type(product_scratch) :: scratch
    type(share) :: shared
    integer(i64) :: k, m, n, item
    integer :: thread

    k = size(a%codes, 1, kind=i64)
    m = size(a%codes, 2, kind=i64)
    n = size(b%codes, 1, kind=i64)
    info = FQ_OK
    if (min(m, n) == 0) return
    if (k == 0) then
      if (.not. rule%wanted) sums(1:m*n) = 0
      if (rule%wanted) codes(1:m*n) = as_byte(rule%y_zero)
      return
    end if
    shared%team = merge(threads, 1_i32, m*n*k > SMALL_PRODUCT)
    call share_product(m, n, k, shared)
    call allocate_threads(k, shared, scratch, info)
    if (info /= FQ_OK) return
    !$omp parallel do default(none) private(thread) num_threads(shared%team) schedule(dynamic) &
    !$omp if(shared%team > 1) shared(shared, m, n, a, b, rule, scratch, sums, codes)
    do item = 0, shared%items - 1
      thread = 1
      !$ thread = omp_get_thread_num() + 1
      call multiply_part_integer(a, b, rule, part_of(shared, item, 1_i64, m, n), thread, scratch, &
                                 n, sums, codes)
    end do
  end subroutine multiply_matrices

  !> The byte of a code, -128 ... 127 or 0 ... 255.
  pure function as_byte(code) result(byte)
    integer(i32), intent(in) :: code
    integer(i8) :: byte

    byte = int(code - merge(256_i32, 0_i32, code > 127), i8)
  end function as_byte

  !> Parts of the product, a panel being a column.
  pure subroutine share_product(m, n, k, shared)
    integer(i64), intent(in) :: m, n, k
    type(share), intent(inout) :: shared
    integer(i64) :: parts

    shared%panels = min(MOST_COLS, BLOCK_BYTES/stored_steps(k))/COL_STEP*COL_STEP
    shared%panels = max(COL_STEP, shared%panels)
    parts = merge(1_i64, int(shared%team, i64), m >= LEAST_ROWS*shared%team)
    shared%panels = min(shared%panels, ((n + parts - 1)/parts + COL_STEP - 1)/COL_STEP*COL_STEP)
    shared%across = (n + shared%panels - 1)/shared%panels
    parts = 1
    if (shared%team > 1 .and. shared%across < 4*shared%team) then
      parts = min((4*shared%team + shared%across - 1)/shared%across, m/LEAST_ROWS)
    end if
    if (k > RUN_STEPS) parts = max(parts, (m + MOST_ROWS - 1)/MOST_ROWS)
    parts = max(parts, 1_i64)
    shared%rows = ((m + parts - 1)/parts + 3)/4*4  ! whole tiles
    shared%items = shared%across*((m + shared%rows - 1)/shared%rows)
  end subroutine share_product

  !> Codes from row to row of what is multiplied at a time.
  pure function stored_steps(k) result(steps)
    integer(i64), intent(in) :: k
    integer(i64) :: steps

    steps = padded_steps(min(k, RUN_STEPS))
  end function stored_steps

  subroutine allocate_threads(k, shared, scratch, info)
    integer(i64), intent(in) :: k
    type(share), intent(in) :: shared
    type(product_scratch), intent(inout) :: scratch
    integer(i32), intent(out) :: info
    integer(i64) :: held_rows
    integer :: stat

    scratch%ldw = stored_steps(k)
    scratch%cols = shared%panels
    held_rows = merge(CHUNK_ROWS, CHUNK_ROWS + shared%rows, k <= RUN_STEPS)
    allocate (scratch%left(scratch%ldw*(CHUNK_ROWS + 1)*shared%team + CODE_STEPS), stat=stat)
    if (stat == 0) then
      allocate (scratch%block(scratch%ldw*scratch%cols*shared%team + CODE_STEPS), stat=stat)
    end if
    if (stat == 0) allocate (scratch%held(scratch%cols, held_rows, shared%team), stat=stat)
    if (stat == 0) allocate (scratch%row_sums(shared%rows, shared%team), stat=stat)
    if (stat == 0) allocate (scratch%col_sums(scratch%cols, shared%team), stat=stat)
    if (stat == 0) allocate (scratch%steps(scratch%cols, shared%team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    scratch%left_start = aligned_start(scratch%left, storage_size(scratch%left))
    scratch%block_start = aligned_start(scratch%block, storage_size(scratch%block))
  end subroutine allocate_threads

  !> A part of the product.
  pure subroutine multiply_part_integer(a, b, rule, piece, thread, scratch, n, sums, codes)
    type(code_matrix), intent(in) :: a, b
    type(requantization), intent(in) :: rule
    type(part), intent(in) :: piece
    integer, intent(in) :: thread
    type(product_scratch), intent(inout) :: scratch
    integer(i64), intent(in) :: n
    integer(i32), intent(inout) :: sums(n, *)
    integer(i8), intent(inout) :: codes(n, *)
    type(part) :: chunk
    integer(i64) :: k, cols, step, steps, vectors, first, left, ones, block, i
    logical :: is_last

    k = size(a%codes, 1, kind=i64)
    cols = piece%last_col - piece%col
    left = scratch%left_start + scratch%ldw*(CHUNK_ROWS + 1)*(thread - 1)
    ones = left + scratch%ldw*CHUNK_ROWS
    block = scratch%block_start + scratch%ldw*scratch%cols*(thread - 1)
    scratch%row_sums(:, thread) = 0
    call start_sums(cols, k, b%zero_point(piece%col + 1:piece%last_col), b_shift(b), &
                    scratch%col_sums(1, thread))
    scratch%left(ones:ones + scratch%ldw - 1) = 1  ! times columns of b: the sums of those
    chunk = piece
    do step = 0, k - 1, RUN_STEPS
      steps = min(RUN_STEPS, k - step)
      vectors = (steps + CODE_STEPS - 1)/CODE_STEPS
      is_last = step + RUN_STEPS >= k
      call transpose_codes(steps, vectors*CODE_STEPS, piece, step, n, b%codes, b%is_signed, &
                           scratch%ldw, scratch%block(block))
      call multiply_block_int8(vectors, 1_i64, scratch%ldw, scratch%left(ones), cols, scratch%ldw, &
                          scratch%block(block), scratch%cols, scratch%held(1, 1, thread))
      call add_to(cols, scratch%held(1, 1, thread), scratch%col_sums(1, thread))
      do first = piece%row, piece%last_row - 1, CHUNK_ROWS
        chunk%row = first
        chunk%last_row = min(first + CHUNK_ROWS, piece%last_row)
        do i = 1, chunk%last_row - first
          call store_left(steps, vectors*CODE_STEPS, a%codes(step + 1:step + steps, first + i), &
                          a%is_signed, scratch%left(left + (i - 1)*scratch%ldw), &
                          scratch%row_sums(first - piece%row + i, thread))
        end do
        call multiply_block_int8(vectors, chunk%last_row - first, scratch%ldw, scratch%left(left), &
                            cols, scratch%ldw, scratch%block(block), scratch%cols, &
                            scratch%held(1, 1, thread))
        if (k > RUN_STEPS) then
          call hold_sums(chunk, first - piece%row, step == 0, is_last, scratch%cols, &
                       scratch%held(1, 1, thread))
        end if
        if (is_last) then
          call finish_chunk(a, b, rule, chunk, first - piece%row, thread, scratch, n, sums, codes)
        end if
      end do
    end do
  end subroutine multiply_part_integer

  !> What is added to a code of a as it is multiplied.
  pure function a_shift(a) result(shift)
    type(code_matrix), intent(in) :: a
    integer(i32) :: shift

    shift = merge(CODE_SHIFT, 0_i32, a%is_signed)
  end function a_shift

  !> What is taken off a code of b as it is multiplied.
  pure function b_shift(b) result(shift)
    type(code_matrix), intent(in) :: b
    integer(i32) :: shift

    shift = merge(0_i32, 128_i32, b%is_signed)
  end function b_shift

  !> The terms of columns that do not depend on their codes.
  pure subroutine start_sums(cols, k, zero_point, shift, col_sums)
    integer(i64), intent(in) :: cols, k
    integer(i32), intent(in) :: zero_point(cols), shift
    integer(i32), intent(out) :: col_sums(cols)

    col_sums = -int(k, i32)*(zero_point - shift)
  end subroutine start_sums

  pure subroutine add_to(n, x, total)
    integer(i64), intent(in) :: n
    integer(i32), intent(in) :: x(n)
    integer(i32), intent(inout) :: total(n)

    total = total + x
  end subroutine add_to

  !> Add to the sums of a run of steps those of the runs before; but for the last run, hold them.
  pure subroutine hold_sums(chunk, before, is_first, is_last, ldc, held)
    type(part), intent(in) :: chunk
    integer(i64), intent(in) :: before        !! rows of the part before the chunk
    logical, intent(in) :: is_first, is_last  !! whether it is the first run, the last
    integer(i64), intent(in) :: ldc
    integer(i32), intent(inout) :: held(ldc, *)
    integer(i64) :: cols, i, at

    cols = chunk%last_col - chunk%col
    do i = 1, chunk%last_row - chunk%row
      at = CHUNK_ROWS + before + i
      if (.not. is_first) held(:cols, i) = held(:cols, i) + held(:cols, at)
      if (.not. is_last) held(:cols, at) = held(:cols, i)
    end do
  end subroutine hold_sums

  !> Results of a chunk of rows from the sums of products.
  pure subroutine finish_chunk(a, b, rule, chunk, before, thread, scratch, n, sums, codes)
    type(code_matrix), intent(in) :: a, b
    type(requantization), intent(in) :: rule
    type(part), intent(in) :: chunk
    integer(i64), intent(in) :: before        !! rows of the part before the chunk
    integer, intent(in) :: thread
    type(product_scratch), intent(inout) :: scratch
    integer(i64), intent(in) :: n
    integer(i32), intent(inout) :: sums(n, *)
    integer(i8), intent(inout) :: codes(n, *)
    integer(i64) :: cols, col, i, row

    col = chunk%col + 1
    cols = chunk%last_col - chunk%col
    do i = 1, chunk%last_row - chunk%row
      row = chunk%row + i
      call add_terms(cols, a%zero_point(row) + a_shift(a), scratch%col_sums(1, thread), &
                     scratch%row_sums(before + i, thread), b%zero_point(col:chunk%last_col), &
                     b_shift(b), scratch%held(1, i, thread))
      if (.not. rule%wanted) then
        sums(col:chunk%last_col, row) = scratch%held(:cols, i, thread)
        cycle
      end if
      if (i == 1 .or. a%scale(row) /= a%scale(max(row - 1, 1_i64))) then
        call find_steps(cols, a%scale(row), b%scale(col:chunk%last_col), rule%y_scale, &
                        scratch%steps(1, thread))
      end if
      call requantize(cols, scratch%held(1, i, thread), scratch%steps(1, thread), rule, codes(col, &
                      row))
    end do
  end subroutine finish_chunk

  !> Steps of sums of codes, in steps of the result.
  pure subroutine find_steps(cols, a_scale, b_scale, y_scale, steps)
    integer(i64), intent(in) :: cols
    real(sp), intent(in) :: a_scale, b_scale(cols), y_scale
    real(sp), intent(out) :: steps(cols)

    steps = a_scale*b_scale/y_scale
  end subroutine find_steps

  !> Codes of a row of a as the machine multiplies them, zeros behind; `total` grows by their sum.
  pure subroutine store_left(steps, stored_steps, codes, is_signed, left, total)
    integer(i64), intent(in) :: steps, stored_steps
    integer(i8), intent(in) :: codes(steps)
    logical, intent(in) :: is_signed
    integer(CODE_KIND), intent(out) :: left(stored_steps)
    integer(i32), intent(inout) :: total
    integer(i32) :: mask, shift, u
    integer(i64) :: i

    mask = merge(-1_i32, 255_i32, is_signed)
    shift = merge(CODE_SHIFT, 0_i32, is_signed)
    do i = 1, steps
      u = iand(int(codes(i), i32), mask) + shift
      left(i) = int(u, CODE_KIND)
      total = total + u
    end do
    left(steps + 1:) = 0
  end subroutine store_left

  !> Add the terms of a row and of columns to sums of products.
  pure subroutine add_terms(cols, a_zero, col_sums, row_sum, b_zero, b_shift, sums)
    integer(i64), intent(in) :: cols
    integer(i32), intent(in) :: a_zero, col_sums(cols), row_sum, b_zero(cols), b_shift
    integer(i32), intent(inout) :: sums(cols)

    sums = sums - a_zero*col_sums - row_sum*(b_zero - b_shift)
  end subroutine add_terms

  !> Codes of a row of sums.
  pure subroutine requantize(cols, sums, steps, rule, codes)
    integer(i64), intent(in) :: cols
    integer(i32), intent(in) :: sums(cols)
    real(sp), intent(in) :: steps(cols)
    type(requantization), intent(in) :: rule
    integer(i8), intent(out) :: codes(cols)
    real(sp), parameter :: HALF_EVEN = 1.5_sp*2.0_sp**23  ! next to it floats are integers
    integer(i32) :: smallest
    real(sp) :: low, high, x
    integer(i64) :: j

    smallest = merge(-128_i32, 0_i32, rule%is_signed)
    low = real(smallest - rule%y_zero, sp)
    high = low + 255
    do j = 1, cols
      x = min(max(real(sums(j), sp)*steps(j), low), high)
      codes(j) = int(int((x + HALF_EVEN) - HALF_EVEN, i32) + rule%y_zero, i8)
    end do
  end subroutine requantize

  !> Columns of b as rows of signed codes: `block(p, j) = b(j, p)`, zeros for steps behind.
  pure subroutine transpose_codes(steps, stored_steps, piece, step, n, b, is_signed, ldw, block)
    integer(i64), intent(in) :: steps         !! rows of b to take
    integer(i64), intent(in) :: stored_steps  !! codes to set of each row of the block
    type(part), intent(in) :: piece           !! whose columns of b to take
    integer(i64), intent(in) :: step, n       !! rows of b before; and all columns
    integer(i8), intent(in) :: b(n, *)        !! codes, `(n, k)`
    logical, intent(in) :: is_signed          !! else the bytes are 0 ... 255, and 128 is taken off
    integer(i64), intent(in) :: ldw           !! extent of the block
    integer(i8), intent(inout) :: block(ldw, *)
    integer(i8) :: flip, tile(SIDE, SIDE)
    integer(i64) :: p, j, cols, height, width, row, col

    cols = piece%last_col - piece%col
    flip = 0
    if (.not. is_signed) flip = ibset(flip, 7)
    do p = 0, stored_steps - 1, SIDE
      height = max(0_i64, min(int(SIDE, i64), steps - p))
      do j = 0, cols - 1, SIDE
        width = min(int(SIDE, i64), cols - j)
        row = step + p
        col = piece%col + j
        if (height == SIDE .and. width == SIDE) then
          call transpose_tile(n, b(col + 1, row + 1), flip, ldw, block(p + 1, j + 1))
        else
          tile = flip
          if (height > 0) tile(:width, :height) = b(col + 1:col + width, row + 1:row + height)
          call transpose_tile(int(SIDE, i64), tile, flip, ldw, block(p + 1, j + 1))
        end if
      end do
    end do
  end subroutine transpose_codes

  !> Rows of a square from its columns: becomes interleaving of whole vectors, `punpcklbw`.
  pure subroutine transpose_tile(ldb, b, flip, ldw, w)
    integer(i64), intent(in) :: ldb, ldw
    integer(i8), intent(in) :: b(ldb, SIDE), flip
    integer(i8), intent(inout) :: w(ldw, SIDE)
    integer(i8) :: rows(SIDE, SIDE)
    integer :: j, p

    do j = 1, SIDE
      !GCC$ unroll 16
      do p = 1, SIDE
        rows(p, j) = ieor(b(j, p), flip)
      end do
    end do
    do j = 1, SIDE
      w(:SIDE, j) = rows(:, j)
    end do
  end subroutine transpose_tile
end module fq_integer
