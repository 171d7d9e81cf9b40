!> Codes that stand for the levels of a table, and tables that fit data.
!>
!> Python: `pyfq/arrays/codebook.py`.  Reference: `pyfq/reference/arrays/codebook.py`.
module fq_codebook_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_kinds, only: dp, i8, i32, i64, ip => i32, wp => sp
  use fq_pack_bits, only: pack_run, unpack_run
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_work_size, only: SMALL_RANKING, SMALL_WORK
  implicit none (type, external)
  private
  public :: calibrate_codebook, dequantize_codebook, fit_codebook, quantize_codebook

  integer(i64), parameter :: RUN = 512          ! codes held unpacked at a time, in L1
  integer, parameter :: MOST_LEVELS = 256
  integer, parameter :: FEW_LEVELS = 16         ! compared with all; of more some are, see place_run
  integer, parameter :: LANES = 16              ! partial sums of a run, see fq_lanes.inc
  ! Scales to try, over the largest magnitude: outliers of long groups are worth clipping.
  real(wp), parameter :: FACTORS(16) = [0.3_wp, 0.4_wp, 0.5_wp, 0.6_wp, 0.65_wp, 0.7_wp, 0.75_wp, &
    0.8_wp, 0.85_wp, 0.9_wp, 0.95_wp, 1.0_wp, 1.05_wp, 1.1_wp, 1.2_wp, 1.3_wp]
  integer, parameter :: POLISHES = 2            ! least-squares steps from the best of them
  integer(i64), parameter :: MOST_GROUPS = 32   ! searched together, if a run holds them

  ! What the search of all scales needs of a table; behind its levels are zeros that none is near.
  type :: search_table
    real(wp) :: levels(MOST_LEVELS), middles(255)
    real(wp) :: bounds(255, size(FACTORS))      ! middles times each factor
    real(wp) :: most                            ! the largest scale that lets no level overflow
    integer :: count
  end type search_table

