!> Levels that fit data, by Lloyd's algorithm.
module fq_codebook_fit_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_kinds, only: dp, i32, i64, wp => sp
  use fq_levels_real32, only: MOST_LEVELS
  use fq_precondition, only: CHECKED, require
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_work_size, only: SMALL_RANKING
  implicit none (type, external)
  private
  public :: fit_codebook

contains

  !> Lloyd's algorithm on each row: levels become the means of what is nearest to them, until
  !> nothing changes its level.
  !>
  !> Sums over a level's values are differences of sums from the start, in float64: a step costs the
  !> levels, not the values.  A level that nothing is nearest to stays.
  !>
  !> *Preconditions*: values of a row ascend; weights are at least 0; levels ascend.
  subroutine fit_codebook(values, weights, has_weights, most_steps, levels, threads, info)
    real(wp), intent(in), contiguous :: values(:, :)    !! values, `(count, rows)`
    real(wp), intent(in), contiguous :: weights(:, :)   !! of each value, the same shape
    logical, intent(in) :: has_weights                  !! else weights are not looked at
    integer(i64), intent(in) :: most_steps              !! steps at most
    real(wp), intent(inout), contiguous :: levels(:, :)  !! in: a start; out: `(levels, rows)`
    integer(i32), intent(in) :: threads                 !! threads to use, at least 1
    integer(i32), intent(out) :: info                   !! FQ_OK or FQ_NO_MEMORY
    real(dp), allocatable :: mass(:, :), moment(:, :)
    integer(i64) :: r
    integer(i32) :: team
    integer :: t, stat

    if (CHECKED) then
      call require(all(values(:size(values, 1) - 1, :) <= values(2:, :)), &
        'fit_codebook: values of a row ascend')
      call require(.not. has_weights .or. all(weights >= 0), 'fit_codebook: weights >= 0')
      call require(all(levels(:size(levels, 1) - 1, :) <= levels(2:, :)), &
        'fit_codebook: levels ascend')
    end if
    team = merge(threads, 1_i32, size(values, kind=i64) > SMALL_RANKING)
    allocate (mass(0:size(values, 1, kind=i64), team), stat=stat)
    if (stat == 0) allocate (moment(0:size(values, 1, kind=i64), team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    !$omp parallel do default(none) private(t) num_threads(team) if(team > 1) schedule(dynamic) &
    !$omp shared(values, weights, has_weights, most_steps, levels, mass, moment)
    do r = 1, size(values, 2, kind=i64)
      t = 1
      !$ t = omp_get_thread_num() + 1
      call add_up(values(:, r), weights(:, merge(r, 1_i64, has_weights)), has_weights, mass(:, t), &
        moment(:, t))
      call fit_row(values(:, r), mass(:, t), moment(:, t), most_steps, levels(:, r))
    end do
  end subroutine fit_codebook

  !> Sums of weights, and of weighted values, from the start.
  pure subroutine add_up(values, weights, has_weights, mass, moment)
    real(wp), intent(in), contiguous :: values(:), weights(:)
    logical, intent(in) :: has_weights
    real(dp), intent(out) :: mass(0:), moment(0:)
    real(dp) :: weight
    integer(i64) :: i

    mass(0) = 0
    moment(0) = 0
    do i = 1, size(values, kind=i64)
      weight = 1
      if (has_weights) weight = weights(i)
      mass(i) = mass(i - 1) + weight
      moment(i) = moment(i - 1) + weight*values(i)
    end do
  end subroutine add_up

  !> The same for a row whose sums from the start are known.
  pure subroutine fit_row(values, mass, moment, most_steps, levels)
    real(wp), intent(in), contiguous :: values(:)
    real(dp), intent(in) :: mass(0:), moment(0:)
    integer(i64), intent(in) :: most_steps
    real(wp), intent(inout), contiguous :: levels(:)
    integer(i64) :: ends(0:MOST_LEVELS), before(0:MOST_LEVELS), step
    integer :: l, count

    count = size(levels)
    before = -1
    do step = 1, most_steps
      ends(0) = 0
      do l = 1, count - 1
        ends(l) = count_up_to(values, middle(levels(l), levels(l + 1)))
      end do
      ends(count) = size(values, kind=i64)
      if (all(ends(0:count) == before(0:count))) exit
      do l = 1, count
        if (mass(ends(l)) > mass(ends(l - 1))) levels(l) = real((moment(ends(l)) &
          - moment(ends(l - 1)))/(mass(ends(l)) - mass(ends(l - 1))), wp)
      end do
      before(0:count) = ends(0:count)
    end do
  end subroutine fit_row

  !> How many ascending values are at most `bound`.
  pure function count_up_to(values, bound) result(n)
    real(wp), intent(in), contiguous :: values(:)
    real(wp), intent(in) :: bound
    integer(i64) :: n
    integer(i64) :: last, tried

    n = 0
    last = size(values, kind=i64)
    do while (n < last)
      tried = (n + last)/2 + 1
      if (values(tried) <= bound) then
        n = tried
      else
        last = tried - 1
      end if
    end do
  end function count_up_to

  include 'fq_middle.inc'
end module fq_codebook_fit_real32
