!> Half-quadratic quantization: offsets with the least norm of errors of power 0.7.
module fq_hqq_real32
  use fq_code_grid_real32, only: code_grid, grid_of
  use fq_code_rule, only: code_rule, SCHEME_AFFINE, SCHEME_MINMAX
  use fq_group_range_real32, only: BLOCK, find_range, group_range
  use fq_group_sums_real32, only: MOST, OF_SHRUNK, sum_group
  use fq_kinds, only: dp, i32, i64, wp => sp
  use fq_status, only: FQ_OK
  implicit none (type, external)
  private
  public :: hqq_groups

  integer(i64), parameter, public :: BUNDLE_COUNT = 4  ! groups by turns
  ! Beta, of errors in steps, grows from 1 to 10.
  integer(i32), parameter :: SHRINKINGS = 20
  real(dp), parameter :: FIRST_WEIGHT = 1, KAPPA = 1.122_dp

  !> A group on its way through half-quadratic steps: its grid, and the norms of its errors.
  type, private :: half_quadratic
    type(group_range) :: range
    type(code_grid) :: grid(1)
    real(dp) :: first, least
    real(wp) :: best
  end type half_quadratic

contains

  !> The minimum, or zero point, whose errors are least in the norm of power 0.7, by half-quadratic
  !> steps (Badri & Shaji 2023), of neighbouring groups.
  !>
  !> The minimum moves by the mean of what shrinking takes off the errors; they are in steps, so
  !> that a multiple of the weights has the same codes.  A step waits for the sums of the one
  !> before: short groups take theirs by turns, so that a processor has some work to look ahead to.
  subroutine hqq_groups(w, group_size, rule, threads, sums, scale, zero_point, minimum, info)
    real(wp), intent(in), contiguous :: w(:)               !! weights of at most BUNDLE_COUNT groups
    integer(i64), intent(in) :: group_size                 !! weights of a group
    type(code_rule), intent(in) :: rule                    !! how reals become codes
    integer(i32), intent(in) :: threads                    !! threads to use, at least 1
    real(dp), intent(inout) :: sums(MOST, *)               !! see `sum_group`
    real(wp), intent(out), contiguous :: scale(:)          !! `(groups)`
    integer(i32), intent(out), contiguous :: zero_point(:) !! `(groups)`
    real(wp), intent(out), contiguous :: minimum(:)        !! `(groups)`
    integer(i32), intent(out) :: info                      !! FQ_OK or FQ_NOT_FINITE
    type(half_quadratic) :: state(BUNDLE_COUNT)
    type(code_grid) :: plain
    real(wp) :: x(BLOCK, BUNDLE_COUNT)
    real(dp) :: weight
    integer(i64) :: g, first, last
    integer(i32) :: step, found

    info = FQ_OK
    do g = 1, size(scale, kind=i64)
      first = (g - 1)*group_size + 1
      last = min(g*group_size, size(w, kind=i64))
      call find_range(w(first:last), 0_i64, threads, state(g)%range, x(:, g), found)
      info = max(info, found)
      plain = grid_of(state(g)%range%low, state(g)%range%high, rule)
      scale(g) = plain%scale
      zero_point(g) = plain%zero_point
      minimum(g) = plain%minimum
      call start_steps(rule, state(g))
    end do
    weight = FIRST_WEIGHT
    do step = 0, SHRINKINGS
      do g = 1, size(scale, kind=i64)
        first = (g - 1)*group_size + 1
        last = min(g*group_size, size(w, kind=i64))
        call make_step(w(first:last), x(:, g), rule, real(1/weight, wp), threads, sums, state(g))
      end do
      weight = weight*KAPPA
    end do
    do g = 1, size(scale, kind=i64)
      if (.not. state(g)%range%low < state(g)%range%high) cycle
      first = (g - 1)*group_size + 1
      last = min(g*group_size, size(w, kind=i64))
      call end_steps(w(first:last), x(:, g), rule, threads, sums, state(g), zero_point(g), &
        minimum(g))
    end do
  end subroutine hqq_groups

  !> The grid that half-quadratic steps start from: codes from 0 up, whatever the scheme.
  pure subroutine start_steps(rule, state)
    type(code_rule), intent(in) :: rule
    type(half_quadratic), intent(inout) :: state

    associate (range => state%range, grid => state%grid(1))
      grid = grid_of(range%low*range%unit, range%high*range%unit, rule)
      if (rule%scheme == SCHEME_AFFINE) grid%base = real(-grid%zero_point, wp)*grid%step
      grid%low = 0
      grid%high = real(rule%qmax, wp)
      state%best = grid%base
      state%first = -1
      state%least = huge(state%least)
    end associate
  end subroutine start_steps

  !> One step: the norm of the errors, and the minimum moved.
  subroutine make_step(w, x, rule, factor, threads, sums, state)
    type(half_quadratic), intent(inout) :: state
    real(wp), intent(in) :: w(state%range%count)
    real(wp), intent(inout) :: x(BLOCK)
    type(code_rule), intent(in) :: rule
    real(wp), intent(in) :: factor             !! 1/beta
    integer(i32), intent(in) :: threads
    real(dp), intent(inout) :: sums(MOST, *)
    real(dp) :: total(2)

    call sum_group(OF_SHRUNK, w, x, state%range, rule, 1_i64, state%grid, factor, threads, sums, &
      2_i64, total)
    if (state%first < 0) state%first = total(1)
    if (total(1) < state%least) then
      state%least = total(1)
      state%best = state%grid(1)%base
    end if
    state%grid(1)%base = real(real(state%grid(1)%base, dp) + real(state%grid(1)%step, dp)* &
      (total(2)/real(state%range%count, dp)), wp)
  end subroutine make_step

  !> The minimum with the least norm; or its zero point, if that has a lesser norm than the first.
  subroutine end_steps(w, x, rule, threads, sums, state, zero_point, minimum)
    type(half_quadratic), intent(inout) :: state
    real(wp), intent(in) :: w(state%range%count)
    real(wp), intent(inout) :: x(BLOCK)
    type(code_rule), intent(in) :: rule
    integer(i32), intent(in) :: threads
    real(dp), intent(inout) :: sums(MOST, *)
    integer(i32), intent(inout) :: zero_point
    real(wp), intent(inout) :: minimum
    real(dp) :: total(2)
    real(wp) :: zero

    if (rule%scheme == SCHEME_MINMAX) then
      if (state%least < state%first) then
        minimum = min(max(state%best/state%range%unit, -huge(zero)), huge(zero))
      end if
    else
      zero = half_even(min(max(-state%best/state%grid(1)%step, 0.0_wp), real(rule%qmax, wp)))
      state%grid(1)%base = -zero*state%grid(1)%step
      call sum_group(OF_SHRUNK, w, x, state%range, rule, 1_i64, state%grid, 1.0_wp, threads, sums, &
        2_i64, total)
      if (total(1) < state%first) zero_point = int(zero, i32)
    end if
  end subroutine end_steps

  include 'fq_half_even.inc'
end module fq_hqq_real32
