!> Calibrations that search for the least squares of errors: among clipped ranges, and by fitting.
module fq_least_squares_real32
  use fq_code_grid_real32, only: clipped_grid, code_grid, grid_of, leave_unit
  use fq_code_rule, only: code_rule, SCHEME_MINMAX, SCHEME_SYMMETRIC
  use fq_group_range_real32, only: BLOCK, group_range
  use fq_group_sums_real32, only: MOST, OF_EXACT, OF_FIT, OF_SQUARES, sum_group
  use fq_kinds, only: dp, i32, i64, wp => sp
  implicit none (type, external)
  private
  public :: als_group, keep_better, mse_group

  ! Percent that candidates of METHOD_MSE clip: those of GPTQ.  Those METHOD_ALS starts from.
  integer(i32), parameter :: CLIPPED(80) = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, &
    16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, &
    39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, &
    62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79]
  integer(i32), parameter :: STARTS(9) = [0, 5, 10, 15, 20, 25, 30, 40, 50]
  integer(i32), parameter :: FITS = 8              ! of METHOD_ALS

contains

  !> The range with the least sum of squared errors among those clipped by 0 ... 79 percent; of
  !> equals the first.
  subroutine mse_group(w, x, range, rule, threads, sums, found)
    type(group_range), intent(in) :: range             !! range of the group
    real(wp), intent(in) :: w(range%count)             !! the group
    real(wp), intent(inout) :: x(BLOCK)                !! see `sum_group`
    type(code_rule), intent(in) :: rule                !! how reals become codes
    integer(i32), intent(in) :: threads                !! threads to use, at least 1
    real(dp), intent(inout) :: sums(MOST, *)           !! see `sum_group`
    type(code_grid), intent(out) :: found              !! the grid
    type(code_grid) :: near_one
    integer(i32) :: best

    call best_clip(w, x, range, rule, CLIPPED, threads, sums, best, near_one)
    found = clipped_grid(range%low, range%high, CLIPPED(best), rule)
  end subroutine mse_group

  !> Codes, and the scale and minimum or zero point with the least squares for these codes, by turns
  !> until errors no longer become less.
  subroutine als_group(w, x, range, rule, threads, sums, found)
    type(group_range), intent(in) :: range             !! range of the group
    real(wp), intent(in) :: w(range%count)             !! the group
    real(wp), intent(inout) :: x(BLOCK)                !! see `sum_group`
    type(code_rule), intent(in) :: rule                !! how reals become codes
    integer(i32), intent(in) :: threads                !! threads to use, at least 1
    real(dp), intent(inout) :: sums(MOST, *)           !! see `sum_group`
    type(code_grid), intent(out) :: found              !! the grid
    type(code_grid) :: grid(1)
    real(dp) :: least, error, total(5)
    integer(i32) :: step, best
    logical :: fits_better

    call best_clip(w, x, range, rule, STARTS, threads, sums, best, grid(1))
    found = grid(1)
    least = huge(least)
    do step = 0, FITS
      call sum_group(OF_FIT, w, x, range, rule, 1_i64, grid, 0.0_wp, threads, sums, 5_i64, &
        total)
      error = total(1)*real(grid(1)%step, dp)*real(grid(1)%step, dp)
      if (error >= least) exit
      least = error
      found = grid(1)
      call refit(total, real(range%count, dp), rule, grid(1), fits_better)
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

  !> The first of some clipped ranges with the least squares of errors.
  subroutine best_clip(w, x, range, rule, percent, threads, sums, best, grid)
    type(group_range), intent(in) :: range
    real(wp), intent(in) :: w(range%count)
    real(wp), intent(inout) :: x(BLOCK)
    type(code_rule), intent(in) :: rule
    integer(i32), intent(in), contiguous :: percent(:)  !! what each clips
    integer(i32), intent(in) :: threads
    real(dp), intent(inout) :: sums(MOST, *)
    integer(i32), intent(out) :: best       !! its number
    type(code_grid), intent(out) :: grid    !! that near 1
    type(code_grid) :: grids(MOST)
    real(dp) :: total(MOST), error, least
    real(wp) :: part, reach
    integer(i64) :: n
    integer(i32) :: k

    n = size(percent, kind=i64)
    grid = grid_of(range%low*range%unit, range%high*range%unit, rule)
    reach = range%high*range%unit/2 - range%low*range%unit/2
    do k = 1, int(n, i32)
      part = real(percent(k), wp)/100
      grids(k) = grid
      grids(k)%step = (1 - part)*grid%step
      grids(k)%per_step = 1/grids(k)%step
      if (rule%scheme == SCHEME_MINMAX) grids(k)%base = grid%base + part*reach
    end do
    call sum_group(OF_SQUARES, w, x, range, rule, n, grids, 0.0_wp, threads, sums, n, total)
    best = 1
    least = huge(least)
    do k = 1, int(n, i32)
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
    type(group_range), intent(in) :: range             !! range of the group
    real(wp), intent(in) :: w(range%count)             !! the group
    real(wp), intent(inout) :: x(BLOCK)                !! see `sum_group`
    type(code_rule), intent(in) :: rule                !! how reals become codes
    type(code_grid), intent(in) :: plain               !! that of the range
    integer(i32), intent(in) :: threads                !! threads to use, at least 1
    real(dp), intent(inout) :: sums(MOST, *)           !! see `sum_group`
    type(code_grid), intent(inout) :: found            !! in: found; out: the better one
    real(dp) :: total(2)

    if (.not. found%scale > 0) then
      found = plain
    else
      call sum_group(OF_EXACT, w, x, range, rule, 2_i64, [plain, found], 0.0_wp, threads, sums, &
        2_i64, total)
      if (.not. total(2) < total(1)) found = plain
    end if
  end subroutine keep_better

  include 'fq_half_even.inc'
end module fq_least_squares_real32
