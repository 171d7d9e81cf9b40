!> Sums over a group, for a calibration: of errors, of codes, of moments.
!>
!> In an order that neither threads nor vectors change: runs of 32, blocks of 2048, 16 lanes.
module fq_group_sums_real32
  use fq_code_grid_real32, only: code_grid
  use fq_code_rule, only: code_rule
  use fq_encode_real32, only: round_run
  use fq_group_range_real32, only: BLOCK, group_range
  use fq_kinds, only: dp, i32, i64, ip => i32, wp => sp
  implicit none (type, external)
  private
  public :: sum_group

  ! What is summed over a group.
  integer(i32), parameter, public :: OF_SQUARES = 1, OF_FIT = 2, OF_SHRUNK = 3, OF_MOMENTS = 4, &
    OF_EXACT = 5
  integer(i64), parameter, public :: MOST = 80     ! sums of a block

  integer(i64), parameter :: RUN = 32              ! elements whose sums are of kind `wp`
  integer(i64), parameter :: LANE_COUNT = 16       ! partial sums, see fq_lane_sum.inc

  ! \( r^{-0.1} \) by powers of `r - 1`, for `|r - 1| < 1/2`: a relative error of 1e-6.
  real(wp), parameter :: ROOT(6) = [0.999999919_wp, -0.0999817917_wp, 0.0550003325_wp, &
    -0.0393707709_wp, 0.0310450327_wp, -0.0165128828_wp]
  ! The bits of a positive real, but the last, are nearly its logarithm, plus those of 1.
  integer(ip), parameter :: ONE_BITS = transfer(1.0_wp, 0_ip)
  integer(i32), parameter :: FRACTION_BITS = digits(1.0_wp) - 1
  integer(i32), parameter :: LAST_BITS = bit_size(ONE_BITS) - 1 - FRACTION_BITS
  integer(ip), parameter :: ONE = shiftr(ONE_BITS, LAST_BITS)
  integer(ip), parameter :: OCTAVE = 2_ip**(FRACTION_BITS - LAST_BITS)
  real(wp), parameter :: LIFT = 2.0_wp**FRACTION_BITS  ! its bits plus n are those of LIFT + n
  integer(ip), parameter :: LIFT_BITS = transfer(LIFT, 0_ip)
  real(wp), parameter :: OFFSET = &
    LIFT + real(int(1.3_dp*real(ONE, dp) - 0.055_dp*real(OCTAVE, dp), ip), wp)

