!> The range of a group, and the group near 1, where calibrations look at it.
module fq_group_range_real32
  use fq_code_step_real32, only: range_run
  use fq_kinds, only: i32, i64, wp => sp
  use fq_status, only: FQ_OK
  implicit none (type, external)
  private
  public :: find_range

  integer(i64), parameter, public :: BLOCK = 2048  ! elements of one sum; 16 KiB of float64

  !> A group, and the power of two that brings it near 1: there nothing overflows and no step is a
  !> denormal.
  type, public :: group_range
    real(wp) :: low              !! smallest value
    real(wp) :: high             !! largest
    real(wp) :: unit             !! the power of two
    integer(i64) :: count        !! elements of the group
    integer(i64) :: before       !! elements of the tensor before it
  end type group_range

contains

  !> The range of a group, and what is no longer than a block near 1; no range if not all is finite.
  subroutine find_range(w, before, threads, range, x, info)
    real(wp), intent(in), contiguous :: w(:)  !! the group
    integer(i64), intent(in) :: before       !! elements of the tensor that precede it
    integer(i32), intent(in) :: threads      !! threads to use, at least 1
    type(group_range), intent(out) :: range  !! its range
    real(wp), intent(inout) :: x(BLOCK)      !! out: the group near 1, if a block holds it
    integer(i32), intent(out) :: info        !! FQ_OK or FQ_NOT_FINITE

    call range_of(w, threads, range%low, range%high, info)
    if (info /= FQ_OK) range%low = 0
    if (info /= FQ_OK) range%high = 0
    range%count = size(w, kind=i64)
    range%before = before
    range%unit = unit_of(max(-range%low, range%high))
    if (size(w, kind=i64) <= BLOCK) x(1:size(w)) = w*range%unit
  end subroutine find_range

  !> The power of two that brings a magnitude to 1/2 ... 1, as near as normal numbers do.
  pure function unit_of(peak) result(unit)
    real(wp), intent(in) :: peak
    real(wp) :: unit

    unit = scale(1.0_wp, min(max(-exponent(peak), minexponent(peak) - 1), 1 - minexponent(peak)))
  end function unit_of

  !> Smallest and largest value of a group.
  subroutine range_of(w, threads, low, high, info)
    real(wp), intent(in), contiguous :: w(:)
    integer(i32), intent(in) :: threads
    real(wp), intent(out) :: low, high
    integer(i32), intent(out) :: info
    real(wp) :: least, most, peak
    integer(i64) :: first, last
    integer(i32) :: state

    if (threads == 1) then
      info = FQ_OK
      call range_run(w, low, high, peak, info)
      return
    end if
    low = huge(low)
    high = -huge(high)
    info = FQ_OK
    !$omp parallel do default(none) shared(w) private(last, least, most, peak, state) &
    !$omp reduction(min: low) reduction(max: high, info) schedule(static) num_threads(threads)
    do first = 1, size(w, kind=i64), BLOCK
      last = min(first + BLOCK - 1, size(w, kind=i64))
      state = FQ_OK
      call range_run(w(first:last), least, most, peak, state)
      low = min(low, least)
      high = max(high, most)
      info = max(info, state)
    end do
  end subroutine range_of
end module fq_group_range_real32
