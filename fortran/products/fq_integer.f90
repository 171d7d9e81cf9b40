!> Exact products of matrices of 8-bit integers, and such products as codes again.
!>
!> Python: `pyfq/integer.py`.  Reference: `pyfq/reference/integer.py`.
module fq_integer
  !$ use omp_lib, only: omp_get_thread_num
  use fq_align, only: aligned_start
  use fq_gemm_int8, only: CODE_KIND, CODE_SHIFT, CODE_STEPS, multiply_codes, padded_steps
  use fq_kinds, only: i8, i32, i64, sp
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_work_size, only: SMALL_PRODUCT
  implicit none (type, external)
  private
  public :: matmul_integer, quantized_matmul

  ! Steps of k that are multiplied at a time.
  integer(i64), parameter :: PART_STEPS = 2048
  ! Bytes of the columns of b of an item: they stay in L2 while rows of a pass by.
  integer(i64), parameter :: BLOCK_BYTES = 409600
  ! Columns of an item at most; and a multiple of SIDE and of the columns of any tile of sums.
  integer(i64), parameter :: MOST_COLS = 192, COL_STEP = 48
  ! Rows of a that are multiplied at a time: these too stay in L2, with their sums.
  integer(i64), parameter :: CHUNK_ROWS = 48
  ! Rows that pay for transposing columns of b once more.
  integer(i64), parameter :: LEAST_ROWS = 256
  ! Rows of an item of more than one part: all their sums are held.
  integer(i64), parameter :: MOST_ROWS = 1024
  ! Side of the squares in which b is transposed.
  integer, parameter :: SIDE = 16

  !> How sums become codes.
  type :: requantization
    logical :: wanted       !! else sums are what is wanted
    real(sp) :: y_scale     !! step of the codes
    integer(i32) :: y_zero  !! code of 0
    logical :: is_signed    !! -128 ... 127, else 0 ... 255
  end type requantization

