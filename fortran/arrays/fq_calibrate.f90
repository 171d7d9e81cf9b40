!> Scales, zero points and minima that lose less than those of the range.
!>
!> Python: `pyfq/arrays/calibrate.py`.  Reference: `pyfq/reference/arrays/calibrate.py`.
module fq_calibrate_real32
  use fq_code_rule, only: code_rule, SCHEME_AFFINE, SCHEME_MINMAX, SCHEME_SYMMETRIC
  use fq_kinds, only: dp, i32, i64, ip => i32, wp => sp
  use fq_quantize_real32, only: find_step, range_run, round_run
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_work_size, only: SMALL_RANKING
  implicit none (type, external)
  private
  public :: calibrate

  ! Methods; mirrored in `pyfq/arrays/calibrate.py`.
  integer(i32), parameter, public :: METHOD_MSE = 1, METHOD_ALS = 2, METHOD_ACIQ = 4, METHOD_HQQ = 5
  ! What is summed over a group.
  integer(i32), parameter :: OF_SQUARES = 1, OF_FIT = 2, OF_SHRUNK = 3, OF_MOMENTS = 4, &
    OF_EXACT = 5

  integer(i64), parameter :: BLOCK = 2048          ! elements of one sum; 16 KiB of float64
  integer(i64), parameter :: RUN = 32              ! elements whose sums are of kind `wp`
  integer(i64), parameter :: LANE_COUNT = 16       ! partial sums, see fq_lanes.inc
  integer(i64), parameter :: MOST = 80             ! sums of a block
  integer(i64), parameter :: FEW_GROUPS = 8        ! of a thread; fewer, if long, are shared
  integer(i64), parameter :: BUNDLE_COUNT = 4      ! groups of METHOD_HQQ by turns,
  integer(i64), parameter :: BUNDLED = 512         ! if no longer than this

  ! Percent that candidates of METHOD_MSE clip: those of GPTQ.  Those METHOD_ALS starts from.
  integer(i32), parameter :: CLIPPED(80) = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, &
    16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, &
    39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, &
    62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79]
  integer(i32), parameter :: STARTS(9) = [0, 5, 10, 15, 20, 25, 30, 40, 50]
  integer(i32), parameter :: FITS = 8              ! of METHOD_ALS
  ! Of METHOD_HQQ: beta, of errors in steps, grows from 1 to 10.
  integer(i32), parameter :: SHRINKINGS = 20
  real(dp), parameter :: FIRST_WEIGHT = 1, KAPPA = 1.122_dp

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

  !> What the codes of a group stand for: `base + code*step`, codes counted from the zero point.
  type, private :: code_grid
    real(wp) :: base, step, per_step, low, high
    real(wp) :: scale, minimum
    integer(i32) :: zero_point
  end type code_grid

  !> A group, and the power of two that brings it near 1: there nothing overflows and no step is a
  !> denormal.
  type, private :: group_range
    real(wp) :: low, high, unit
    integer(i64) :: before
  end type group_range

  !> A group on its way through half-quadratic steps: its grid, and the norms of its errors.
  type, private :: half_quadratic
    type(group_range) :: range
    type(code_grid) :: grid(1)
    real(dp) :: first, least
    real(wp) :: best
  end type half_quadratic

