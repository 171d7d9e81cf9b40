!> The clip that is best for the distribution that a group seems to have.
module fq_aciq_real32
  use fq_code_grid_real32, only: code_grid, grid_of
  use fq_code_rule, only: code_rule, SCHEME_AFFINE, SCHEME_MINMAX
  use fq_group_range_real32, only: BLOCK, group_range
  use fq_group_sums_real32, only: MOST, OF_MOMENTS, sum_group
  use fq_kinds, only: dp, i32, i64, wp => sp
  implicit none (type, external)
  private
  public :: aciq_group

contains

  !> The clip that is best for a normal or a Laplace distribution (Banner et al. 2018).
  !>
  !> `clips` are those of a normal distribution in deviations at `bits` and `bits + 1`, those of a
  !> Laplace distribution in mean magnitudes at both, and the mean magnitude in deviations from
  !> which a distribution is taken to be normal.
  subroutine aciq_group(w, x, range, rule, clips, threads, sums, found)
    type(group_range), intent(in) :: range             !! range of the group
    real(wp), intent(in) :: w(range%count)             !! the group
    real(wp), intent(inout) :: x(BLOCK)                !! see `sum_group`
    type(code_rule), intent(in) :: rule                !! how reals become codes
    real(dp), intent(in) :: clips(5)                   !! see above
    integer(i32), intent(in) :: threads                !! threads to use, at least 1
    real(dp), intent(inout) :: sums(MOST, *)           !! see `sum_group`
    type(code_grid), intent(out) :: found              !! the grid
    type(code_grid) :: none(0)
    real(dp) :: n, zeros, total(4), mean, beta, sigma, clip
    real(wp) :: middle, low, high
    logical :: centred, finer

    centred = rule%scheme == SCHEME_MINMAX .or. &
      (rule%scheme == SCHEME_AFFINE .and. range%low < 0 .and. range%high > 0)
    finer = rule%scheme == SCHEME_AFFINE .and. .not. centred
    n = real(range%count, dp)
    call sum_group(OF_MOMENTS, w, x, range, rule, 0_i64, none, 0.0_wp, threads, sums, 4_i64, &
      total)
    zeros = 0
    if (rule%scheme /= SCHEME_MINMAX) zeros = n - total(1)  ! not counted: their code is exact
    n = n - zeros
    middle = 0
    if (centred) middle = real(total(2)/n, wp)
    call sum_group(OF_MOMENTS, w, x, range, rule, 0_i64, none, middle, threads, sums, 4_i64, &
      total)
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
end module fq_aciq_real32
