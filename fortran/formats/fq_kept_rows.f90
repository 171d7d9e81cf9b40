!> Weights without the rows that are zero: the results of those that were kept, and where they go.
module fq_kept_rows_real32
  use fq_epilogue_real32, only: epilogue
  use fq_finish_real32, only: finish_rows
  use fq_kinds, only: i32, i64, wp => sp
  use fq_share, only: part
  use fq_work_size, only: SMALL_WORK
  implicit none (type, external)
  private
  public :: scatter_rows

contains

  !> Columns of y from the rows of w that were kept; the others are `activation(bias)`.
  subroutine scatter_rows(kept, products, bias, after, y, threads)
    integer(i64), intent(in), contiguous :: kept(:)      !! columns of y kept, from 0, `(count)`
    real(wp), intent(in), contiguous :: products(:, :)   !! what they hold, `(count, m)`
    real(wp), intent(in) :: bias(*)                      !! added to each row of y, `(n)`
    type(epilogue), intent(in) :: after                  !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)         !! results, `(n, m)`
    integer(i32), intent(in) :: threads                  !! threads to use, at least 1
    type(part) :: piece
    integer(i64) :: i, j, n

    n = size(y, 1, kind=i64)
    !$omp parallel do default(none) private(piece, j) schedule(static) num_threads(threads) &
    !$omp shared(kept, products, bias, after, y, n) if(size(y, kind=i64) > SMALL_WORK)
    do i = 1, size(y, 2, kind=i64)
      y(:, i) = 0
      do j = 1, size(kept, kind=i64)
        y(kept(j) + 1, i) = products(j, i)
      end do
      piece%row = i - 1
      piece%last_row = i
      piece%col = 0
      piece%last_col = n
      call finish_rows(piece, bias, after, n, y)
    end do
  end subroutine scatter_rows
end module fq_kept_rows_real32
