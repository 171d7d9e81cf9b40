!> Scales, zero points and minima that lose less than those of the range.
!>
!> Python: `pyfq/arrays/calibrate.py`.  Reference: `pyfq/reference/arrays/calibrate.py`.
module fq_calibrate_real32
  use fq_aciq_real32, only: aciq_group
  use fq_code_grid_real32, only: code_grid, grid_of
  use fq_code_rule, only: code_rule
  use fq_extents, only: pieces
  use fq_group_range_real32, only: BLOCK, find_range, group_range
  use fq_group_sums_real32, only: MOST
  use fq_hqq_real32, only: BUNDLE_COUNT, hqq_groups
  use fq_kinds, only: dp, i32, i64, wp => sp
  use fq_least_squares_real32, only: als_group, keep_better, mse_group
  use fq_precondition, only: CHECKED, require
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_work_size, only: SMALL_RANKING
  implicit none (type, external)
  private
  public :: calibrate

  ! Methods; mirrored in `pyfq/arrays/calibrate.py`.
  integer(i32), parameter, public :: METHOD_MSE = 1, METHOD_ALS = 2, METHOD_ACIQ = 4, METHOD_HQQ = 5

  integer(i64), parameter :: FEW_GROUPS = 8  ! of a thread; fewer, if long, are shared
  integer(i64), parameter :: BUNDLED = 512   ! weights of a group of METHOD_HQQ that shares turns

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

    if (CHECKED) then
      call require(size(scale, 1, kind=i64) == pieces(size(w, 1, kind=i64), group_size), &
        'calibrate: groups == ceiling(cols/group_size)')
    end if
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

    call find_range(w, before, threads, range, x, info)
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
end module fq_calibrate_real32
