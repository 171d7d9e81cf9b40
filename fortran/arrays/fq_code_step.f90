!> From the range of a group to the step between its codes.
module fq_code_step_real32
  use fq_code_rule, only: code_rule, SCALE_ABSMAX, SCALE_ABSMAX_HALF, SCHEME_AFFINE, &
    SCHEME_SYMMETRIC
  use fq_kinds, only: i32, i64, ip => i32, wp => sp
  use fq_status, only: FQ_NOT_FINITE
  implicit none (type, external)
  private
  public :: find_step, range_run

contains

  !> Range of one run by its order keys, where NaN and Inf are the extremes.
  pure subroutine range_run(w, low, high, peak, info)
    real(wp), intent(in), contiguous :: w(:)  !! values, `(n)`
    real(wp), intent(out) :: low, high        !! smallest and largest
    real(wp), intent(out) :: peak             !! the first of largest magnitude
    integer(i32), intent(inout) :: info       !! FQ_NOT_FINITE if one is NaN or Inf
    integer(ip) :: key, least, most
    integer(i64) :: i

    least = huge(least)
    most = -huge(most)
    do i = 1, size(w, kind=i64)
      key = order_key(w(i), .false.)
      least = min(least, key)
      most = max(most, key)
    end do
    if (least < order_key(-huge(low), .false.)) info = FQ_NOT_FINITE
    if (most > order_key(huge(high), .false.)) info = FQ_NOT_FINITE
    low = from_key(least)
    high = from_key(most)
    peak = merge(low, high, -low > high)
    if (-low == high) peak = first_of(w, high)
  end subroutine range_run

  !> The first value of a run whose magnitude is `magnitude`.
  pure function first_of(w, magnitude) result(value)
    real(wp), intent(in), contiguous :: w(:)
    real(wp), intent(in) :: magnitude
    real(wp) :: value
    integer(i64) :: i

    value = magnitude
    do i = 1, size(w, kind=i64)
      if (abs(w(i)) == magnitude) then
        value = w(i)
        exit
      end if
    end do
  end function first_of

  !> Scale, zero point and minimum of one group.
  pure subroutine find_step(low, high, peak, rule, scale, zero_point, minimum)
    real(wp), intent(in) :: low, high         !! smallest and largest value
    real(wp), intent(in) :: peak              !! of largest magnitude
    type(code_rule), intent(in) :: rule       !! how reals become codes
    real(wp), intent(out) :: scale            !! step of a code
    integer(i32), intent(out) :: zero_point   !! code of 0
    real(wp), intent(out) :: minimum          !! value of code 0
    real(wp) :: bottom, top, levels

    zero_point = 0
    minimum = 0
    levels = real(rule%qmax - rule%qmin, wp)
    select case (rule%scheme)
    case (SCHEME_SYMMETRIC)
      select case (rule%convention)
      case (SCALE_ABSMAX)
        scale = step_of(abs(peak), real(rule%qmax, wp))
      case (SCALE_ABSMAX_HALF)
        scale = step_of(abs(peak), levels/2)
      case default
        scale = step_of(abs(peak), -real(rule%qmin, wp))
        if (peak > 0) scale = -scale
      end select
    case (SCHEME_AFFINE)
      bottom = min(low, 0.0_wp)
      top = max(high, 0.0_wp)
      scale = step_between(bottom, top, levels)
      zero_point = int(min(half_even(-bottom/scale), levels), i32)
    case default
      scale = step_between(low, high, levels)
      minimum = low
    end select
  end subroutine find_step

  !> `spread/levels`, where `spread` may exceed the largest real; so may the step if `levels` is 1.
  pure function step_between(bottom, top, levels) result(step)
    real(wp), intent(in) :: bottom, top, levels
    real(wp) :: step

    if (top - bottom <= huge(step)) then
      step = step_of(top - bottom, levels)
    else
      step = min(top/levels - bottom/levels, huge(step))
    end if
  end function step_between

  !> `spread/levels`; 1 for no spread; never so small, among the denormals, that codes fall short of
  !> it.
  pure function step_of(spread, levels) result(step)
    real(wp), intent(in) :: spread, levels
    real(wp) :: step

    step = 1
    if (spread > 0) step = spread/levels
    if (step < tiny(step)) then
      if (step*levels < spread) step = nearest(step, 1.0_wp)
    end if
  end function step_of

  include 'fq_half_even.inc'
  include 'fq_order.inc'
end module fq_code_step_real32
