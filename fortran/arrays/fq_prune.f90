!> Magnitude and score pruning: single weights, N:M blocks, whole rows.
!>
!> Python: `pyfq/arrays/prune.py`.  Reference: `pyfq/reference/arrays/prune.py`.
module fq_prune_real32
  use fq_extents, only: groups_of
  use fq_kinds, only: dp, i8, i32, i64, wp => sp, ip => i32
  use fq_precondition, only: CHECKED, require
  use fq_status, only: FQ_NOT_FINITE, FQ_OK
  use fq_work_size, only: SMALL_WORK
  implicit none (type, external)
  private
  public :: prune_cut, prune_nm, row_norms

  integer(i64), parameter :: RUN = 4096  ! elements of a run: input, output and mask stay in L1
  integer(i64), parameter :: SPAN = 1024  ! entries compared side by side, in L1
  integer(i64), parameter :: LANE_COUNT = 16  ! partial sums of a run, see fq_lane_sum.inc

contains

  !> Zero the weights whose score is below their group's threshold, and the first `ties` equal to
  !> it.
  !>
  !> \( out_i = w_i \) if \( s_i > t \), or \( s_i = t \) and `ties` entries equal to \( t \) came
  !> before; else 0.  Groups lie along the columns; the last may be short.
  !>
  !> *Preconditions*: `group_size >= 1`; `groups == max(1, ceiling(cols/group_size))`.
  subroutine prune_cut(w, scores, magnitude, group_size, threshold, ties, out, mask, kept, &
    threads, info)
    real(wp), intent(in), contiguous :: w(:, :)         !! weights, `(cols, rows)`
    real(wp), intent(in), contiguous :: scores(:, :)    !! scores before `magnitude`, `(cols, rows)`
    logical, intent(in) :: magnitude                    !! rank by the absolute value of `scores`
    integer(i64), intent(in) :: group_size              !! columns of a group
    real(wp), intent(in), contiguous :: threshold(:, :)  !! smallest score kept, `(groups, rows)`
    integer(i64), intent(in), contiguous :: ties(:, :)  !! equal entries to prune, `(groups, rows)`
    real(wp), intent(out), contiguous :: out(:, :)      !! pruned weights, `(cols, rows)`
    integer(i8), intent(out), contiguous :: mask(:, :)  !! 1 where kept, else 0, `(cols, rows)`
    integer(i64), intent(out), contiguous :: kept(:, :)  !! entries kept, `(groups, rows)`
    integer(i32), intent(in) :: threads                 !! threads to use, at least 1
    integer(i32), intent(out) :: info                   !! status code
    integer(i64) :: groups, k, r, g, first, last, end, left

    if (CHECKED) then
      call require(size(threshold, 1, kind=i64) == groups_of(size(w, 1, kind=i64), group_size), &
        'prune_cut: groups == max(1, ceiling(cols/group_size))')
    end if
    groups = size(threshold, 1, kind=i64)
    info = FQ_OK
    !$omp parallel do default(none) private(r, g, first, last, end, left) reduction(max: info) &
    !$omp shared(w, scores, magnitude, group_size, threshold, ties, out, mask, kept, groups) &
    !$omp schedule(static) num_threads(threads) if(size(w, kind=i64) > SMALL_WORK)
    do k = 0, size(threshold, kind=i64) - 1
      r = k/groups + 1
      g = mod(k, groups) + 1
      end = min(g*group_size, size(w, 1, kind=i64))
      left = ties(g, r)
      kept(g, r) = 0
      do first = (g - 1)*group_size + 1, end, RUN
        last = min(first + RUN - 1, end)
        call cut_run(w(first:last, r), scores(first:last, r), magnitude, threshold(g, r), left, &
          out(first:last, r), mask(first:last, r), kept(g, r), info)
      end do
    end do
  end subroutine prune_cut

  !> `prune_cut` of one run; `left` counts down the equal entries still to prune.
  pure subroutine cut_run(w, scores, magnitude, threshold, left, out, mask, kept, info)
    real(wp), intent(in), contiguous :: w(:), scores(:)
    logical, intent(in) :: magnitude
    real(wp), intent(in) :: threshold
    integer(i64), intent(inout) :: left
    real(wp), intent(out), contiguous :: out(:)
    integer(i8), intent(out), contiguous :: mask(:)
    integer(i64), intent(inout) :: kept
    integer(i32), intent(inout) :: info
    real(wp) :: score
    integer(i64) :: i
    integer(i32) :: finite, keeps
    logical :: keep

    finite = 0
    keeps = 0
    do i = 1, size(w, kind=i64)
      score = merge(abs(scores(i)), scores(i), magnitude)
      keep = score >= threshold
      out(i) = merge(w(i), 0.0_wp, keep)
      mask(i) = merge(1_i8, 0_i8, keep)
      keeps = keeps + merge(1, 0, keep)
      finite = finite + merge(1, 0, are_finite(w(i), scores(i)))
    end do
    kept = kept + keeps
    if (finite /= size(w)) info = max(info, FQ_NOT_FINITE)

    do i = 1, size(w, kind=i64)
      if (left == 0) exit
      if (merge(abs(scores(i)), scores(i), magnitude) == threshold) then
        out(i) = 0
        mask(i) = 0
        kept = kept - 1
        left = left - 1
      end if
    end do
  end subroutine cut_run

  !> Keep the `n` highest scores of every `m` consecutive along the columns; zero the other weights.
  !>
  !> Among equal scores the first is pruned first.  A short last block keeps `n` of what it has.
  !>
  !> *Preconditions*: `1 <= n <= m <= 64`.
  subroutine prune_nm(w, scores, magnitude, n, m, out, mask, threads, info)
    real(wp), intent(in), contiguous :: w(:, :)         !! weights, `(cols, rows)`
    real(wp), intent(in), contiguous :: scores(:, :)    !! scores before `magnitude`, `(cols, rows)`
    logical, intent(in) :: magnitude                    !! rank by the absolute value of `scores`
    integer(i64), intent(in) :: n                       !! entries kept of a block, `1 ... m`
    integer(i64), intent(in) :: m                       !! entries of a block, `1 ... 64`
    real(wp), intent(out), contiguous :: out(:, :)      !! pruned weights, `(cols, rows)`
    integer(i8), intent(out), contiguous :: mask(:, :)  !! 1 where kept, else 0, `(cols, rows)`
    integer(i32), intent(in) :: threads                 !! threads to use, at least 1
    integer(i32), intent(out) :: info                   !! status code
    integer(i64) :: k, r, run_size, runs, first, last
    integer(ip) :: position(SPAN)

    if (CHECKED) call require(n >= 1 .and. n <= m .and. m <= 64, 'prune_nm: 1 <= n <= m <= 64')
    position = [(int(mod(k - 1, m), ip), k=1, SPAN)]    ! of an entry in its block
    run_size = SPAN/m*m
    runs = (size(w, 1, kind=i64) + run_size - 1)/run_size
    info = FQ_OK
    !$omp parallel do default(none) private(r, first, last) reduction(max: info) &
    !$omp shared(w, scores, magnitude, n, m, position, out, mask, run_size, runs) &
    !$omp schedule(static) num_threads(threads) if(size(w, kind=i64) > SMALL_WORK)
    do k = 0, runs*size(w, 2, kind=i64) - 1
      r = k/runs + 1
      first = mod(k, runs)*run_size + 1
      last = min(first + run_size - 1, size(w, 1, kind=i64))
      call nm_run(w(first:last, r), scores(first:last, r), magnitude, n, m, position, &
        out(first:last, r), mask(first:last, r), info)
    end do
  end subroutine prune_nm

  !> `prune_nm` of whole blocks in a row: an entry stays if fewer than `n` of its block beat it.
  !>
  !> All entries are compared at once with those `d` places on, of the same block or not; `position`
  !> tells which of these duels count.  Among equals the later one wins.
  pure subroutine nm_run(w, scores, magnitude, n, m, position, out, mask, info)
    real(wp), intent(in), contiguous :: w(:), scores(:)
    logical, intent(in) :: magnitude
    integer(i64), intent(in) :: n, m
    integer(ip), intent(in) :: position(SPAN)
    real(wp), intent(out), contiguous :: out(:)
    integer(i8), intent(out), contiguous :: mask(:)
    integer(i32), intent(inout) :: info
    real(wp) :: s(SPAN)
    integer(ip) :: beaten(SPAN), loses(SPAN), block
    integer(ip) :: d
    integer(i64) :: i, length
    integer(i32) :: finite

    length = size(w, kind=i64)
    block = int(m, ip)
    finite = 0
    do i = 1, length
      s(i) = merge(abs(scores(i)), scores(i), magnitude)
      finite = finite + merge(1, 0, are_finite(w(i), scores(i)))
    end do
    if (finite /= length) info = max(info, FQ_NOT_FINITE)
    beaten(1:length) = 0
    do d = 1, block - 1_ip
      do i = 1, length - d
        loses(i) = merge(1_ip, 0_ip, s(i + d) >= s(i))
        beaten(i) = beaten(i) + merge(loses(i), 0_ip, position(i) < block - d)
      end do
      do i = 1, length - d
        beaten(i + d) = beaten(i + d) + merge(1_ip - loses(i), 0_ip, position(i) < block - d)
      end do
    end do
    do i = 1, length
      out(i) = merge(w(i), 0.0_wp, beaten(i) < n)
      mask(i) = merge(1_i8, 0_i8, beaten(i) < n)
    end do
  end subroutine nm_run

  !> Norm of each row, in float64: \( \sum|x| \), \( \sqrt{\sum x^2} \) or \( \max|x| \).
  !>
  !> Sums run in 16 lanes (`fq_lane_sum.inc`): relative error at most `(cols/16 + 5) eps`.  A norm
  !> beyond the largest real is infinite.
  subroutine row_norms(w, order, norms, threads, info)
    real(wp), intent(in), contiguous :: w(:, :)    !! weights, `(cols, rows)`
    integer(i32), intent(in) :: order              !! 1, 2, or 0 for the maximum
    real(dp), intent(out), contiguous :: norms(:)  !! norm of each row, `(rows)`
    integer(i32), intent(in) :: threads            !! threads to use, at least 1
    integer(i32), intent(out) :: info              !! status code
    integer(i64) :: r

    info = FQ_OK
    !$omp parallel do default(none) shared(w, order, norms) reduction(max: info) &
    !$omp schedule(static) num_threads(threads) if(size(w, kind=i64) > SMALL_WORK)
    do r = 1, size(w, 2, kind=i64)
      select case (order)
      case (1)
        norms(r) = lane_sum(lanes_of(w(:, r), 1, 1.0_dp))
      case (2)
        norms(r) = euclidean(w(:, r))
      case default
        norms(r) = maxval(lanes_of(w(:, r), 0, 1.0_dp))
      end select
      if (count_finite(w(:, r)) /= size(w, 1, kind=i64)) info = max(info, FQ_NOT_FINITE)
    end do
  end subroutine row_norms

  !> Euclidean norm.  Squares of float32 stay in range in float64; float64 is first brought near 1
  !> by a power of two.
  pure function euclidean(x) result(norm)
    real(wp), intent(in), contiguous :: x(:)
    real(dp) :: norm, largest, unit

    unit = 1
    if (wp == dp) then
      largest = maxval(lanes_of(x, 0, 1.0_dp))
      if (largest > 0 .and. largest <= huge(largest)) then
        unit = scale(1.0_dp, min(-exponent(largest), maxexponent(largest) - 1))
      end if
    end if
    norm = sqrt(lane_sum(lanes_of(x, 2, unit)))/unit
  end function euclidean

  !> Partial sums of a row times `unit`: of magnitudes (order 1), of squares (2), or their maxima
  !> (0).
  pure function lanes_of(x, order, unit) result(lanes)
    real(wp), intent(in), contiguous :: x(:)
    integer(i32), intent(in) :: order
    real(dp), intent(in) :: unit
    real(dp) :: lanes(LANE_COUNT)
    real(wp) :: rest(LANE_COUNT)
    integer(i64) :: i, whole

    lanes = 0
    whole = size(x, kind=i64)/LANE_COUNT*LANE_COUNT
    do i = 1, whole, LANE_COUNT
      call add_powers(x(i:i + LANE_COUNT - 1), order, unit, lanes)
    end do
    rest = 0
    rest(1:size(x, kind=i64) - whole) = x(whole + 1:)
    call add_powers(rest, order, unit, lanes)
  end function lanes_of

  !> Add 16 neighbouring entries, one to each lane.
  pure subroutine add_powers(x, order, unit, lanes)
    real(wp), intent(in) :: x(LANE_COUNT)
    integer(i32), intent(in) :: order
    real(dp), intent(in) :: unit
    real(dp), intent(inout) :: lanes(LANE_COUNT)

    select case (order)
    case (1)
      lanes = lanes + abs(real(x, dp)*unit)
    case (2)
      lanes = lanes + (real(x, dp)*unit)**2
    case default
      lanes = max(lanes, abs(real(x, dp)*unit))
    end select
  end subroutine add_powers

  !> Whether both are finite.  Each is compared: `max` of NaN and a number may be the number.
  pure elemental function are_finite(x, y) result(finite)
    real(wp), intent(in) :: x, y
    logical :: finite

    finite = abs(x) <= huge(x) .and. abs(y) <= huge(y)
  end function are_finite

  include 'fq_finite.inc'
  include 'fq_lane_sum.inc'
end module fq_prune_real32
