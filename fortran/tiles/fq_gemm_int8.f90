!> Exact products of small integers: what every product of quantized matrices is made of.
!>
!> Both matrices come by rows along k.  Left codes are stored as the machine multiplies best, right
!> codes are signed bytes; sums are 32-bit integers, which MAX_STEPS steps of k cannot overflow.
module fq_gemm_int8
  use fq_kinds, only: i8, i32, i64
  use fq_precondition, only: CHECKED, require
  use fq_registers, only: CODE_COLS, CODE_KIND, CODE_MASK, CODE_ROWS, CODE_SHIFT
  implicit none (type, external)
  private
  public :: CODE_COLS, CODE_KIND, CODE_MASK, CODE_ROWS, CODE_SHIFT, CODE_STEPS, MAX_STEPS, &
    multiply_block_int8, padded_steps

  integer(i64), parameter :: CODE_STEPS = 64     ! rows of codes are whole cache lines of bytes
  ! 255*128*65536 < 2**31.
  integer(i64), parameter :: MAX_STEPS = 65536

contains

  !> Steps of k of a stored row: whole vectors, and a line more where rows would meet in a set of
  !> L1.
  pure function padded_steps(k) result(steps)
    integer(i64), intent(in) :: k   !! steps of k
    integer(i64) :: steps

    steps = (k + CODE_STEPS - 1)/CODE_STEPS*CODE_STEPS
    if (mod(steps, 512_i64) == 0) steps = steps + CODE_STEPS
  end function padded_steps

  !> `sums(j, i)` = sum of the products of row i of x and row j of w.
  pure subroutine multiply_block_int8(vectors, rows, ldx, x, cols, ldw, w, ldc, sums)
    integer(i64), intent(in) :: vectors                !! steps of k, in CODE_STEPS
    integer(i64), intent(in) :: rows, ldx              !! left rows, and codes from one to the next
    integer(CODE_KIND), intent(in) :: x(ldx, *)        !! left codes, shifted by CODE_SHIFT
    integer(i64), intent(in) :: cols, ldw              !! right rows, and codes from one to the next
    integer(i8), intent(in) :: w(ldw, *)               !! right codes
    integer(i64), intent(in) :: ldc                    !! entries from row to row of the sums
    integer(i32), intent(inout) :: sums(ldc, *)        !! sums, `(cols, rows)`
    integer(i64) :: i, j, wide

    if (CHECKED) call require(CODE_STEPS*vectors <= min(MAX_STEPS, ldx, ldw) .and. ldc >= cols, &
      'multiply_block_int8: CODE_STEPS*vectors <= MAX_STEPS, ldx, ldw; cols <= ldc')
    wide = cols/CODE_COLS*CODE_COLS
    do i = 1, rows/CODE_ROWS*CODE_ROWS, CODE_ROWS
      do j = 1, wide, CODE_COLS
        call tile_many(vectors, ldx, ldw, ldc, x(1, i), w(1, j), sums(j, i))
      end do
      do j = wide + 1, cols
        call tile_column(vectors, ldx, ldw, ldc, x(1, i), w(1, j), sums(j, i))
      end do
    end do
    do i = rows/CODE_ROWS*CODE_ROWS + 1, rows
      do j = 1, wide, CODE_COLS
        call tile_row(vectors, ldx, ldw, ldc, x(1, i), w(1, j), sums(j, i))
      end do
      do j = wide + 1, cols
        call tile_one(vectors, ldx, ldw, ldc, x(1, i), w(1, j), sums(j, i))
      end do
    end do
  end subroutine multiply_block_int8

  pure subroutine tile_many(vectors, ldx, ldw, ldc, x, w, sums)
    integer, parameter :: R = CODE_ROWS, C = CODE_COLS
    include 'fq_tile_int8.inc'
  end subroutine tile_many

  pure subroutine tile_column(vectors, ldx, ldw, ldc, x, w, sums)
    integer, parameter :: R = CODE_ROWS, C = 1
    include 'fq_tile_int8.inc'
  end subroutine tile_column

  pure subroutine tile_row(vectors, ldx, ldw, ldc, x, w, sums)
    integer, parameter :: R = 1, C = CODE_COLS
    include 'fq_tile_int8.inc'
  end subroutine tile_row

  pure subroutine tile_one(vectors, ldx, ldw, ldc, x, w, sums)
    integer, parameter :: R = 1, C = 1
    include 'fq_tile_int8.inc'
  end subroutine tile_one
end module fq_gemm_int8
