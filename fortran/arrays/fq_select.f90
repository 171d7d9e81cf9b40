!> Exact order statistics by radix selection on the bits, without sorting or copying.
!>
!> Python: `pyfq/arrays/select.py`.  Reference: `pyfq/reference/arrays/select.py`.
module fq_select_real32
  use fq_arguments, only: are_ranks
  use fq_extents, only: groups_of
  use fq_kinds, only: ip => i32, i32, i64, wp => sp
  use fq_precondition, only: CHECKED, require
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_work_size, only: SMALL_RANKING, SMALL_WORK
  implicit none (type, external)
  private
  public :: count_digits, count_equal, next_above, select_groups

  integer(i64), parameter :: RUN = 1024            ! scores whose keys are held at a time, in L1
  integer(i32), parameter :: DIGIT = 11            ! bits of a digit of `select_long`

contains

  !> Add to `counts` how often each digit occurs among the scores whose higher bits are `prefix`.
  !>
  !> A score is `|x|` if `magnitude`, else `x`; its digit is bits `shift ... shift + width - 1` of
  !> its order key read as an unsigned integer.  Calls for several arrays add up: that is how one
  !> ranking runs over many tensors.
  !>
  !> *Preconditions*: `size(counts) == 2**width`; `prefix` is 0 where `shift + width` covers all
  !> bits.
  subroutine count_digits(x, magnitude, prefix, shift, width, counts, threads, info)
    real(wp), intent(in), contiguous :: x(:)              !! scores before `magnitude`, `(n)`
    logical, intent(in) :: magnitude                      !! rank by absolute value
    integer(i64), intent(in) :: prefix                    !! the bits already decided
    integer(i32), intent(in) :: shift                     !! lowest bit of the digit
    integer(i32), intent(in) :: width                     !! bits of the digit
    integer(i64), intent(inout), contiguous :: counts(:)  !! occurrences of each digit, `(2**width)`
    integer(i32), intent(in) :: threads                   !! threads to use, at least 1
    integer(i32), intent(out) :: info                     !! status code
    integer(i64), allocatable :: partial(:, :, :)
    integer(i64) :: n, first, last, buckets
    integer(i32) :: t, lane, team, stat

    if (CHECKED) then
      call require(size(counts, kind=i64) == 2_i64**width, 'count_digits: size(counts) == 2**width')
      call require(shift + width < storage_size(x) .or. prefix == 0, &
        'count_digits: prefix is 0 where shift + width covers all bits')
    end if
    n = size(x, kind=i64)
    buckets = size(counts, kind=i64)
    info = FQ_OK
    if (n <= SMALL_WORK) then
      call count_run(x, magnitude, prefix, shift, width, buckets, 1, counts)
      return
    end if
    team = int(min(int(threads, i64), n/SMALL_WORK + 1), i32)    ! each needs tables of its own
    allocate (partial(buckets, 2, team), stat=stat)
    if (stat /= 0) then
      info = FQ_NO_MEMORY
      return
    end if
    !$omp parallel do default(none) private(first, last) &
    !$omp shared(x, magnitude, prefix, shift, width, buckets, partial, team, n) &
    !$omp schedule(static, 1) num_threads(team)
    do t = 1, team
      first = n*(t - 1)/team + 1
      last = n*t/team
      partial(:, :, t) = 0
      call count_run(x(first:last), magnitude, prefix, shift, width, buckets, 2, partial(:, :, t))
    end do
    do t = 1, team
      do lane = 1, 2
        counts = counts + partial(:, lane, t)
      end do
    end do
  end subroutine count_digits

  !> `count_digits` of one share of the scores, in one table or in several that add up.
  pure subroutine count_run(x, magnitude, prefix, shift, width, buckets, lanes, partial)
    real(wp), intent(in), contiguous :: x(:)
    logical, intent(in) :: magnitude
    integer(i64), intent(in) :: prefix
    integer(i32), intent(in) :: shift, width, lanes
    integer(i64), intent(in) :: buckets
    integer(i64), intent(inout) :: partial(buckets, lanes)
    integer(i64) :: first, last

    do first = 1, size(x, kind=i64), RUN
      last = min(first + RUN - 1, size(x, kind=i64))
      if (shift + width == bit_size(0_ip)) then
        call count_all(x(first:last), magnitude, shift, partial)
      else
        call count_matching(x(first:last), magnitude, int(prefix, ip), shift, width, partial)
      end if
    end do
  end subroutine count_run

  !> Count the highest digit of every score of a run.  Neighbours count in different tables: adding
  !> twice running to one entry would wait for its own store.
  pure subroutine count_all(x, magnitude, shift, partial)
    real(wp), intent(in), contiguous :: x(:)
    logical, intent(in) :: magnitude
    integer(i32), intent(in) :: shift
    integer(i64), intent(inout), contiguous :: partial(:, :)
    integer(ip) :: digit(RUN)
    integer(i64) :: i, last

    last = size(partial, 2, kind=i64)
    do i = 1, size(x, kind=i64)
      digit(i) = shiftr(unsigned_key(x(i), magnitude), shift) + 1_ip
    end do
    do i = 1, size(x, kind=i64) - 1, 2
      partial(digit(i), 1) = partial(digit(i), 1) + 1
      partial(digit(i + 1), last) = partial(digit(i + 1), last) + 1
    end do
    if (mod(size(x), 2) == 1) partial(digit(size(x)), 1) = partial(digit(size(x)), 1) + 1
  end subroutine count_all

  !> Count the digit of the scores of a run that have the prefix.  They are few: groups of scores
  !> are first searched side by side, and most hold none.
  pure subroutine count_matching(x, magnitude, prefix, shift, width, partial)
    real(wp), intent(in), contiguous :: x(:)
    logical, intent(in) :: magnitude
    integer(ip), intent(in) :: prefix
    integer(i32), intent(in) :: shift, width
    integer(i64), intent(inout), contiguous :: partial(:, :)
    integer(ip) :: key(RUN), matches, digit, mask
    integer(i64) :: i, first, last

    mask = shiftl(1_ip, width) - 1_ip
    do i = 1, size(x, kind=i64)
      key(i) = ieor(shiftr(unsigned_key(x(i), magnitude), shift), shiftl(prefix, width))
    end do
    do first = 1, size(x, kind=i64), 32  ! a key now is its digit if the prefix matches, else larger
      last = min(first + 31, size(x, kind=i64))
      matches = 0
      do i = first, last
        matches = matches + merge(1_ip, 0_ip, iand(key(i), not(mask)) == 0)
      end do
      if (matches == 0) cycle
      do i = first, last
        if (iand(key(i), not(mask)) == 0) then
          digit = key(i) + 1_ip
          partial(digit, 1) = partial(digit, 1) + 1
        end if
      end do
    end do
  end subroutine count_matching

  !> The order key with its sign bit flipped: as an unsigned integer it sorts as the score does.
  pure elemental function unsigned_key(x, magnitude) result(key)
    real(wp), intent(in) :: x
    logical, intent(in) :: magnitude
    integer(ip) :: key

    key = ieor(order_key(x, magnitude), ibset(0_ip, bit_size(0_ip) - 1))
  end function unsigned_key

  !> How many scores of each part of `part_size` equal `value`; the last part may be short.
  subroutine count_equal(x, magnitude, value, part_size, counts, threads)
    real(wp), intent(in), contiguous :: x(:)            !! scores before `magnitude`, `(n)`
    logical, intent(in) :: magnitude                    !! rank by absolute value
    real(wp), intent(in) :: value                       !! the score looked for
    integer(i64), intent(in) :: part_size               !! scores of a part, at most 2**30
    integer(i64), intent(out), contiguous :: counts(:)  !! equal scores of each part, `(parts)`
    integer(i32), intent(in) :: threads                 !! threads to use, at least 1
    integer(i64) :: p, first, last

    !$omp parallel do default(none) shared(x, magnitude, value, part_size, counts) &
    !$omp private(first, last) &
    !$omp schedule(static) num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
    do p = 1, size(counts, kind=i64)
      first = (p - 1)*part_size + 1
      last = min(p*part_size, size(x, kind=i64))
      counts(p) = equal_in(x(first:last), magnitude, value)
    end do
  end subroutine count_equal

  !> How many scores of a run equal `value`.
  pure function equal_in(x, magnitude, value) result(equal)
    real(wp), intent(in), contiguous :: x(:)
    logical, intent(in) :: magnitude
    real(wp), intent(in) :: value
    integer(i32) :: equal
    integer(i64) :: i

    equal = 0
    do i = 1, size(x, kind=i64)
      equal = equal + merge(1, 0, merge(abs(x(i)), x(i), magnitude) == value)
    end do
  end function equal_in

  !> Lower `above` to the smallest score greater than `value`, if there is one below `above`.
  subroutine next_above(x, magnitude, value, above, threads)
    real(wp), intent(in), contiguous :: x(:)  !! scores before `magnitude`, `(n)`
    logical, intent(in) :: magnitude          !! rank by absolute value
    real(wp), intent(in) :: value             !! the score to exceed
    real(wp), intent(inout) :: above          !! in: an upper bound; out: the score found
    integer(i32), intent(in) :: threads       !! threads to use, at least 1
    integer(ip) :: at, least
    integer(i64) :: first, last

    at = order_key(value, .false.)
    least = order_key(above, .false.)
    !$omp parallel do default(none) shared(x, magnitude, at) private(last) reduction(min: least) &
    !$omp schedule(static) num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
    do first = 1, size(x, kind=i64), RUN
      last = min(first + RUN - 1, size(x, kind=i64))
      least = min(least, least_above(x(first:last), magnitude, at))
    end do
    above = from_key(least)
  end subroutine next_above

  !> The smallest key of a run greater than `at`.
  pure function least_above(x, magnitude, at) result(least)
    real(wp), intent(in), contiguous :: x(:)
    logical, intent(in) :: magnitude
    integer(ip), intent(in) :: at
    integer(ip) :: least, key(RUN)
    integer(i64) :: first, i, n

    least = huge(least)
    do first = 1, size(x, kind=i64), RUN
      n = min(RUN, size(x, kind=i64) - first + 1)
      do i = 1, n
        key(i) = order_key(x(first + i - 1), magnitude)
      end do
      do i = 1, n
        key(i) = merge(key(i), huge(least), key(i) > at)
      end do
      least = min(least, minval(key(1:n)))
    end do
  end function least_above

  !> For each group of each row the score of a given rank, the next one, and how many are smaller.
  !>
  !> Groups lie along the columns; the last may be short.
  !>
  !> *Preconditions*: `group_size >= 1`; `groups == max(1, ceiling(cols/group_size))`; every rank is
  !> at least 0 and less than the entries of its group.
  subroutine select_groups(x, magnitude, group_size, kth, lower, upper, below, threads, info)
    real(wp), intent(in), contiguous :: x(:, :)         !! scores before `magnitude`, `(cols, rows)`
    logical, intent(in) :: magnitude                    !! rank by absolute value
    integer(i64), intent(in) :: group_size              !! columns of a group
    integer(i64), intent(in), contiguous :: kth(:)      !! rank wanted, from 0, `(groups)`
    real(wp), intent(out), contiguous :: lower(:, :)    !! score of that rank, `(groups, rows)`
    real(wp), intent(out), contiguous :: upper(:, :)    !! score of the next rank, `(groups, rows)`
    integer(i64), intent(out), contiguous :: below(:, :)  !! scores below `lower`, `(groups, rows)`
    integer(i32), intent(in) :: threads                 !! threads to use, at least 1
    integer(i32), intent(out) :: info                   !! status code
    integer(i64) :: k, r, g, first, last

    if (CHECKED) then
      call require(size(kth, kind=i64) == groups_of(size(x, 1, kind=i64), group_size), &
        'select_groups: groups == max(1, ceiling(cols/group_size))')
      call require(are_ranks(kth, size(x, 1, kind=i64), group_size), &
        'select_groups: every rank is less than the entries of its group')
    end if
    info = FQ_OK
    !$omp parallel do default(none) private(r, g, first, last) reduction(max: info) &
    !$omp shared(x, magnitude, group_size, kth, lower, upper, below) &
    !$omp schedule(static) num_threads(threads) if(size(x, kind=i64) > SMALL_RANKING)
    do k = 0, size(lower, kind=i64) - 1
      r = k/size(kth, kind=i64) + 1
      g = mod(k, size(kth, kind=i64)) + 1
      first = (g - 1)*group_size + 1
      last = min(g*group_size, size(x, 1, kind=i64))
      if (count_finite(x(first:last, r)) /= last - first + 1) info = max(info, FQ_NOT_FINITE)
      if (group_size > RUN) then
        call select_long(x(first:last, r), magnitude, kth(g), lower(g, r), upper(g, r), &
          below(g, r))
      else
        call select_short(x(first:last, r), magnitude, kth(g), lower(g, r), upper(g, r), &
          below(g, r))
      end if
    end do
  end subroutine select_groups

  !> `select_groups` of one group of any length, digit by digit.
  pure subroutine select_long(x, magnitude, kth, lower, upper, below)
    real(wp), intent(in), contiguous :: x(:)
    logical, intent(in) :: magnitude
    integer(i64), intent(in) :: kth
    real(wp), intent(out) :: lower, upper
    integer(i64), intent(out) :: below
    integer(i64) :: counts(2**DIGIT, 2), prefix, equal
    integer(i32) :: shift, width, d

    prefix = 0
    below = 0
    shift = bit_size(0_ip)
    do while (shift > 0)
      width = min(DIGIT, shift)
      shift = shift - width
      counts = 0
      call count_run(x, magnitude, prefix, shift, width, 2_i64**DIGIT, 2, counts)
      do d = 1, 2**width
        equal = sum(counts(d, :))
        if (below + equal > kth) exit
        below = below + equal
      end do
      prefix = ior(shiftl(prefix, width), int(d - 1, i64))
    end do
    lower = from_key(ieor(int(prefix, ip), ibset(0_ip, bit_size(0_ip) - 1)))
    upper = lower
    if (kth + 1 >= below + equal .and. kth + 1 < size(x, kind=i64)) then
      upper = from_key(least_above(x, magnitude, order_key(lower, .false.)))
    end if
  end subroutine select_long

  !> `select_groups` of one group of up to `RUN` scores: the bits of the answer from the highest
  !> down; one is set if no more than `kth` scores lie below the value with it set.
  pure subroutine select_short(x, magnitude, kth, lower, upper, below)
    real(wp), intent(in), contiguous :: x(:)
    logical, intent(in) :: magnitude
    integer(i64), intent(in) :: kth
    real(wp), intent(out) :: lower, upper
    integer(i64), intent(out) :: below
    integer(ip) :: keys(RUN), bits, sign_bit, found
    integer(i64) :: n
    integer(i32) :: b

    n = size(x, kind=i64)
    keys(1:n) = order_key(x, magnitude)
    sign_bit = ibset(0_ip, bit_size(0_ip) - 1)
    bits = 0
    do b = bit_size(bits) - 1, 0, -1
      if (count_below(keys(1:n), ieor(ibset(bits, b), sign_bit)) <= kth) bits = ibset(bits, b)
    end do
    found = ieor(bits, sign_bit)
    lower = from_key(found)
    below = count_below(keys(1:n), found)
    upper = lower
    if (kth + 1 < n .and. count(keys(1:n) <= found) <= kth + 1) then
      upper = from_key(minval(keys(1:n), mask=keys(1:n) > found))
    end if
  end subroutine select_short

  !> How many keys, of no more than `RUN`, are less than `bound`.
  pure function count_below(keys, bound) result(below)
    integer(ip), intent(in), contiguous :: keys(:)
    integer(ip), intent(in) :: bound
    integer(ip) :: below
    integer(i64) :: i

    below = 0
    do i = 1, size(keys, kind=i64)
      below = below + merge(1_ip, 0_ip, keys(i) < bound)
    end do
  end function count_below

  include 'fq_finite.inc'
  include 'fq_order.inc'
end module fq_select_real32