contains

  !> Packed codes of the nearest levels: the number of middles between neighbouring levels that are
  !> less than `w/scale`.
  !>
  !> *Preconditions*: `group_size >= 1`; `groups == max(1, ceiling(cols/group_size))`; levels
  !> ascend; `levels(:, 1)` is for all rows, or there is a table a row; `row_bytes ==
  !> ceiling(cols*bits/8)`; weights of a group whose scale is 0 come back as zeros.
  subroutine quantize_codebook(w, bits, group_size, levels, finds_scale, scale, packed, threads, &
    info)
    real(wp), intent(in), contiguous :: w(:, :)         !! weights, `(cols, rows)`
    integer(i32), intent(in) :: bits                    !! bits of a code, `1 ... 8`
    integer(i64), intent(in) :: group_size              !! columns of a group
    real(wp), intent(in), contiguous :: levels(:, :)    !! tables, `(2 ... 256, 1 or rows)`
    logical, intent(in) :: finds_scale                  !! scales are largest magnitudes
    real(wp), intent(inout), contiguous :: scale(:, :)  !! scale of a group, `(groups, rows)`
    integer(i8), intent(out), contiguous :: packed(:, :)  !! codes, `(row_bytes, rows)`
    integer(i32), intent(in) :: threads                 !! threads to use, at least 1
    integer(i32), intent(out) :: info                   !! status code
    real(wp) :: middles(255)
    integer(i64) :: r, g, first, last
    integer(i32) :: state

    info = FQ_OK
    !$omp parallel do default(none) private(middles, g, first, last, state) schedule(static) &
    !$omp reduction(max: info) num_threads(threads) if(size(w, kind=i64) > SMALL_WORK) &
    !$omp shared(w, bits, group_size, levels, finds_scale, scale, packed)
    do r = 1, size(w, 2, kind=i64)
      call find_middles(levels(:, min(r, size(levels, 2, kind=i64))), middles)
      state = FQ_OK
      do g = 1, size(scale, 1, kind=i64)
        first = (g - 1)*group_size + 1
        last = min(g*group_size, size(w, 1, kind=i64))
        call find_peak(w(first:last, r), finds_scale, scale(g, r), state)
      end do
      if (state == FQ_OK) call encode_row(w(:, r), bits, group_size, size(levels, 1), middles, &
        scale(:, r), packed(:, r))
      info = max(info, state)
    end do
  end subroutine quantize_codebook

  !> Reals from packed codes: `levels(code)*scale`.
  !>
  !> *Preconditions*: as `quantize_codebook`; codes are less than the number of levels.
  subroutine dequantize_codebook(packed, bits, group_size, levels, scale, out, threads)
    integer(i8), intent(in), contiguous :: packed(:, :)  !! codes, `(row_bytes, rows)`
    integer(i32), intent(in) :: bits                     !! bits of a code, `1 ... 8`
    integer(i64), intent(in) :: group_size               !! columns of a group
    real(wp), intent(in), contiguous :: levels(:, :)     !! tables, `(2 ... 256, 1 or rows)`
    real(wp), intent(in), contiguous :: scale(:, :)      !! scale of a group, `(groups, rows)`
    real(wp), intent(out), contiguous :: out(:, :)       !! reals, `(cols, rows)`
    integer(i32), intent(in) :: threads                  !! threads to use, at least 1
    integer(i64) :: r

    !$omp parallel do default(none) schedule(static) num_threads(threads) &
    !$omp if(size(out, kind=i64) > SMALL_WORK) shared(packed, bits, group_size, levels, scale, out)
    do r = 1, size(out, 2, kind=i64)
      call decode_row(packed(:, r), bits, group_size, levels(:, min(r, size(levels, 2, &
        kind=i64))), scale(:, r), out(:, r))
    end do
  end subroutine dequantize_codebook

  !> The scale of each group that loses least with the levels of a table, of those that a search
  !> meets: codes of 16 scales from 0.3 to 1.3 of the largest magnitude, the least-squares scale of
  !> each, and two steps more from the best, codes and scale in turn.
  !>
  !> Over the largest magnitude, all groups are compared with the same bounds.  So short groups are
  !> searched many at a time, and what a loop over a run costs to start is shared by them.
  !>
  !> *Preconditions*: `group_size >= 1`; `groups == ceiling(cols/group_size)`; no group is empty;
  !> levels ascend.
  subroutine calibrate_codebook(w, group_size, levels, scale, threads, info)
    real(wp), intent(in), contiguous :: w(:, :)       !! weights, `(cols, rows)`
    integer(i64), intent(in) :: group_size            !! columns of a group
    real(wp), intent(in), contiguous :: levels(:)     !! table, `(2 ... 256)`
    real(wp), intent(out), contiguous :: scale(:, :)  !! scale of a group, `(groups, rows)`
    integer(i32), intent(in) :: threads               !! threads to use, at least 1
    integer(i32), intent(out) :: info                 !! status code
    type(search_table) :: table
    real(wp) :: found(MOST_GROUPS)
    integer(i64) :: ends(0:MOST_GROUPS), batch, before, count, groups, g
    integer(i32) :: state

    call find_table(levels, table)
    groups = size(scale, 1, kind=i64)
    batch = min(MOST_GROUPS, max(1_i64, RUN/min(group_size, size(w, 1, kind=i64))))
    info = FQ_OK
    !$omp parallel do default(none) private(found, ends, count, g, state) reduction(max: info) &
    !$omp shared(w, group_size, scale, table, groups, batch) schedule(static) &
    !$omp num_threads(threads) if(size(w, kind=i64) > SMALL_RANKING)
    do before = 0, size(scale, kind=i64) - 1, batch
      count = min(batch, size(scale, kind=i64) - before)
      call find_ends(before, size(w, 1, kind=i64), group_size, groups, ends(0:count))
      state = FQ_OK
      call calibrate_groups(size(w, kind=i64), w, ends(0:count), table, found(1:count), state)
      do g = 0, count - 1
        scale(mod(before + g, groups) + 1, (before + g)/groups + 1) = found(g + 1)
      end do
      info = max(info, state)
    end do
  end subroutine calibrate_codebook

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
    integer(i64) :: last, half

    n = 0
    last = size(values, kind=i64)
    do while (n < last)
      half = (n + last)/2 + 1
      if (values(half) <= bound) then
        n = half
      else
        last = half - 1
      end if
    end do
  end function count_up_to

  !> The middle of two levels, which their sum might overflow.
  pure elemental function middle(low, high) result(m)
    real(wp), intent(in) :: low, high
    real(wp) :: m

    m = low/2 + high/2
  end function middle

  pure subroutine find_middles(levels, middles)
    real(wp), intent(in), contiguous :: levels(:)
    real(wp), intent(inout) :: middles(255)
    integer :: n

    n = size(levels)
    middles(1:n - 1) = middle(levels(1:n - 1), levels(2:n))
    middles(n:) = huge(middles)
  end subroutine find_middles

  !> The largest magnitude of a group as its scale, 1 for zeros; or only whether it is finite.
  pure subroutine find_peak(w, finds_scale, scale, info)
    real(wp), intent(in), contiguous :: w(:)
    logical, intent(in) :: finds_scale
    real(wp), intent(inout) :: scale
    integer(i32), intent(inout) :: info
    integer(ip) :: peak
    integer(i64) :: i

    peak = 0
    do i = 1, size(w, kind=i64)  ! as integers magnitudes have the same order, Inf and NaN above
      peak = max(peak, iand(transfer(w(i), peak), huge(peak)))
    end do
    if (peak > transfer(huge(scale), peak)) info = FQ_NOT_FINITE
    if (finds_scale) scale = merge(transfer(peak, scale), 1.0_wp, peak > 0)
  end subroutine find_peak

  !> What the search needs of a table.
  pure subroutine find_table(levels, table)
    real(wp), intent(in), contiguous :: levels(:)
    type(search_table), intent(inout) :: table
    integer :: f

    table%count = size(levels)
    table%levels = 0
    table%levels(1:table%count) = levels
    call find_middles(levels, table%middles)
    table%bounds = huge(table%bounds)
    do f = 1, size(FACTORS)
      table%bounds(1:table%count - 1, f) = table%middles(1:table%count - 1)*FACTORS(f)
    end do
    table%most = huge(table%most)/max(1.0_wp, maxval(abs(levels)))
  end subroutine find_table

  !> Where groups end in the memory of all rows, where each follows the one before, from the end of
  !> that before the first.
  pure subroutine find_ends(before, cols, group_size, groups, ends)
    integer(i64), intent(in) :: before, cols, group_size, groups  ! of all; columns, groups of a row
    integer(i64), intent(inout), contiguous :: ends(0:)
    integer(i64) :: g, row, place

    do g = 0, size(ends, kind=i64) - 1
      row = (before + g)/groups
      place = before + g - row*groups
      ends(g) = row*cols + min(place*group_size, cols)
    end do
  end subroutine find_ends

  !> `calibrate_codebook` of groups that one run holds, or of one group; the largest magnitude, 1
  !> for zeros, if no scale beats it.
  pure subroutine calibrate_groups(n, w, ends, table, scale, info)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: w(n)                      ! of all rows
    integer(i64), intent(in), contiguous :: ends(0:)  ! where these groups end
    type(search_table), intent(in) :: table
    real(wp), intent(inout), contiguous :: scale(:)
    integer(i32), intent(inout) :: info
    real(wp) :: found(MOST_GROUPS)
    integer(i64) :: g
    integer :: polish

    do g = 1, size(scale, kind=i64)
      call find_peak(w(ends(g - 1) + 1:ends(g)), .true., scale(g), info)
    end do
    if (info /= FQ_OK) return
    call find_start(n, w, ends, scale, table, found(1:size(scale)))
    do polish = 1, POLISHES
      call polish_scale(n, w, ends, table, found(1:size(scale)))
    end do
    do g = 1, size(scale, kind=i64)
      if (found(g) > 0 .and. found(g) <= table%most) scale(g) = found(g)
    end do
  end subroutine calibrate_groups

  !> The least-squares scale of each group for the codes of that of `FACTORS` which loses least; 0
  !> if none gains.
  pure subroutine find_start(n, w, ends, peak, table, scale)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: w(n)
    integer(i64), intent(in), contiguous :: ends(0:)
    real(wp), intent(in), contiguous :: peak(:)
    type(search_table), intent(in) :: table
    real(wp), intent(out), contiguous :: scale(:)
    real(dp) :: along(MOST_GROUPS, size(FACTORS)), square(MOST_GROUPS, size(FACTORS))
    real(dp) :: gain, best  ! by how much the sum of squares falls
    real(wp) :: x(RUN)
    integer(i64) :: start, g
    integer :: f

    along = 0
    square = 0
    do start = ends(0), ends(size(peak)) - 1, RUN
      call load_run(n, w, ends, start, peak, x)
      do f = 1, size(FACTORS)
        call add_run(x, ends, start, table, table%bounds(:, f), along(:, f), square(:, f))
      end do
    end do
    do g = 1, size(peak, kind=i64)
      scale(g) = 0
      best = 0
      do f = 1, size(FACTORS)
        if (.not. (along(g, f) > 0 .and. square(g, f) > 0)) cycle
        gain = along(g, f)*along(g, f)/square(g, f)
        if (.not. gain > best) cycle
        best = gain
        scale(g) = real(along(g, f)/square(g, f), wp)*peak(g)
      end do
    end do
  end subroutine find_start

  !> A step of least squares: the codes of each group with its scale, and the best scale for those.
  pure subroutine polish_scale(n, w, ends, table, scale)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: w(n)
    integer(i64), intent(in), contiguous :: ends(0:)
    type(search_table), intent(in) :: table
    real(wp), intent(inout), contiguous :: scale(:)
    real(dp) :: along(MOST_GROUPS), square(MOST_GROUPS)
    real(wp) :: x(RUN)
    integer(i64) :: start, g

    along = 0
    square = 0
    do start = ends(0), ends(size(scale)) - 1, RUN
      call load_run(n, w, ends, start, scale, x)
      call add_run(x, ends, start, table, table%middles, along, square)
    end do
    do g = 1, size(scale, kind=i64)
      if (.not. (scale(g) > 0 .and. along(g) > 0 .and. square(g) > 0)) cycle
      scale(g) = real(real(scale(g), dp)*(along(g)/square(g)), wp)
    end do
  end subroutine polish_scale

  !> The weights behind `start`, a run of them at most, over the scales of their groups.
  !>
  !> A scale that is not positive counts as 1: nothing is made of the result.  Zeros fill the last
  !> vector, so that no loop over values has a remainder.
  pure subroutine load_run(n, w, ends, start, scale, x)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: w(n)
    integer(i64), intent(in), contiguous :: ends(0:)
    integer(i64), intent(in) :: start
    real(wp), intent(in), contiguous :: scale(:)
    real(wp), intent(inout) :: x(RUN)
    real(wp) :: divisor
    integer(i64) :: g, i, to

    to = 0
    do g = 1, size(scale, kind=i64)
      divisor = merge(scale(g), 1.0_wp, scale(g) > 0)
      to = min(ends(g) - start, RUN)
      do i = max(ends(g - 1) - start, 0_i64) + 1, to
        x(i) = w(start + i)/divisor
      end do
    end do
    x(to + 1:min((to + LANES - 1)/LANES*LANES, RUN)) = 0
  end subroutine load_run

  !> Add, for each group, the sums of `x*level` and `level**2` over its part of a run, the level
  !> being that between the bounds.
  pure subroutine add_run(x, ends, start, table, bounds, along, square)
    real(wp), intent(in) :: x(RUN), bounds(255)
    integer(i64), intent(in), contiguous :: ends(0:)
    integer(i64), intent(in) :: start
    type(search_table), intent(in) :: table
    real(dp), intent(inout) :: along(MOST_GROUPS), square(MOST_GROUPS)
    real(dp) :: xl(LANES), ll(LANES)
    real(wp) :: level(RUN)
    integer(i64) :: g, i, lane, from, to

    to = min((ends(size(ends) - 1) - start + LANES - 1)/LANES*LANES, RUN)  ! whole vectors
    call find_levels(x(1:to), table%count, table%levels, bounds, level(1:to))
    do g = 1, size(ends, kind=i64) - 1
      from = max(ends(g - 1) - start, 0_i64)
      to = min(ends(g) - start, RUN)
      xl = 0
      ll = 0
      do i = from, to - LANES, LANES
        do lane = 1, LANES
          xl(lane) = xl(lane) + real(x(i + lane), dp)*real(level(i + lane), dp)
          ll(lane) = ll(lane) + real(level(i + lane), dp)*real(level(i + lane), dp)
        end do
      end do
      do lane = 1, mod(to - from, int(LANES, i64))
        i = from + (to - from)/LANES*LANES + lane
        xl(lane) = xl(lane) + real(x(i), dp)*real(level(i), dp)
        ll(lane) = ll(lane) + real(level(i), dp)*real(level(i), dp)
      end do
      along(g) = along(g) + lane_sum(xl)
      square(g) = square(g) + lane_sum(ll)
    end do
  end subroutine add_run

  !> The level of each value between the bounds: of few levels without their codes, since a register
  !> is blended faster than a table is looked up.
  pure subroutine find_levels(x, count, levels, bounds, level)
    real(wp), intent(in), contiguous :: x(:)
    integer, intent(in) :: count
    real(wp), intent(in) :: levels(MOST_LEVELS), bounds(255)
    real(wp), intent(inout), contiguous :: level(:)
    real(wp) :: few(FEW_LEVELS), near(FEW_LEVELS - 1), last
    integer(i32) :: codes(RUN)
    integer(i64) :: i
    integer :: l

    if (count > FEW_LEVELS) then
      call place_run(x, count, bounds, codes(1:size(x)))
      do i = 1, size(x, kind=i64)
        level(i) = levels(codes(i) + 1)
      end do
      return
    end if
    few = levels(1:FEW_LEVELS)
    near = bounds(1:FEW_LEVELS - 1)
    do i = 1, size(x, kind=i64)
      last = few(1)
      !GCC$ unroll 16
      do l = 1, FEW_LEVELS - 1
        last = merge(few(l + 1), last, x(i) > near(l))
      end do
      level(i) = last
    end do
  end subroutine find_levels

  !> Codes of a row.
  pure subroutine encode_row(w, bits, group_size, count, middles, scale, packed)
    real(wp), intent(in), contiguous :: w(:), scale(:)
    integer(i32), intent(in) :: bits
    integer(i64), intent(in) :: group_size
    integer, intent(in) :: count
    real(wp), intent(in) :: middles(255)
    integer(i8), intent(out), contiguous :: packed(:)
    integer(i32) :: codes(RUN)
    integer(i64) :: start, finish, from, to, g

    do start = 1, size(w, kind=i64), RUN
      finish = min(start + RUN - 1, size(w, kind=i64))
      from = start
      do while (from <= finish)
        g = (from - 1)/group_size + 1
        to = min(finish, g*group_size)
        call encode_run(w(from:to), count, middles, scale(g), codes(from - start + 1:to - start &
          + 1))
        from = to + 1
      end do
      call pack_run(codes(1:finish - start + 1), bits, packed((start - 1)*bits/8 + 1:(finish*bits &
        + 7)/8))
    end do
  end subroutine encode_row

  !> Codes of values that share a scale.
  pure subroutine encode_run(w, count, middles, scale, codes)
    real(wp), intent(in), contiguous :: w(:)
    integer, intent(in) :: count
    real(wp), intent(in) :: middles(255), scale
    integer(i32), intent(out), contiguous :: codes(:)
    real(wp) :: x(RUN)
    integer(i64) :: i

    do i = 1, size(w, kind=i64)
      x(i) = w(i)/scale
    end do
    call place_run(x(1:size(w)), count, middles, codes)
  end subroutine encode_run

  !> How many of the bounds between `count` levels each value exceeds; those behind the last are
  !> beyond all values.
  !>
  !> Fifteen of them, evenly apart, are compared with all values, which needs no look-up; between
  !> those of many levels the code is searched by halving.
  pure subroutine place_run(x, count, bounds, codes)
    real(wp), intent(in), contiguous :: x(:)
    integer, intent(in) :: count
    real(wp), intent(in) :: bounds(255)
    integer(i32), intent(out), contiguous :: codes(:)
    real(wp) :: fences(FEW_LEVELS - 1)
    integer(i64) :: i
    integer(i32) :: step, code
    integer :: l

    step = 1
    do while (FEW_LEVELS*step < count)
      step = 2*step
    end do
    fences = bounds(step:(FEW_LEVELS - 1)*step:step)
    do i = 1, size(x, kind=i64)
      code = 0
      !GCC$ unroll 16
      do l = 1, FEW_LEVELS - 1
        code = code + merge(1, 0, x(i) > fences(l))
      end do
      codes(i) = code*step
    end do
    do while (step > 1)
      step = step/2
      do i = 1, size(x, kind=i64)
        codes(i) = codes(i) + merge(step, 0_i32, x(i) > bounds(codes(i) + step))
      end do
    end do
  end subroutine place_run

  !> Reals of a row.
  pure subroutine decode_row(packed, bits, group_size, levels, scale, out)
    integer(i8), intent(in), contiguous :: packed(:)
    integer(i32), intent(in) :: bits
    integer(i64), intent(in) :: group_size
    real(wp), intent(in), contiguous :: levels(:), scale(:)
    real(wp), intent(out), contiguous :: out(:)
    integer(i32) :: codes(RUN)
    integer(i64) :: start, finish, from, to, g, i

    do start = 1, size(out, kind=i64), RUN
      finish = min(start + RUN - 1, size(out, kind=i64))
      call unpack_run(packed((start - 1)*bits/8 + 1:(finish*bits + 7)/8), bits, .false., &
        codes(1:finish - start + 1))
      from = start
      do while (from <= finish)
        g = (from - 1)/group_size + 1
        to = min(finish, g*group_size)
        do i = from, to
          out(i) = levels(codes(i - start + 1) + 1)*scale(g)
        end do
        from = to + 1
      end do
    end do
  end subroutine decode_row

  include 'fq_lanes.inc'
end module fq_codebook_real32