contains

  !> Sums over a group, of its blocks in order.
  !>
  !> Shapes are explicit: of short groups, a call costs no more than it must.
  subroutine sum_group(what, w, x, range, rule, count, grids, factor, threads, sums, n, total)
    integer(i32), intent(in) :: what          !! one of OF_...
    type(group_range), intent(in) :: range    !! range of the group
    real(wp), intent(in) :: w(range%count)    !! the group
    real(wp), intent(inout) :: x(BLOCK)       !! the group near 1, if it is no longer than a block
    type(code_rule), intent(in) :: rule       !! of OF_EXACT
    integer(i64), intent(in) :: count         !! grids
    type(code_grid), intent(in) :: grids(count)  !! what codes stand for
    real(wp), intent(in) :: factor            !! 1/beta of OF_SHRUNK, the middle of OF_MOMENTS
    integer(i32), intent(in) :: threads       !! that share blocks, at least 1
    real(dp), intent(inout) :: sums(MOST, *)  !! scratch for several threads, `(MOST, blocks)`
    integer(i64), intent(in) :: n             !! sums
    real(dp), intent(out) :: total(n)         !! the sums
    real(dp) :: part(MOST)
    integer(i64) :: k, blocks

    blocks = (range%count + BLOCK - 1)/BLOCK
    if (blocks == 1) then
      call sum_group_block(what, range%count, w, x, range, rule, count, grids, factor, 0_i64, total)
    else if (threads == 1) then
      total = 0
      do k = 1, blocks
        call sum_long(what, w, range, rule, count, grids, factor, k, part)
        total = total + part(1:n)
      end do
    else
      !$omp parallel do default(none) schedule(static) num_threads(threads) &
      !$omp shared(what, w, range, rule, count, grids, factor, blocks, sums)
      do k = 1, blocks
        call sum_long(what, w, range, rule, count, grids, factor, k, sums(:, k))
      end do
      total = 0
      do k = 1, blocks
        total = total + sums(1:n, k)
      end do
    end if
  end subroutine sum_group

  !> Sums over the `k`-th block of a long group.
  pure subroutine sum_long(what, w, range, rule, count, grids, factor, k, total)
    integer(i32), intent(in) :: what
    type(group_range), intent(in) :: range
    real(wp), intent(in) :: w(range%count)
    type(code_rule), intent(in) :: rule
    integer(i64), intent(in) :: count, k
    type(code_grid), intent(in) :: grids(count)
    real(wp), intent(in) :: factor
    real(dp), intent(inout) :: total(MOST)
    real(wp) :: x(BLOCK)
    integer(i64) :: first, last

    first = (k - 1)*BLOCK + 1
    last = min(k*BLOCK, range%count)
    x(1:last - first + 1) = w(first:last)*range%unit
    call sum_group_block(what, last - first + 1, w(first), x, range, rule, count, grids, factor, &
      first - 1, total)
  end subroutine sum_long

  !> The length of whole runs that hold `n` elements.
  pure function padded(n) result(length)
    integer(i64), intent(in) :: n
    integer(i64) :: length

    length = (n + RUN - 1)/RUN*RUN
  end function padded

  !> Sums over a block.  Behind its elements x is filled with what adds nothing to a sum.
  pure subroutine sum_group_block(what, n, w, x, range, rule, count, grids, factor, skipped, total)
    integer(i32), intent(in) :: what                   !! one of OF_...
    integer(i64), intent(in) :: n                      !! elements of the block
    real(wp), intent(in) :: w(n)                       !! the block
    real(wp), intent(inout) :: x(padded(n))            !! near 1, whole runs
    type(group_range), intent(in) :: range
    type(code_rule), intent(in) :: rule
    integer(i64), intent(in) :: count                  !! grids
    type(code_grid), intent(in) :: grids(count)
    real(wp), intent(in) :: factor                     !! 1/beta, or the middle of OF_MOMENTS
    integer(i64), intent(in) :: skipped                !! elements of the group before the block
    real(dp), intent(inout) :: total(*)
    integer(i64) :: k

    select case (what)
    case (OF_SQUARES)
      do k = 1, count
        x(n + 1:) = grids(k)%base
        call sum_squares(padded(n), x, grids(k), total(k))
      end do
    case (OF_FIT)
      x(n + 1:) = grids(1)%base
      call sum_fit(padded(n), x, grids(1), total)
    case (OF_SHRUNK)
      x(n + 1:) = grids(1)%base
      call sum_shrunk(padded(n), x, grids(1), factor, total)
    case (OF_MOMENTS)
      x(n + 1:) = factor
      call sum_moments(padded(n), x, factor, total)
    case default
      do k = 1, count
        call sum_exact(w, range, rule, grids(k), skipped, total(k))
      end do
    end select
  end subroutine sum_group_block

  !> Sum of squared errors, in steps.
  pure subroutine sum_squares(n, x, grid, total)
    integer(i64), intent(in) :: n  ! whole runs
    real(wp), intent(in) :: x(n)
    type(code_grid), intent(in) :: grid
    real(dp), intent(out) :: total
    real(dp) :: lanes(LANE_COUNT)
    real(wp) :: uu(LANE_COUNT)
    integer(i64) :: first, i

    lanes = 0
    do first = 1, n, RUN
      uu = 0
      do i = 0, RUN - 1, LANE_COUNT
        call add_square(x(first + i:first + i + LANE_COUNT - 1), grid, uu)
      end do
      call add_run_lanes(uu, lanes)
    end do
    total = lane_sum(lanes)
  end subroutine sum_squares

  !> Sums of `u**2`, `c`, `c**2`, `u` and `c*u`, where `x = base + step*(c + u)` with codes c.
  pure subroutine sum_fit(n, x, grid, total)
    integer(i64), intent(in) :: n  ! whole runs
    real(wp), intent(in) :: x(n)
    type(code_grid), intent(in) :: grid
    real(dp), intent(out) :: total(5)
    real(dp) :: lanes_1(LANE_COUNT), lanes_2(LANE_COUNT), lanes_3(LANE_COUNT)
    real(dp) :: lanes_4(LANE_COUNT), lanes_5(LANE_COUNT)
    real(wp) :: uu(LANE_COUNT), c(LANE_COUNT), cc(LANE_COUNT), u(LANE_COUNT), cu(LANE_COUNT)
    integer(i64) :: first, i

    lanes_1 = 0
    lanes_2 = 0
    lanes_3 = 0
    lanes_4 = 0
    lanes_5 = 0
    do first = 1, n, RUN
      uu = 0
      c = 0
      cc = 0
      u = 0
      cu = 0
      do i = 0, RUN - 1, LANE_COUNT
        call add_fit(x(first + i:first + i + LANE_COUNT - 1), grid, uu, c, cc, u, cu)
      end do
      call add_run_lanes(uu, lanes_1)
      call add_run_lanes(c, lanes_2)
      call add_run_lanes(cc, lanes_3)
      call add_run_lanes(u, lanes_4)
      call add_run_lanes(cu, lanes_5)
    end do
    total(1) = lane_sum(lanes_1)
    total(2) = lane_sum(lanes_2)
    total(3) = lane_sum(lanes_3)
    total(4) = lane_sum(lanes_4)
    total(5) = lane_sum(lanes_5)
  end subroutine sum_fit

  !> Sums of `|u|**0.7` and of what shrinking takes off u, \( \pm\min(|u|, |u|^{-0.3}/\beta) \).
  pure subroutine sum_shrunk(n, x, grid, factor, total)
    integer(i64), intent(in) :: n  ! whole runs
    real(wp), intent(in) :: x(n)
    type(code_grid), intent(in) :: grid
    real(wp), intent(in) :: factor                 !! 1/beta
    real(dp), intent(out) :: total(2)
    real(dp) :: lanes_1(LANE_COUNT), lanes_2(LANE_COUNT)
    real(wp) :: norm(LANE_COUNT), taken(LANE_COUNT)
    integer(i64) :: first, i

    lanes_1 = 0
    lanes_2 = 0
    do first = 1, n, RUN
      norm = 0
      taken = 0
      do i = 0, RUN - 1, LANE_COUNT
        call add_shrunk(x(first + i:first + i + LANE_COUNT - 1), grid, factor, norm, taken)
      end do
      call add_run_lanes(norm, lanes_1)
      call add_run_lanes(taken, lanes_2)
    end do
    total(1) = lane_sum(lanes_1)
    total(2) = lane_sum(lanes_2)
  end subroutine sum_shrunk

  !> How many are not 0, and the sums of `x - middle`, its magnitude and its square.
  pure subroutine sum_moments(n, x, middle, total)
    integer(i64), intent(in) :: n  ! whole runs
    real(wp), intent(in) :: x(n)
    real(wp), intent(in) :: middle
    real(dp), intent(out) :: total(4)
    real(dp) :: lanes_1(LANE_COUNT), lanes_2(LANE_COUNT), lanes_3(LANE_COUNT), lanes_4(LANE_COUNT)
    real(wp) :: some(LANE_COUNT), d(LANE_COUNT), magnitude(LANE_COUNT), dd(LANE_COUNT)
    integer(i64) :: first, i

    lanes_1 = 0
    lanes_2 = 0
    lanes_3 = 0
    lanes_4 = 0
    do first = 1, n, RUN
      some = 0
      d = 0
      magnitude = 0
      dd = 0
      do i = 0, RUN - 1, LANE_COUNT
        call add_moments(x(first + i:first + i + LANE_COUNT - 1), middle, some, d, magnitude, dd)
      end do
      call add_run_lanes(some, lanes_1)
      call add_run_lanes(d, lanes_2)
      call add_run_lanes(magnitude, lanes_3)
      call add_run_lanes(dd, lanes_4)
    end do
    total(1) = lane_sum(lanes_1)
    total(2) = lane_sum(lanes_2)
    total(3) = lane_sum(lanes_3)
    total(4) = lane_sum(lanes_4)
  end subroutine sum_moments

  !> Sum of squared errors of the reals that codes will stand for, of data times the unit.
  pure subroutine sum_exact(w, range, rule, grid, skipped, total)
    real(wp), intent(in), contiguous :: w(:)
    type(group_range), intent(in) :: range
    type(code_rule), intent(in) :: rule
    type(code_grid), intent(in) :: grid
    integer(i64), intent(in) :: skipped
    real(dp), intent(out) :: total
    real(dp) :: lanes(LANE_COUNT), error, unit
    real(wp) :: v(BLOCK)
    integer(i64) :: i, lane, whole

    call round_run(w, rule, grid%scale, grid%zero_point, grid%minimum, range%before + skipped, &
      v(1:size(w)))
    unit = real(range%unit, dp)
    lanes = 0
    whole = size(w, kind=i64)/LANE_COUNT*LANE_COUNT
    do i = 0, whole - 1, LANE_COUNT
      do lane = 1, LANE_COUNT
        error = real(w(i + lane), dp)*unit - real(v(i + lane), dp)*unit
        lanes(lane) = lanes(lane) + error*error
      end do
    end do
    do i = whole + 1, size(w, kind=i64)
      error = real(w(i), dp)*unit - real(v(i), dp)*unit
      lanes(i - whole) = lanes(i - whole) + error*error
    end do
    total = lane_sum(lanes)
  end subroutine sum_exact

  !> Add the sums of a run to those of a block.
  pure subroutine add_run_lanes(run_lanes, lanes)
    real(wp), intent(in) :: run_lanes(LANE_COUNT)
    real(dp), intent(inout) :: lanes(LANE_COUNT)
    integer(i64) :: lane

    !$omp simd
    do lane = 1, LANE_COUNT
      lanes(lane) = lanes(lane) + real(run_lanes(lane), dp)
    end do
  end subroutine add_run_lanes

  !> Add the squared errors of 16 neighbouring elements, one to each lane.
  pure subroutine add_square(x, grid, uu)
    real(wp), intent(in) :: x(LANE_COUNT)
    type(code_grid), intent(in) :: grid
    real(wp), intent(inout) :: uu(LANE_COUNT)
    real(wp) :: t, u
    integer(i64) :: lane

    do lane = 1, LANE_COUNT
      t = (x(lane) - grid%base)*grid%per_step
      u = t - half_even(min(max(t, grid%low), grid%high))
      uu(lane) = uu(lane) + u*u
    end do
  end subroutine add_square

  !> The same for the sums of `sum_fit`.
  pure subroutine add_fit(x, grid, uu, c, cc, u, cu)
    real(wp), intent(in) :: x(LANE_COUNT)
    type(code_grid), intent(in) :: grid
    real(wp), intent(inout) :: uu(LANE_COUNT), c(LANE_COUNT), cc(LANE_COUNT)
    real(wp), intent(inout) :: u(LANE_COUNT), cu(LANE_COUNT)
    real(wp) :: t, code, left
    integer(i64) :: lane

    do lane = 1, LANE_COUNT
      t = (x(lane) - grid%base)*grid%per_step
      code = half_even(min(max(t, grid%low), grid%high))
      left = t - code
      uu(lane) = uu(lane) + left*left
      c(lane) = c(lane) + code
      cc(lane) = cc(lane) + code*code
      u(lane) = u(lane) + left
      cu(lane) = cu(lane) + code*left
    end do
  end subroutine add_fit

  !> The same for the sums of `sum_shrunk`.
  pure subroutine add_shrunk(x, grid, factor, norm, taken)
    real(wp), intent(in) :: x(LANE_COUNT), factor
    type(code_grid), intent(in) :: grid
    real(wp), intent(inout) :: norm(LANE_COUNT), taken(LANE_COUNT)
    real(wp) :: t, u, power
    integer(i64) :: lane

    do lane = 1, LANE_COUNT
      t = (x(lane) - grid%base)*grid%per_step
      u = t - half_even(min(max(t, grid%low), grid%high))
      power = to_minus_0_3(abs(u))
      norm(lane) = norm(lane) + abs(u)*power
      taken(lane) = taken(lane) + sign(min(abs(u), power*factor), u)
    end do
  end subroutine add_shrunk

  !> The same for the sums of `sum_moments`.
  pure subroutine add_moments(x, middle, some, d, magnitude, dd)
    real(wp), intent(in) :: x(LANE_COUNT), middle
    real(wp), intent(inout) :: some(LANE_COUNT), d(LANE_COUNT), magnitude(LANE_COUNT)
    real(wp), intent(inout) :: dd(LANE_COUNT)
    real(wp) :: away
    integer(i64) :: lane

    do lane = 1, LANE_COUNT
      away = x(lane) - middle
      some(lane) = some(lane) + merge(1.0_wp, 0.0_wp, x(lane) /= 0)
      d(lane) = d(lane) + away
      magnitude(lane) = magnitude(lane) + abs(away)
      dd(lane) = dd(lane) + away*away
    end do
  end subroutine add_moments

  !> \( a^{-0.3} \) to some 2e-6, for `a >= 1e-9`; for less, some number that is too small.
  !>
  !> A first guess y from the bits of a is wrong by 4 percent at most; then it is
  !> \( y\, r^{-0.1} \) with \( r = y^{10} a^3 \) near 1.
  pure elemental function to_minus_0_3(a) result(y)
    real(wp), intent(in) :: a
    real(wp) :: y, x, y2, y8, logarithm
    integer(ip) :: bits

    x = max(a, 1e-9_wp)
    bits = shiftr(transfer(x, bits), LAST_BITS)
    logarithm = transfer(bits + LIFT_BITS, logarithm) - LIFT
    bits = transfer(logarithm*(-0.3_wp) + OFFSET, bits) - LIFT_BITS
    y = transfer(shiftl(bits, LAST_BITS), y)
    y2 = y*y
    y8 = (y2*y2)*(y2*y2)
    x = (y8*y2)*((x*x)*x) - 1
    y2 = x*x
    y = y*((ROOT(1) + x*ROOT(2)) + y2*((ROOT(3) + x*ROOT(4)) + y2*(ROOT(5) + x*ROOT(6))))
  end function to_minus_0_3

  include 'fq_half_even.inc'
  include 'fq_lane_sum.inc'
end module fq_group_sums_real32