contains

  !> `sums = (a - a_zero) (b - b_zero)`, modulo 2**32 where that does not fit.
  subroutine matmul_integer(a, a_signed, a_zero, b, b_signed, b_zero, sums, threads, info)
    integer(i8), intent(in), contiguous :: a(:, :)       !! left codes, `(k, m)`
    logical, intent(in) :: a_signed                      !! else the bytes are 0 ... 255
    integer(i32), intent(in), contiguous :: a_zero(:)    !! code of 0 of each row of a, `(m)`
    integer(i8), intent(in), contiguous :: b(:, :)       !! right codes, `(n, k)`
    logical, intent(in) :: b_signed                      !! else the bytes are 0 ... 255
    integer(i32), intent(in), contiguous :: b_zero(:)    !! code of 0 of each column of b, `(n)`
    integer(i32), intent(out), contiguous :: sums(:, :)  !! product, `(n, m)`
    integer(i32), intent(in) :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info                    !! FQ_OK or FQ_NO_MEMORY
    type(requantization), parameter :: NONE = requantization(.false., 1, 0, .true.)
    real(sp) :: no_scale(1)
    integer(i8) :: no_codes(1)

    no_scale = 1
    call multiply(a, a_signed, a_zero, b, b_signed, b_zero, NONE, no_scale, no_scale, sums, &
                  no_codes, threads, info)
  end subroutine matmul_integer

  !> `y = saturate(round(sums * (a_scale * b_scale / y_scale)) + y_zero)`, ties to even, in float32.
  !>
  !> The sums are those of `matmul_integer`.
  !>
  !> *Preconditions*: all of `a_scale * b_scale / y_scale` is finite.
  subroutine quantized_matmul(a, a_signed, a_scale, a_zero, b, b_signed, b_scale, b_zero, y_scale, &
                              y_zero, y_signed, y, threads, info)
    integer(i8), intent(in), contiguous :: a(:, :)     !! left codes, `(k, m)`
    logical, intent(in) :: a_signed                    !! else the bytes are 0 ... 255
    real(sp), intent(in), contiguous :: a_scale(:)     !! step of a code of each row of a, `(m)`
    integer(i32), intent(in), contiguous :: a_zero(:)  !! code of 0 of each row of a, `(m)`
    integer(i8), intent(in), contiguous :: b(:, :)     !! right codes, `(n, k)`
    logical, intent(in) :: b_signed                    !! else the bytes are 0 ... 255
    real(sp), intent(in), contiguous :: b_scale(:)     !! step of a code of each column of b, `(n)`
    integer(i32), intent(in), contiguous :: b_zero(:)  !! code of 0 of each column of b, `(n)`
    real(sp), intent(in) :: y_scale                    !! step of a code of y
    integer(i32), intent(in) :: y_zero                 !! code of 0 of y
    logical, intent(in) :: y_signed                    !! else the bytes of y are 0 ... 255
    integer(i8), intent(out), contiguous :: y(:, :)    !! codes of the product, `(n, m)`
    integer(i32), intent(in) :: threads                !! threads to use, at least 1
    integer(i32), intent(out) :: info                  !! FQ_OK or FQ_NO_MEMORY
    integer(i32) :: no_sums(1)

    call multiply(a, a_signed, a_zero, b, b_signed, b_zero, &
                  requantization(.true., y_scale, y_zero, y_signed), a_scale, b_scale, no_sums, y, &
                  threads, info)
  end subroutine quantized_matmul

  !> Sums or codes of the product.
  !>
  !> With u and w the codes as they are multiplied, s and t their codes of 0, a sum of
  !> `(u - s) (w - t)` is `sum(u w) - t sum(u) - s (sum(w) - k t)`: products of codes, and terms of
  !> a row and of a column.  All of it wraps around, so that only the result has to fit.
  subroutine multiply(a, a_signed, a_zero, b, b_signed, b_zero, rule, a_scale, b_scale, sums, &
                      codes, threads, info)
    integer(i8), intent(in), contiguous :: a(:, :), b(:, :)
    logical, intent(in) :: a_signed, b_signed
    integer(i32), intent(in), contiguous :: a_zero(:), b_zero(:)
    type(requantization), intent(in) :: rule
    real(sp), intent(in) :: a_scale(*), b_scale(*)
    integer(i32), intent(inout) :: sums(*)
    integer(i8), intent(inout) :: codes(*)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    integer(CODE_KIND), allocatable :: left(:)
    integer(i8), allocatable :: block(:)
    integer(i32), allocatable :: held(:, :, :), row_sums(:, :), col_sums(:, :)
    real(sp), allocatable :: steps(:, :)
    integer(i64) :: k, m, n, ldw, cols, across, rows, item, left_start, block_start
    integer(i32) :: team
    integer :: t, stat

    k = size(a, 1, kind=i64)
    m = size(a, 2, kind=i64)
    n = size(b, 1, kind=i64)
    info = FQ_OK
    if (min(m, n) == 0) return
    if (k == 0) then
      if (.not. rule%wanted) sums(1:m*n) = 0
      if (rule%wanted) codes(1:m*n) = as_byte(rule%y_zero)
      return
    end if
    ldw = padded_steps(min(k, PART_STEPS))
    team = merge(threads, 1_i32, m*n*k > SMALL_PRODUCT)
    call divide_product(m, n, k, ldw, team, cols, across, rows)
    allocate (left(ldw*(CHUNK_ROWS + 1)*team + CODE_STEPS), stat=stat)
    if (stat == 0) allocate (block(ldw*cols*team + CODE_STEPS), stat=stat)
    if (stat == 0) then
      allocate (held(cols, merge(CHUNK_ROWS, CHUNK_ROWS + rows, k <= PART_STEPS), team), stat=stat)
    end if
    if (stat == 0) allocate (row_sums(rows, team), stat=stat)
    if (stat == 0) allocate (col_sums(cols, team), stat=stat)
    if (stat == 0) allocate (steps(cols, team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    left_start = aligned_start(left, storage_size(left))
    block_start = aligned_start(block, storage_size(block))
    !$omp parallel do default(none) private(t) num_threads(team) schedule(dynamic) if(team > 1) &
    !$omp shared(k, m, n, a, a_signed, a_zero, b, b_signed, b_zero, rule, a_scale, b_scale, sums, &
    !$omp        codes, left, left_start, block, block_start, held, row_sums, col_sums, steps, &
    !$omp        ldw, cols, across, rows)
    do item = 0, across*((m + rows - 1)/rows) - 1
      t = 1
      !$ t = omp_get_thread_num() + 1
      call do_item(mod(item, across)*cols, min(mod(item, across)*cols + cols, n), &
                   item/across*rows, min(item/across*rows + rows, m), k, a, a_signed, a_zero, n, &
                   b, b_signed, b_zero, rule, a_scale, b_scale, sums, codes, ldw, &
                   left(left_start + ldw*(CHUNK_ROWS + 1)*(t - 1)), cols, &
                   block(block_start + ldw*cols*(t - 1)), held(1, 1, t), row_sums(1, t), &
                   col_sums(1, t), steps(1, t))
    end do
  end subroutine multiply

  !> The byte of a code, -128 ... 127 or 0 ... 255.
  pure function as_byte(code) result(byte)
    integer(i32), intent(in) :: code
    integer(i8) :: byte

    byte = int(code - merge(256_i32, 0_i32, code > 127), i8)
  end function as_byte

  !> Items of `cols` columns, `across` of them side by side, and `rows` rows.
  pure subroutine divide_product(m, n, k, ldw, team, cols, across, rows)
    integer(i64), intent(in) :: m, n, k, ldw
    integer(i32), intent(in) :: team
    integer(i64), intent(out) :: cols, across, rows
    integer(i64) :: parts

    cols = max(COL_STEP, min(MOST_COLS, BLOCK_BYTES/ldw)/COL_STEP*COL_STEP)
    parts = merge(1_i64, int(team, i64), m >= LEAST_ROWS*team)
    cols = min(cols, ((n + parts - 1)/parts + COL_STEP - 1)/COL_STEP*COL_STEP)
    across = (n + cols - 1)/cols
    parts = 1
    if (team > 1 .and. across < 4*team) parts = min((4*team + across - 1)/across, m/LEAST_ROWS)
    if (k > PART_STEPS) parts = max(parts, (m + MOST_ROWS - 1)/MOST_ROWS)
    parts = max(parts, 1_i64)
    rows = ((m + parts - 1)/parts + 3)/4*4  ! whole tiles
  end subroutine divide_product

  !> Columns `col + 1 ... last_col` of rows `row + 1 ... last_row`.
  pure subroutine do_item(col, last_col, row, last_row, k, a, a_signed, a_zero, n, b, b_signed, &
                          b_zero, rule, a_scale, b_scale, sums, codes, ldw, left, ldc, block, &
                          held, row_sums, col_sums, steps)
    integer(i64), intent(in) :: col, last_col, row, last_row, k, n, ldw, ldc
    integer(i8), intent(in) :: a(k, *), b(n, *)
    logical, intent(in) :: a_signed, b_signed
    integer(i32), intent(in) :: a_zero(*), b_zero(*)
    type(requantization), intent(in) :: rule
    real(sp), intent(in) :: a_scale(*), b_scale(*)
    integer(i32), intent(inout) :: sums(n, *)
    integer(i8), intent(inout) :: codes(n, *)
    integer(CODE_KIND), intent(inout) :: left(ldw, CHUNK_ROWS + 1)
    integer(i8), intent(inout) :: block(ldw, ldc)
    integer(i32), intent(inout) :: held(ldc, *), row_sums(last_row - row), col_sums(ldc)
    real(sp), intent(inout) :: steps(ldc)
    integer(i64) :: cols, step, count, vectors, first, rows, i, at
    integer(i32) :: a_shift, b_shift

    cols = last_col - col
    a_shift = merge(CODE_SHIFT, 0_i32, a_signed)
    b_shift = merge(0_i32, 128_i32, b_signed)
    row_sums = 0
    col_sums(:cols) = -int(k, i32)*(b_zero(col + 1:last_col) - b_shift)
    left(:, CHUNK_ROWS + 1) = 1  ! the products of ones and columns of b are the sums of those
    do step = 0, k - 1, PART_STEPS
      count = min(PART_STEPS, k - step)
      vectors = (count + CODE_STEPS - 1)/CODE_STEPS
      call transpose_block(count, vectors*CODE_STEPS, cols, n, b(col + 1, step + 1), b_signed, &
                           ldw, block)
      call multiply_codes(vectors, 1_i64, ldw, left(1, CHUNK_ROWS + 1), cols, ldw, block, ldc, held)
      col_sums(:cols) = col_sums(:cols) + held(:cols, 1)
      do first = row, last_row - 1, CHUNK_ROWS
        rows = min(CHUNK_ROWS, last_row - first)
        do i = 1, rows
          call store_left(count, vectors*CODE_STEPS, a(step + 1, first + i), a_signed, left(1, i), &
                          row_sums(first - row + i))
        end do
        call multiply_codes(vectors, rows, ldw, left, cols, ldw, block, ldc, held)
        do i = 1, rows
          at = CHUNK_ROWS + first - row + i
          if (step > 0) held(:cols, i) = held(:cols, i) + held(:cols, at)
          if (step + PART_STEPS < k) then
            held(:cols, at) = held(:cols, i)
            cycle
          end if
          call add_terms(cols, a_zero(first + i) + a_shift, col_sums, row_sums(first - row + i), &
                         b_zero(col + 1), b_shift, held(1, i))
          if (rule%wanted) then
            if (i == 1 .or. a_scale(first + i) /= a_scale(first + max(i - 1, 1_i64))) then
              steps(:cols) = a_scale(first + i)*b_scale(col + 1:last_col)/rule%y_scale
            end if
            call requantize(cols, held(1, i), steps, rule, codes(col + 1, first + i))
          else
            sums(col + 1:last_col, first + i) = held(:cols, i)
          end if
        end do
      end do
    end do
  end subroutine do_item

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
  pure subroutine transpose_block(steps, stored_steps, cols, n, b, is_signed, ldw, block)
    integer(i64), intent(in) :: steps         !! rows of b to take
    integer(i64), intent(in) :: stored_steps  !! codes to set of each row of the block
    integer(i64), intent(in) :: cols, n       !! columns of b to take; and all
    integer(i8), intent(in) :: b(n, *)        !! the first of them
    logical, intent(in) :: is_signed          !! else the bytes are 0 ... 255, and 128 is taken off
    integer(i64), intent(in) :: ldw           !! extent of the block
    integer(i8), intent(inout) :: block(ldw, *)
    integer(i8) :: flip, tile(SIDE, SIDE)
    integer(i64) :: p, j, height, width

    flip = 0
    if (.not. is_signed) flip = ibset(flip, 7)
    do p = 0, stored_steps - 1, SIDE
      height = max(0_i64, min(int(SIDE, i64), steps - p))
      do j = 0, cols - 1, SIDE
        width = min(int(SIDE, i64), cols - j)
        if (height == SIDE .and. width == SIDE) then
          call transpose_tile(n, b(j + 1, p + 1), flip, ldw, block(p + 1, j + 1))
        else
          tile = flip
          if (height > 0) tile(:width, :height) = b(j + 1:j + width, p + 1:p + height)
          call transpose_tile(int(SIDE, i64), tile, flip, ldw, block(p + 1, j + 1))
        end if
      end do
    end do
  end subroutine transpose_block

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