contains

  !> Scale, zero point and minimum of each group.
  !>
  !> A group is summed in blocks of 2048, whose sums are added in order: threads share groups, or
  !> the blocks of long ones, and change nothing.
  !>
  !> *Preconditions*: `group_size >= 1`; `groups == ceiling(cols/group_size)`; no group is empty.
  subroutine calibrate(w, rule, method, clips, group_size, scale, zero_point, minimum, threads, &
    info)
    real(wp), intent(in), contiguous :: w(:, :)                !! weights, `(cols, rows)`
    type(code_rule), intent(in) :: rule                        !! how reals become codes
    integer(i32), intent(in) :: method                         !! one of METHOD_...
    real(dp), intent(in) :: clips(5)                           !! of METHOD_ACIQ, see `aciq_group`
    integer(i64), intent(in) :: group_size                     !! columns of a group
    real(wp), intent(out), contiguous :: scale(:, :)           !! step of a code, `(groups, rows)`
    integer(i32), intent(out), contiguous :: zero_point(:, :)  !! code of 0, `(groups, rows)`
    real(wp), intent(out), contiguous :: minimum(:, :)         !! value of code 0, `(groups, rows)`
    integer(i32), intent(in) :: threads                        !! threads to use, at least 1
    integer(i32), intent(out) :: info                          !! status code
    real(dp), allocatable :: sums(:, :)
    integer(i64) :: k, r, g, h, groups, bundle, bundles, last, first, blocks
    integer(i32) :: state, sharing

    groups = size(scale, 1, kind=i64)
    bundle = merge(BUNDLE_COUNT, 1_i64, method == METHOD_HQQ .and. group_size <= BUNDLED)
    bundles = (groups + bundle - 1)/bundle
    blocks = (min(group_size, size(w, 1, kind=i64)) + BLOCK - 1)/BLOCK
    sharing = 1
    if (size(scale, kind=i64) < FEW_GROUPS*threads .and. group_size > SMALL_RANKING) then
      sharing = threads
    end if
    allocate (sums(MOST, merge(blocks, 0_i64, sharing > 1)), stat=state)
    info = merge(FQ_OK, FQ_NO_MEMORY, state == 0)
    if (info /= FQ_OK) return
    !$omp parallel do default(none) private(r, g, h, first, last, state) reduction(max: info) &
    !$omp shared(w, rule, method, clips, group_size, scale, zero_point, minimum, groups, bundle, &
    !$omp bundles, sums, sharing) schedule(static) num_threads(threads) &
    !$omp if(sharing == 1 .and. size(w, kind=i64) > SMALL_RANKING)
    do k = 0, bundles*size(scale, 2, kind=i64) - 1
      r = k/bundles + 1
      g = mod(k, bundles)*bundle + 1
      h = min(g + bundle - 1, groups)
      first = (g - 1)*group_size + 1
      last = min(h*group_size, size(w, 1, kind=i64))
      if (method == METHOD_HQQ) then
        call hqq_groups(w(first:last, r), group_size, rule, sharing, sums, scale(g:h, r), &
          zero_point(g:h, r), minimum(g:h, r), state)
      else
        call calibrate_group(w(first:last, r), (r - 1)*size(w, 1, kind=i64) + first - 1, rule, &
          method, clips, sharing, sums, scale(g, r), zero_point(g, r), minimum(g, r), state)
      end if
      info = max(info, state)
    end do
  end subroutine calibrate

  !> Scale, zero point and minimum of one group; a constant one has those of its range.
  subroutine calibrate_group(w, before, rule, method, clips, threads, sums, scale, zero_point, &
    minimum, info)
    real(wp), intent(in), contiguous :: w(:)
    integer(i64), intent(in) :: before
    type(code_rule), intent(in) :: rule
    integer(i32), intent(in) :: method, threads
    real(dp), intent(in) :: clips(5)
    real(dp), intent(inout), contiguous :: sums(:, :)
    real(wp), intent(out) :: scale, minimum
    integer(i32), intent(out) :: zero_point, info
    type(group_range) :: range
    type(code_grid) :: plain, found
    real(wp) :: x(BLOCK)

    call look_at(w, before, threads, range, x, info)
    plain = grid_of(range%low, range%high, rule)
    found = plain
    if (range%low < range%high) then
      select case (method)
      case (METHOD_MSE)
        call mse_group(w, x, range, rule, threads, sums, found)
        call keep_better(w, x, range, rule, plain, threads, sums, found)
      case (METHOD_ALS)
        call als_group(w, x, range, rule, threads, sums, found)
        call keep_better(w, x, range, rule, plain, threads, sums, found)
      case (METHOD_ACIQ)
        call aciq_group(w, x, range, rule, clips, threads, sums, found)
      case default  ! METHOD_HQQ has been here, others have their range
        continue
      end select
    end if
    scale = found%scale
    zero_point = found%zero_point
    minimum = found%minimum
  end subroutine calibrate_group

  !> The range of a group, and what is no longer than a block near 1; no range if not all is finite.
  subroutine look_at(w, before, threads, range, x, info)
    real(wp), intent(in), contiguous :: w(:)
    integer(i64), intent(in) :: before       !! elements of the tensor that precede it
    integer(i32), intent(in) :: threads
    type(group_range), intent(out) :: range
    real(wp), intent(inout) :: x(BLOCK)
    integer(i32), intent(out) :: info

    call range_of(w, threads, range%low, range%high, info)
    if (info /= FQ_OK) range%low = 0
    if (info /= FQ_OK) range%high = 0
    range%before = before
    range%unit = unit_of(max(-range%low, range%high))
    if (size(w, kind=i64) <= BLOCK) x(1:size(w)) = w*range%unit
  end subroutine look_at

  !> Of ranges clipped by 0 ... 79 percent, the first with the least squares of errors.
  subroutine mse_group(w, x, range, rule, threads, sums, found)
    real(wp), intent(in), contiguous :: w(:)
    real(wp), intent(inout) :: x(BLOCK)
    type(group_range), intent(in) :: range
    type(code_rule), intent(in) :: rule
    integer(i32), intent(in) :: threads
    real(dp), intent(inout), contiguous :: sums(:, :)
    type(code_grid), intent(out) :: found
    type(code_grid) :: near_one
    integer(i32) :: best

    call best_clip(w, x, range, rule, CLIPPED, threads, sums, best, near_one)
    found = clipped_grid(range%low, range%high, CLIPPED(best), rule)
  end subroutine mse_group

  !> Codes, and the scale and minimum or zero point with the least squares for these codes, by turns
  !> until errors no longer become less.
  subroutine als_group(w, x, range, rule, threads, sums, found)
    real(wp), intent(in), contiguous :: w(:)
    real(wp), intent(inout) :: x(BLOCK)
    type(group_range), intent(in) :: range
    type(code_rule), intent(in) :: rule
    integer(i32), intent(in) :: threads
    real(dp), intent(inout), contiguous :: sums(:, :)
    type(code_grid), intent(out) :: found
    type(code_grid) :: grid(1)
    real(dp) :: least, error, total(5)
    integer(i32) :: step, best
    logical :: fits_better

    call best_clip(w, x, range, rule, STARTS, threads, sums, best, grid(1))
    found = grid(1)
    least = huge(least)
    do step = 0, FITS
      call sum_group(OF_FIT, w, x, range, rule, grid, 0.0_wp, threads, sums, total)
      error = total(1)*real(grid(1)%step, dp)*real(grid(1)%step, dp)
      if (error >= least) exit
      least = error
      found = grid(1)
      call refit(total, real(size(w, kind=i64), dp), rule, grid(1), fits_better)
      if (.not. fits_better) exit
    end do
    call leave_unit(range%unit, rule, found)
  end subroutine als_group

  !> The grid of least squares for given codes.
  !>
  !> With values `x = step*(c + u)` above the base, the rests u are nearest to `a + b*c`.
  pure subroutine refit(total, n, rule, grid, fits_better)
    real(dp), intent(in) :: total(5)  !! sums of `u**2`, `c`, `c**2`, `u`, `c*u`
    real(dp), intent(in) :: n         !! elements
    type(code_rule), intent(in) :: rule
    type(code_grid), intent(inout) :: grid
    logical, intent(out) :: fits_better
    real(dp) :: c, cc, u, cu, a, b, spread, zero, moved, above, below

    c = total(2)
    cc = total(3)
    u = total(4)
    cu = total(5)
    fits_better = .false.
    if (rule%scheme == SCHEME_SYMMETRIC) then
      if (cc <= 0) return
      above = cc + cu
      below = cc
    else
      spread = n*cc - c*c
      b = 0
      if (spread > 0) b = (n*cu - c*u)/spread
      a = (u - b*c)/n
      if (1 + b <= 0) return
      if (rule%scheme == SCHEME_MINMAX) then
        grid%base = real(real(grid%base, dp) + real(grid%step, dp)*a, wp)
        above = 1 + b
        below = 1
      else
        zero = real(grid%zero_point, dp) - a/(1 + b)
        zero = min(max(zero, 0.0_dp), real(rule%qmax, dp))
        zero = real(half_even(real(zero, wp)), dp)
        moved = real(grid%zero_point, dp) - zero
        grid%zero_point = int(zero, i32)
        grid%low = real(-grid%zero_point, wp)
        grid%high = real(rule%qmax - grid%zero_point, wp)
        above = ((cc + moved*c) + cu) + moved*u
        below = (cc + 2*moved*c) + n*moved*moved
        if (below <= 0) return
      end if
    end if
    grid%step = real(real(grid%step, dp)*(above/below), wp)
    grid%per_step = 1/grid%step
    fits_better = grid%step > 0
  end subroutine refit

  !> The clip that is best for a normal or a Laplace distribution (Banner et al. 2018).
  !>
  !> `clips` are those of a normal distribution in deviations at `bits` and `bits + 1`, those of a
  !> Laplace distribution in mean magnitudes at both, and the mean magnitude in deviations from
  !> which a distribution is taken to be normal.
  subroutine aciq_group(w, x, range, rule, clips, threads, sums, found)
    real(wp), intent(in), contiguous :: w(:)
    real(wp), intent(inout) :: x(BLOCK)
    type(group_range), intent(in) :: range
    type(code_rule), intent(in) :: rule
    real(dp), intent(in) :: clips(5)
    integer(i32), intent(in) :: threads
    real(dp), intent(inout), contiguous :: sums(:, :)
    type(code_grid), intent(out) :: found
    type(code_grid) :: none(0)
    real(dp) :: n, zeros, total(4), mean, beta, sigma, clip
    real(wp) :: middle, low, high
    logical :: centred, finer

    centred = rule%scheme == SCHEME_MINMAX .or. &
      (rule%scheme == SCHEME_AFFINE .and. range%low < 0 .and. range%high > 0)
    finer = rule%scheme == SCHEME_AFFINE .and. .not. centred
    n = real(size(w, kind=i64), dp)
    call sum_group(OF_MOMENTS, w, x, range, rule, none, 0.0_wp, threads, sums, total)
    zeros = 0
    if (rule%scheme /= SCHEME_MINMAX) zeros = n - total(1)  ! not counted: their code is exact
    n = n - zeros
    middle = 0
    if (centred) middle = real(total(2)/n, wp)
    call sum_group(OF_MOMENTS, w, x, range, rule, none, middle, threads, sums, total)
    mean = real(middle, dp)
    beta = (total(3) - zeros*abs(mean))/n
    sigma = sqrt(max(total(4) - zeros*(mean*mean), 0.0_dp)/n)
    if (beta > clips(5)*sigma) then
      clip = clips(merge(2, 1, finer))*sigma
    else
      clip = clips(merge(4, 3, finer))*beta
    end if
    low = real(mean - clip, wp)/range%unit
    high = real(mean + clip, wp)/range%unit
    found = grid_of(max(low, range%low), min(high, range%high), rule)
  end subroutine aciq_group

  !> The minimum, or zero point, whose errors are least in the norm of power 0.7, by half-quadratic
  !> steps (Badri & Shaji 2023), of neighbouring groups.
  !>
  !> The minimum moves by the mean of what shrinking takes off the errors; they are in steps, so
  !> that a multiple of the weights has the same codes.  A step waits for the sums of the one
  !> before: short groups take theirs by turns, so that a processor has some work to look ahead to.
  subroutine hqq_groups(w, group_size, rule, threads, sums, scale, zero_point, minimum, info)
    real(wp), intent(in), contiguous :: w(:)               !! weights of at most BUNDLE_COUNT groups
    integer(i64), intent(in) :: group_size
    type(code_rule), intent(in) :: rule
    integer(i32), intent(in) :: threads
    real(dp), intent(inout), contiguous :: sums(:, :)
    real(wp), intent(out), contiguous :: scale(:)          !! `(groups)`
    integer(i32), intent(out), contiguous :: zero_point(:) !! `(groups)`
    real(wp), intent(out), contiguous :: minimum(:)        !! `(groups)`
    integer(i32), intent(out) :: info
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
      call look_at(w(first:last), 0_i64, threads, state(g)%range, x(:, g), found)
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
    real(wp), intent(in), contiguous :: w(:)
    real(wp), intent(inout) :: x(BLOCK)
    type(code_rule), intent(in) :: rule
    real(wp), intent(in) :: factor             !! 1/beta
    integer(i32), intent(in) :: threads
    real(dp), intent(inout), contiguous :: sums(:, :)
    type(half_quadratic), intent(inout) :: state
    real(dp) :: total(2)

    call sum_group(OF_SHRUNK, w, x, state%range, rule, state%grid, factor, threads, sums, total)
    if (state%first < 0) state%first = total(1)
    if (total(1) < state%least) then
      state%least = total(1)
      state%best = state%grid(1)%base
    end if
    state%grid(1)%base = real(real(state%grid(1)%base, dp) + real(state%grid(1)%step, dp)* &
      (total(2)/real(size(w, kind=i64), dp)), wp)
  end subroutine make_step

  !> The minimum with the least norm; or its zero point, if that has a lesser norm than the first.
  subroutine end_steps(w, x, rule, threads, sums, state, zero_point, minimum)
    real(wp), intent(in), contiguous :: w(:)
    real(wp), intent(inout) :: x(BLOCK)
    type(code_rule), intent(in) :: rule
    integer(i32), intent(in) :: threads
    real(dp), intent(inout), contiguous :: sums(:, :)
    type(half_quadratic), intent(inout) :: state
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
      call sum_group(OF_SHRUNK, w, x, state%range, rule, state%grid, 1.0_wp, threads, sums, total)
      if (total(1) < state%first) zero_point = int(zero, i32)
    end if
  end subroutine end_steps

  !> The first of some clipped ranges with the least squares of errors.
  subroutine best_clip(w, x, range, rule, percent, threads, sums, best, grid)
    real(wp), intent(in), contiguous :: w(:)
    real(wp), intent(inout) :: x(BLOCK)
    type(group_range), intent(in) :: range
    type(code_rule), intent(in) :: rule
    integer(i32), intent(in), contiguous :: percent(:)  !! what each clips
    integer(i32), intent(in) :: threads
    real(dp), intent(inout), contiguous :: sums(:, :)
    integer(i32), intent(out) :: best       !! its place
    type(code_grid), intent(out) :: grid    !! that near 1
    type(code_grid) :: grids(MOST)
    real(dp) :: total(MOST), error, least
    real(wp) :: part, half
    integer(i32) :: k, n

    n = size(percent)
    grid = grid_of(range%low*range%unit, range%high*range%unit, rule)
    half = range%high*range%unit/2 - range%low*range%unit/2
    do k = 1, n
      part = real(percent(k), wp)/100
      grids(k) = grid
      grids(k)%step = (1 - part)*grid%step
      grids(k)%per_step = 1/grids(k)%step
      if (rule%scheme == SCHEME_MINMAX) grids(k)%base = grid%base + part*half
    end do
    call sum_group(OF_SQUARES, w, x, range, rule, grids(1:n), 0.0_wp, threads, sums, total(1:n))
    best = 1
    least = huge(least)
    do k = 1, n
      error = total(k)*real(grids(k)%step, dp)*real(grids(k)%step, dp)
      if (error < least) then
        least = error
        best = k
      end if
    end do
    grid = grids(best)
  end subroutine best_clip

  !> The plain grid instead of what was found, unless the latter has the lesser squares of errors,
  !> of codes and reals as they will be.
  subroutine keep_better(w, x, range, rule, plain, threads, sums, found)
    real(wp), intent(in), contiguous :: w(:)
    real(wp), intent(inout) :: x(BLOCK)
    type(group_range), intent(in) :: range
    type(code_rule), intent(in) :: rule
    type(code_grid), intent(in) :: plain
    integer(i32), intent(in) :: threads
    real(dp), intent(inout), contiguous :: sums(:, :)
    type(code_grid), intent(inout) :: found
    real(dp) :: total(2)

    if (.not. found%scale > 0) then
      found = plain
    else
      call sum_group(OF_EXACT, w, x, range, rule, [plain, found], 0.0_wp, threads, sums, total)
      if (.not. total(2) < total(1)) found = plain
    end if
  end subroutine keep_better

  !> The grid of a range of which `percent` are clipped: of both ends, of scheme minmax towards the
  !> middle, else towards 0.
  pure function clipped_grid(low, high, percent, rule) result(grid)
    real(wp), intent(in) :: low, high
    integer(i32), intent(in) :: percent
    type(code_rule), intent(in) :: rule
    type(code_grid) :: grid
    real(wp) :: part, half

    part = real(percent, wp)/100
    if (rule%scheme == SCHEME_MINMAX) then
      half = high/2 - low/2
      grid = grid_of(low + part*half, high - part*half, rule)
    else
      grid = grid_of((1 - part)*low, (1 - part)*high, rule)
    end if
  end function clipped_grid

  !> The grid that `quantize` has for a range.
  pure function grid_of(low, high, rule) result(grid)
    real(wp), intent(in) :: low, high
    type(code_rule), intent(in) :: rule
    type(code_grid) :: grid

    call find_step(low, high, max(-low, high), rule, grid%scale, grid%zero_point, grid%minimum)
    grid%step = grid%scale
    grid%per_step = 1/grid%step
    grid%base = grid%minimum
    grid%low = real(rule%qmin - grid%zero_point, wp)
    grid%high = real(rule%qmax - grid%zero_point, wp)
  end function grid_of

  !> Scale and minimum of a grid that was found near 1; a scale of 0 if that is too small.
  pure subroutine leave_unit(unit, rule, grid)
    real(wp), intent(in) :: unit
    type(code_rule), intent(in) :: rule
    type(code_grid), intent(inout) :: grid

    grid%scale = min(grid%step/unit, huge(unit))
    grid%minimum = 0
    if (rule%scheme == SCHEME_MINMAX) then
      grid%minimum = min(max(grid%base/unit, -huge(unit)), huge(unit))
    end if
  end subroutine leave_unit

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

  !> Sums over a group, of its blocks in order.
  subroutine sum_group(what, w, x, range, rule, grids, factor, threads, sums, total)
    integer(i32), intent(in) :: what         !! one of OF_...
    real(wp), intent(in), contiguous :: w(:)  !! the group
    real(wp), intent(inout) :: x(BLOCK)      !! the group near 1, if it is no longer than a block
    type(group_range), intent(in) :: range
    type(code_rule), intent(in) :: rule
    type(code_grid), intent(in) :: grids(:)
    real(wp), intent(in) :: factor           !! see `sum_block`
    integer(i32), intent(in) :: threads
    real(dp), intent(inout), contiguous :: sums(:, :)
    real(dp), intent(out), contiguous :: total(:)
    real(dp) :: part(MOST)
    integer(i64) :: k, n, blocks

    n = size(total, kind=i64)
    blocks = (size(w, kind=i64) + BLOCK - 1)/BLOCK
    if (blocks == 1) then
      call sum_block(what, w, x(1:padded(size(w, kind=i64))), range, rule, grids, factor, 0_i64, &
        total)
    else if (threads == 1) then
      total = 0
      do k = 1, blocks
        call sum_long(what, w, range, rule, grids, factor, k, part(1:n))
        total = total + part(1:n)
      end do
    else
      !$omp parallel do default(none) schedule(static) num_threads(threads) &
      !$omp shared(what, w, range, rule, grids, factor, blocks, sums, n)
      do k = 1, blocks
        call sum_long(what, w, range, rule, grids, factor, k, sums(1:n, k))
      end do
      total = 0
      do k = 1, blocks
        total = total + sums(1:n, k)
      end do
    end if
  end subroutine sum_group

  !> Sums over the `k`-th block of a long group.
  pure subroutine sum_long(what, w, range, rule, grids, factor, k, total)
    integer(i32), intent(in) :: what
    real(wp), intent(in), contiguous :: w(:)
    type(group_range), intent(in) :: range
    type(code_rule), intent(in) :: rule
    type(code_grid), intent(in) :: grids(:)
    real(wp), intent(in) :: factor
    integer(i64), intent(in) :: k
    real(dp), intent(out), contiguous :: total(:)
    real(wp) :: x(BLOCK)
    integer(i64) :: first, last

    first = (k - 1)*BLOCK + 1
    last = min(k*BLOCK, size(w, kind=i64))
    x(1:last - first + 1) = w(first:last)*range%unit
    call sum_block(what, w(first:last), x(1:padded(last - first + 1)), range, rule, grids, &
      factor, first - 1, total)
  end subroutine sum_long

  !> The length of whole runs that hold `n` elements.
  pure function padded(n) result(length)
    integer(i64), intent(in) :: n
    integer(i64) :: length

    length = (n + RUN - 1)/RUN*RUN
  end function padded

  !> Sums over a block.  Behind its elements x is filled with what adds nothing to a sum.
  pure subroutine sum_block(what, w, x, range, rule, grids, factor, skipped, total)
    integer(i32), intent(in) :: what                   !! one of OF_...
    real(wp), intent(in), contiguous :: w(:)           !! the block
    real(wp), intent(inout), contiguous :: x(:)        !! near 1, whole runs
    type(group_range), intent(in) :: range
    type(code_rule), intent(in) :: rule
    type(code_grid), intent(in) :: grids(:)
    real(wp), intent(in) :: factor                     !! 1/beta, or the middle of OF_MOMENTS
    integer(i64), intent(in) :: skipped                !! elements of the group before the block
    real(dp), intent(out), contiguous :: total(:)
    integer(i64) :: k, n

    n = size(w, kind=i64)
    select case (what)
    case (OF_SQUARES)
      do k = 1, size(grids, kind=i64)
        x(n + 1:) = grids(k)%base
        call sum_squares(x, grids(k), total(k))
      end do
    case (OF_FIT)
      x(n + 1:) = grids(1)%base
      call sum_fit(x, grids(1), total)
    case (OF_SHRUNK)
      x(n + 1:) = grids(1)%base
      call sum_shrunk(x, grids(1), factor, total)
    case (OF_MOMENTS)
      x(n + 1:) = factor
      call sum_moments(x, factor, total)
    case default
      do k = 1, size(grids, kind=i64)
        call sum_exact(w, range, rule, grids(k), skipped, total(k))
      end do
    end select
  end subroutine sum_block

  !> Sum of squared errors, in steps.
  pure subroutine sum_squares(x, grid, total)
    real(wp), intent(in), contiguous :: x(:)
    type(code_grid), intent(in) :: grid
    real(dp), intent(out) :: total
    real(dp) :: lanes(LANE_COUNT)
    real(wp) :: uu(LANE_COUNT)
    integer(i64) :: first, i

    lanes = 0
    do first = 1, size(x, kind=i64), RUN
      uu = 0
      do i = 0, RUN - 1, LANE_COUNT
        call add_square(x(first + i:first + i + LANE_COUNT - 1), grid, uu)
      end do
      call add_run(uu, lanes)
    end do
    total = lane_sum(lanes)
  end subroutine sum_squares

  !> Sums of `u**2`, `c`, `c**2`, `u` and `c*u`, where `x = base + step*(c + u)` with codes c.
  pure subroutine sum_fit(x, grid, total)
    real(wp), intent(in), contiguous :: x(:)
    type(code_grid), intent(in) :: grid
    real(dp), intent(out), contiguous :: total(:)
    real(dp) :: lanes_1(LANE_COUNT), lanes_2(LANE_COUNT), lanes_3(LANE_COUNT)
    real(dp) :: lanes_4(LANE_COUNT), lanes_5(LANE_COUNT)
    real(wp) :: uu(LANE_COUNT), c(LANE_COUNT), cc(LANE_COUNT), u(LANE_COUNT), cu(LANE_COUNT)
    integer(i64) :: first, i

    lanes_1 = 0
    lanes_2 = 0
    lanes_3 = 0
    lanes_4 = 0
    lanes_5 = 0
    do first = 1, size(x, kind=i64), RUN
      uu = 0
      c = 0
      cc = 0
      u = 0
      cu = 0
      do i = 0, RUN - 1, LANE_COUNT
        call add_fit(x(first + i:first + i + LANE_COUNT - 1), grid, uu, c, cc, u, cu)
      end do
      call add_run(uu, lanes_1)
      call add_run(c, lanes_2)
      call add_run(cc, lanes_3)
      call add_run(u, lanes_4)
      call add_run(cu, lanes_5)
    end do
    total(1) = lane_sum(lanes_1)
    total(2) = lane_sum(lanes_2)
    total(3) = lane_sum(lanes_3)
    total(4) = lane_sum(lanes_4)
    total(5) = lane_sum(lanes_5)
  end subroutine sum_fit

  !> Sums of `|u|**0.7` and of what shrinking takes off u, \( \pm\min(|u|, |u|^{-0.3}/\beta) \).
  pure subroutine sum_shrunk(x, grid, factor, total)
    real(wp), intent(in), contiguous :: x(:)
    type(code_grid), intent(in) :: grid
    real(wp), intent(in) :: factor                 !! 1/beta
    real(dp), intent(out), contiguous :: total(:)
    real(dp) :: lanes_1(LANE_COUNT), lanes_2(LANE_COUNT)
    real(wp) :: norm(LANE_COUNT), taken(LANE_COUNT)
    integer(i64) :: first, i

    lanes_1 = 0
    lanes_2 = 0
    do first = 1, size(x, kind=i64), RUN
      norm = 0
      taken = 0
      do i = 0, RUN - 1, LANE_COUNT
        call add_shrunk(x(first + i:first + i + LANE_COUNT - 1), grid, factor, norm, taken)
      end do
      call add_run(norm, lanes_1)
      call add_run(taken, lanes_2)
    end do
    total(1) = lane_sum(lanes_1)
    total(2) = lane_sum(lanes_2)
  end subroutine sum_shrunk

  !> How many are not 0, and the sums of `x - middle`, its magnitude and its square.
  pure subroutine sum_moments(x, middle, total)
    real(wp), intent(in), contiguous :: x(:)
    real(wp), intent(in) :: middle
    real(dp), intent(out), contiguous :: total(:)
    real(dp) :: lanes_1(LANE_COUNT), lanes_2(LANE_COUNT), lanes_3(LANE_COUNT), lanes_4(LANE_COUNT)
    real(wp) :: some(LANE_COUNT), d(LANE_COUNT), magnitude(LANE_COUNT), dd(LANE_COUNT)
    integer(i64) :: first, i

    lanes_1 = 0
    lanes_2 = 0
    lanes_3 = 0
    lanes_4 = 0
    do first = 1, size(x, kind=i64), RUN
      some = 0
      d = 0
      magnitude = 0
      dd = 0
      do i = 0, RUN - 1, LANE_COUNT
        call add_moments(x(first + i:first + i + LANE_COUNT - 1), middle, some, d, magnitude, dd)
      end do
      call add_run(some, lanes_1)
      call add_run(d, lanes_2)
      call add_run(magnitude, lanes_3)
      call add_run(dd, lanes_4)
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
  pure subroutine add_run(run_lanes, lanes)
    real(wp), intent(in) :: run_lanes(LANE_COUNT)
    real(dp), intent(inout) :: lanes(LANE_COUNT)
    integer(i64) :: lane

    !$omp simd
    do lane = 1, LANE_COUNT
      lanes(lane) = lanes(lane) + real(run_lanes(lane), dp)
    end do
  end subroutine add_run

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
  include 'fq_lanes.inc'
end module fq_calibrate_real32
