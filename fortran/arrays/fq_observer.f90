!> Histograms and ranges of what passes.
!>
!> Python: `pyfq/arrays/observer.py`.  Reference: `pyfq/reference/arrays/observer.py`.
module fq_observer_real32
  use fq_kinds, only: ip => i32, i32, i64, wp => sp
  use fq_precondition, only: CHECKED, require
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_work_size, only: SMALL_RANKING, SMALL_WORK
  implicit none (type, external)
  private
  public :: count_bins, find_ranges

  integer(i64), parameter :: RUN = 1024   ! values whose entries are held at a time, in L1
  integer(i64), parameter :: STRIP = 64   ! columns of a task where columns are channels
  integer(i64), parameter :: LANES = 4    ! tables that neighbours are counted in by turns
  integer(i64), parameter :: MOST_COUNTED = 2_i64**30  ! values that a table of 32-bit counts is for

contains

  !> Least and largest value of each channel: each row, or each column.
  !>
  !> *Preconditions*: `x` is not empty.
  subroutine find_ranges(x, by_column, low, high, threads, info)
    real(wp), intent(in), contiguous :: x(:, :)  !! values, `(cols, rows)`
    logical, intent(in) :: by_column             !! columns are channels, else rows
    real(wp), intent(out), contiguous :: low(:)  !! least values, `(channels)`
    real(wp), intent(out), contiguous :: high(:)  !! largest values, `(channels)`
    integer(i32), intent(in) :: threads          !! threads to use, at least 1
    integer(i32), intent(out) :: info            !! status code
    integer(ip) :: least, most
    integer(i64) :: c, first, last

    if (CHECKED) call require(size(x) > 0, 'find_ranges: x is not empty')
    if (by_column) then
      !$omp parallel do default(none) shared(x, low, high) private(last) schedule(static) &
      !$omp num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
      do first = 1, size(low, kind=i64), STRIP
        last = min(first + STRIP - 1, size(low, kind=i64))
        call find_across(x, first, low(first:last), high(first:last))
      end do
    else if (size(low, kind=i64) == 1) then
      least = huge(least)
      most = -huge(most)
      !$omp parallel do default(none) shared(x) private(last) reduction(min: least) &
      !$omp reduction(max: most) schedule(static) num_threads(threads) &
      !$omp if(size(x, kind=i64) > SMALL_WORK)
      do first = 1, size(x, 1, kind=i64), RUN
        last = min(first + RUN - 1, size(x, 1, kind=i64))
        call extend(x(first:last, 1), least, most)
      end do
      low(1) = from_key(least)
      high(1) = from_key(most)
    else
      !$omp parallel do default(none) shared(x, low, high) private(least, most) schedule(static) &
      !$omp num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
      do c = 1, size(low, kind=i64)
        least = huge(least)
        most = -huge(most)
        call extend(x(:, c), least, most)
        low(c) = from_key(least)
        high(c) = from_key(most)
      end do
    end if
    info = merge(FQ_OK, FQ_NOT_FINITE, all(low >= -huge(low)) .and. all(high <= huge(high)))
  end subroutine find_ranges

  !> Extend a range of order keys by that of a run; a NaN has a key beyond those of all reals.
  pure subroutine extend(x, least, most)
    real(wp), intent(in), contiguous :: x(:)
    integer(ip), intent(inout) :: least, most
    integer(ip) :: key
    integer(i64) :: i

    do i = 1, size(x, kind=i64)
      key = order_key(x(i), .false.)
      least = min(least, key)
      most = max(most, key)
    end do
  end subroutine extend

  !> `find_ranges` of a strip of columns that starts with column `first`.
  pure subroutine find_across(x, first, low, high)
    real(wp), intent(in), contiguous :: x(:, :)
    integer(i64), intent(in) :: first
    real(wp), intent(out), contiguous :: low(:), high(:)
    integer(ip) :: least(STRIP), most(STRIP), key
    integer(i64) :: i, r

    least = huge(least)
    most = -huge(most)
    do r = 1, size(x, 2, kind=i64)
      do i = 1, size(low, kind=i64)
        key = order_key(x(first + i - 1, r), .false.)
        least(i) = min(least(i), key)
        most(i) = max(most(i), key)
      end do
    end do
    do i = 1, size(low, kind=i64)
      low(i) = from_key(least(i))
      high(i) = from_key(most(i))
    end do
  end subroutine find_across

  !> Add to `counts` how many values of each channel lie in each bin, if all lie in bins; and the
  !> range of each channel, in any case.
  !>
  !> A value \( x \neq 0 \) is in the entry \( \mathrm{sign}(x)\,(\lfloor |x|/width \rfloor + 1) \)
  !> from the middle entry, which counts zeros.
  !>
  !> *Preconditions*: `x` is not empty; `factor` is the reciprocal of a width, a power of two.
  subroutine count_bins(x, by_column, factor, counts, low, high, threads, info)
    real(wp), intent(in), contiguous :: x(:, :)              !! values, `(cols, rows)`
    logical, intent(in) :: by_column                         !! columns are channels, else rows
    real(wp), intent(in), contiguous :: factor(:)            !! bins of a unit, `(channels)`
    integer(i64), intent(inout), contiguous :: counts(:, :)  !! of bins, `(2*bins + 1, channels)`
    real(wp), intent(out), contiguous :: low(:)              !! least values, `(channels)`
    real(wp), intent(out), contiguous :: high(:)             !! largest values, `(channels)`
    integer(i32), intent(in) :: threads                      !! threads to use, at least 1
    integer(i32), intent(out) :: info                        !! status code
    integer(i64) :: c, last, bins

    if (CHECKED) then
      call require(size(x) > 0, 'count_bins: x is not empty')
      call require(all(fraction(factor) == 0.5_wp), 'count_bins: factor is a power of two')
    end if
    bins = size(counts, 1, kind=i64)/2
    if (size(factor) == 1 .and. .not. by_column .and. size(x, kind=i64) > SMALL_RANKING) then
      call count_tensor(x(:, 1), factor(1), bins, counts(:, 1), low(1), high(1), threads, info)
      return
    end if
    call find_ranges(x, by_column, low, high, threads, info)
    if (info /= FQ_OK) return
    if (.not. all(lie_in_bins(low, high, factor, bins))) return
    if (by_column) then
      !$omp parallel do default(none) shared(x, factor, bins, counts) private(last) &
      !$omp schedule(static) num_threads(threads) if(size(x, kind=i64) > SMALL_RANKING)
      do c = 1, size(factor, kind=i64), STRIP
        last = min(c + STRIP - 1, size(factor, kind=i64))
        call count_across(x, c, factor(c:last), bins, counts(:, c:last))
      end do
    else
      !$omp parallel do default(none) shared(x, factor, bins, counts) schedule(static) &
      !$omp num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
      do c = 1, size(factor, kind=i64)
        call count_row(x(:, c), factor(c), bins, counts(:, c))
      end do
    end if
  end subroutine count_bins

  !> `count_bins` of one channel as long as a tensor, in one pass: each share is counted in tables
  !> of its own, which are added if all values were in bins.
  subroutine count_tensor(x, factor, bins, counts, low, high, threads, info)
    real(wp), intent(in), contiguous :: x(:)
    real(wp), intent(in) :: factor
    integer(i64), intent(in) :: bins
    integer(i64), intent(inout), contiguous :: counts(:)
    real(wp), intent(out) :: low, high
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    integer(i32), allocatable :: partial(:, :, :)
    integer(ip) :: least, most
    integer(i64) :: n, t, shares, lane
    integer(i32) :: stat

    n = size(x, kind=i64)
    shares = max(min(int(threads, i64), n/SMALL_WORK + 1), n/MOST_COUNTED + 1)
    info = FQ_NO_MEMORY
    allocate (partial(2*bins + 1, LANES, shares), stat=stat)
    if (stat /= 0) return
    least = huge(least)
    most = -huge(most)
    !$omp parallel do default(none) shared(x, factor, bins, partial, n, shares) &
    !$omp reduction(min: least) reduction(max: most) schedule(static, 1) num_threads(threads) &
    !$omp if(shares > 1)
    do t = 1, shares
      partial(:, :, t) = 0
      call count_share(x(n*(t - 1)/shares + 1:n*t/shares), factor, bins, partial(:, :, t), &
        least, most)
    end do
    low = from_key(least)
    high = from_key(most)
    info = merge(FQ_OK, FQ_NOT_FINITE, low >= -huge(low) .and. high <= huge(high))
    if (info /= FQ_OK .or. .not. lie_in_bins(low, high, factor, bins)) return
    do t = 1, shares
      do lane = 1, LANES
        counts = counts + partial(:, lane, t)
      end do
    end do
  end subroutine count_tensor

  !> Whether all values of a range have a bin; false if an end is NaN, which has no bin.
  pure elemental function lie_in_bins(low, high, factor, bins) result(fits)
    real(wp), intent(in) :: low, high, factor
    integer(i64), intent(in) :: bins
    logical :: fits

    fits = -low*factor < real(bins, wp) .and. high*factor < real(bins, wp)
  end function lie_in_bins

  !> Count a share of a tensor while its values are in bins, and extend the range by it.
  pure subroutine count_share(x, factor, bins, partial, least, most)
    real(wp), intent(in), contiguous :: x(:)
    real(wp), intent(in) :: factor
    integer(i64), intent(in) :: bins
    integer(i32), intent(inout) :: partial(2*bins + 1, LANES)
    integer(ip), intent(inout) :: least, most
    integer(i32) :: at(RUN)
    integer(i64) :: first, i, n

    do first = 1, size(x, kind=i64), RUN
      n = min(RUN, size(x, kind=i64) - first + 1)
      call extend(x(first:first + n - 1), least, most)
      if (.not. lie_in_bins(from_key(least), from_key(most), factor, bins)) cycle
      at(1:n) = entry_of(x(first:first + n - 1), factor, bins)
      ! Adding twice running to one entry would wait for its own store.
      do i = 1, n - LANES + 1, LANES
        partial(at(i), 1) = partial(at(i), 1) + 1
        partial(at(i + 1), 2) = partial(at(i + 1), 2) + 1
        partial(at(i + 2), 3) = partial(at(i + 2), 3) + 1
        partial(at(i + 3), 4) = partial(at(i + 3), 4) + 1
      end do
      do i = n/LANES*LANES + 1, n
        partial(at(i), 1) = partial(at(i), 1) + 1
      end do
    end do
  end subroutine count_share

  !> Add to `counts` the values of a row, all of which lie in bins.
  pure subroutine count_row(x, factor, bins, counts)
    real(wp), intent(in), contiguous :: x(:)
    real(wp), intent(in) :: factor
    integer(i64), intent(in) :: bins
    integer(i64), intent(inout), contiguous :: counts(:)
    integer(i32) :: at(RUN)
    integer(i64) :: first, i, n

    do first = 1, size(x, kind=i64), RUN
      n = min(RUN, size(x, kind=i64) - first + 1)
      at(1:n) = entry_of(x(first:first + n - 1), factor, bins)
      do i = 1, n
        counts(at(i)) = counts(at(i)) + 1
      end do
    end do
  end subroutine count_row

  !> `count_row` for each of a strip of columns that starts with column `first`.
  pure subroutine count_across(x, first, factor, bins, counts)
    real(wp), intent(in), contiguous :: x(:, :)
    integer(i64), intent(in) :: first
    real(wp), intent(in), contiguous :: factor(:)
    integer(i64), intent(in) :: bins
    integer(i64), intent(inout), contiguous :: counts(:, :)
    integer(i32) :: at(STRIP)
    integer(i64) :: i, n, r

    n = size(factor, kind=i64)
    do r = 1, size(x, 2, kind=i64)
      at(1:n) = entry_of(x(first:first + n - 1, r), factor, bins)
      do i = 1, n
        counts(at(i), i) = counts(at(i), i) + 1
      end do
    end do
  end subroutine count_across

  !> Entry of the counts that a value in a bin belongs to.
  pure elemental function entry_of(x, factor, bins) result(at)
    real(wp), intent(in) :: x, factor
    integer(i64), intent(in) :: bins
    integer(i32) :: at, distance

    distance = int(abs(x)*factor, i32) + 1
    distance = merge(-distance, distance, x < 0)
    at = int(bins, i32) + 1 + merge(0, distance, x == 0)
  end function entry_of

  include 'fq_order.inc'
end module fq_observer_real32
