!> Levels of a table: which of them is nearest to a value.
module fq_levels_real32
  use fq_kinds, only: i32, i64, ip => i32, wp => sp
  use fq_status, only: FQ_NOT_FINITE
  implicit none (type, external)
  private
  public :: find_middles, find_peak, place_run

  integer, parameter, public :: MOST_LEVELS = 256
  ! Levels that are compared with all values; of more some are, see place_run.
  integer, parameter, public :: FEW_LEVELS = 16

contains

  !> The middles between neighbouring levels, behind them what no value exceeds.
  pure subroutine find_middles(levels, middles)
    real(wp), intent(in), contiguous :: levels(:)   !! ascending, `(1 ... 256)`
    real(wp), intent(inout) :: middles(255)         !! what codes are told apart by
    integer :: n

    n = size(levels)
    middles(1:n - 1) = middle(levels(1:n - 1), levels(2:n))
    middles(n:) = huge(middles)
  end subroutine find_middles

  !> The largest magnitude of a group as its scale, 1 for zeros; or only whether it is finite.
  pure subroutine find_peak(n, w, finds_scale, scale, info)
    integer(i64), intent(in) :: n                   !! values of the group
    real(wp), intent(in) :: w(n)                    !! the group
    logical, intent(in) :: finds_scale              !! else scale stays
    real(wp), intent(inout) :: scale                !! scale of the group
    integer(i32), intent(inout) :: info             !! FQ_NOT_FINITE if one is NaN or Inf
    integer(ip) :: peak
    integer(i64) :: i

    peak = 0
    do i = 1, n  ! as integers magnitudes have the same order, Inf and NaN above
      peak = max(peak, iand(transfer(w(i), peak), huge(peak)))
    end do
    if (peak > transfer(huge(scale), peak)) info = FQ_NOT_FINITE
    if (finds_scale) scale = merge(transfer(peak, scale), 1.0_wp, peak > 0)
  end subroutine find_peak

  !> How many of the bounds between `count` levels each value exceeds; those behind the last are
  !> beyond all values.
  !>
  !> Fifteen of them, evenly apart, are compared with all values, which needs no look-up; between
  !> those of many levels the code is searched by halving.
  pure subroutine place_run(n, x, count, bounds, codes)
    integer(i64), intent(in) :: n           !! values
    real(wp), intent(in) :: x(n)            !! values over their scale
    integer, intent(in) :: count            !! levels, `2 ... 256`
    real(wp), intent(in) :: bounds(255)     !! see `find_middles`
    integer(i32), intent(out) :: codes(n)   !! codes
    real(wp) :: fences(FEW_LEVELS - 1)
    integer(i64) :: i
    integer(i32) :: step, code
    integer :: l

    step = 1
    do while (FEW_LEVELS*step < count)
      step = 2*step
    end do
    fences = bounds(step:(FEW_LEVELS - 1)*step:step)
    do i = 1, n
      code = 0
      !GCC$ unroll 16
      do l = 1, FEW_LEVELS - 1
        code = code + merge(1, 0, x(i) > fences(l))
      end do
      codes(i) = code*step
    end do
    do while (step > 1)
      step = step/2
      do i = 1, n
        codes(i) = codes(i) + merge(step, 0_i32, x(i) > bounds(codes(i) + step))
      end do
    end do
  end subroutine place_run

  include 'fq_middle.inc'
end module fq_levels_real32
