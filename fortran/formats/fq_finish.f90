!> What is done to the sums of a product: the bias is added, the activation function applied.
module fq_finish_real32
  use fq_activation_kind, only: ACT_NONE, ACT_SOFTMAX
  use fq_activation_real32, only: activate_row
  use fq_epilogue_real32, only: epilogue
  use fq_kinds, only: i32, i64, wp => sp
  use fq_share, only: part
  implicit none (type, external)
  private
  public :: fill_rows, finish_rows, finish_softmax

  integer(i64), parameter :: SPAN = 2048   ! entries of rows that are activated together

contains

  !> A part of a product with bias and activation, in place; softmax only if the part has whole
  !> rows, else `finish_softmax` makes it when all parts are there.
  pure subroutine finish_rows(piece, bias, after, ldc, c)
    type(part), intent(in) :: piece         !! the part
    real(wp), intent(in) :: bias(*)         !! added to each row, `(n)`
    type(epilogue), intent(in) :: after     !! what is done to each sum
    integer(i64), intent(in) :: ldc         !! columns of c
    real(wp), intent(inout) :: c(ldc, *)    !! in: sums; out: results, `(n, m)`
    integer(i64) :: first, last, band, i, col, last_col
    logical :: whole

    if (after%activation == ACT_NONE .and. .not. after%has_bias) return
    col = piece%col
    last_col = piece%last_col
    whole = col == 0 .and. last_col == ldc
    band = 1
    if (whole .and. after%activation /= ACT_SOFTMAX) band = max(1_i64, SPAN/ldc)
    do first = piece%row + 1, piece%last_row, band
      last = min(first + band - 1, piece%last_row)
      if (after%has_bias) then
        do i = first, last
          c(col + 1:last_col, i) = c(col + 1:last_col, i) + bias(col + 1:last_col)
        end do
      end if
      if (after%activation /= ACT_NONE .and. (after%activation /= ACT_SOFTMAX .or. whole)) then
        call activate_span(after, (last - first)*ldc + last_col - col, c(col + 1, first))
      end if
    end do
  end subroutine finish_rows

  !> An activation function of entries that follow each other: rows, or a part of one.
  pure subroutine activate_span(after, n, x)
    type(epilogue), intent(in) :: after
    integer(i64), intent(in) :: n
    real(wp), intent(inout) :: x(n)

    call activate_row(after%activation, after%slope, x)
  end subroutine activate_span

  !> Softmax, if that is the activation, of rows that several parts made; else c stays as it is.
  subroutine finish_softmax(after, c, team)
    type(epilogue), intent(in) :: after            !! what is done to each sum
    real(wp), intent(inout), contiguous :: c(:, :) !! in: sums and bias; out: results, `(n, m)`
    integer(i32), intent(in) :: team               !! threads to use, at least 1
    integer(i64) :: row

    if (after%activation /= ACT_SOFTMAX) return
    !$omp parallel do default(none) shared(after, c) schedule(static) num_threads(team) &
    !$omp if(team > 1)
    do row = 1, size(c, 2, kind=i64)
      call activate_row(after%activation, after%slope, c(:, row))
    end do
  end subroutine finish_softmax

  !> Results of a product that sums over nothing: `activation(bias)` in each row.
  pure subroutine fill_rows(bias, after, c)
    real(wp), intent(in) :: bias(*)                !! `(n)`
    type(epilogue), intent(in) :: after            !! what is done to each sum
    real(wp), intent(out), contiguous :: c(:, :)   !! results, `(n, m)`
    integer(i64) :: i

    do i = 1, size(c, 2, kind=i64)
      c(:, i) = 0
      if (after%has_bias) c(:, i) = bias(1:size(c, 1, kind=i64))
      call activate_row(after%activation, after%slope, c(:, i))
    end do
  end subroutine fill_rows
end module fq_finish_real32
