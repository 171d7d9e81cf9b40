!> Codes for an entropy coder: of the least sum of squared errors and bits, alone or along the paths
!> of a trellis.
!>
!> Python: `pyfq/arrays/rate.py`.  Reference: `pyfq/reference/arrays/rate.py`.
module fq_rate_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_kinds, only: dp, i8, i16, i32, i64, wp => sp
  use fq_precondition, only: CHECKED, require
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_work_size, only: SMALL_RANKING, SMALL_WORK
  implicit none (type, external)
  private
  public :: measure_rows, quantize_rate

  integer(i64), parameter :: LANES = 8             ! paths side by side
  integer(i64), parameter :: LANE_COUNT = 16       ! partial sums of a row, see fq_lane_sum.inc
  integer(i64), parameter :: RUN = 512             ! weights in steps at a time, in L1
  integer(i64), parameter :: NORMALIZED = 16       ! steps of a trellis until costs are small again
  integer(i32), parameter :: LARGEST = 32763       ! of weights in steps; codes reach 4 beyond
  integer(i32), parameter :: FIRST = -264, LAST = 263  ! codes of a table; beyond it all escape
  integer(i32), parameter :: ESCAPE_BITS = 16      ! that follow the symbol of an escape

contains

  !> \( \sum w^2, \sum |w|, \max |w| \) of each row of weights times `unit`, in float64.
  subroutine measure_rows(w, unit, sums, threads, info)
    real(wp), intent(in), contiguous :: w(:, :)      !! weights, `(cols, rows)`
    real(dp), intent(in) :: unit                     !! power of two that keeps squares in range
    real(dp), intent(out), contiguous :: sums(:, :)  !! three of each row, `(3, rows)`
    integer(i32), intent(in) :: threads              !! threads to use, at least 1
    integer(i32), intent(out) :: info                !! status code
    integer(i64) :: r

    info = FQ_OK
    !$omp parallel do default(none) shared(w, unit, sums) reduction(max: info) schedule(static) &
    !$omp num_threads(threads) if(size(w, kind=i64) > SMALL_WORK)
    do r = 1, size(w, 2, kind=i64)
      sums(:, r) = measures_of_row(w(:, r), unit)
      if (count_finite(w(:, r)) < size(w, 1, kind=i64)) info = max(info, FQ_NOT_FINITE)
    end do
  end subroutine measure_rows

  !> `measure_rows` of one row, in 16 lanes.
  pure function measures_of_row(w, unit) result(sums)
    real(wp), intent(in), contiguous :: w(:)
    real(dp), intent(in) :: unit
    real(dp) :: sums(3), square(LANE_COUNT), magnitude(LANE_COUNT), peak(LANE_COUNT), a
    integer(i64) :: i, lane, n

    square = 0
    magnitude = 0
    peak = 0
    n = size(w, kind=i64)
    do i = 0, n - 1, LANE_COUNT
      do lane = 1, min(LANE_COUNT, n - i)
        a = abs(real(w(i + lane), dp)*unit)
        square(lane) = square(lane) + a*a
        magnitude(lane) = magnitude(lane) + a
        peak(lane) = max(peak(lane), a)
      end do
    end do
    sums = [lane_sum(square), lane_sum(magnitude), maxval(peak)]
  end function measures_of_row

  !> For each weight \( x = w/\mathrm{step} \) the code c of a path with the least
  !> \( \sum (x - c)^2 + \mathrm{tradeoff}\cdot\mathrm{rate}(c) \), how often each symbol occurs,
  !> and \( \sum x^2, \sum x c, \sum c^2 \) of each row.
  !>
  !> With one state the path is free: c is one of the two neighbours of x, or 0.  Rows of a block
  !> share paths, threads share blocks.
  !>
  !> *Preconditions*: steps are greater than 0, one for all rows or one a row; classes are
  !> `0 ... size(rates, 3) - 1`; states are 1, 4 or 8, with 1, 2 or 2 unions; `block_rows >= 1`;
  !> `size(counts, 4) == ceiling(rows/block_rows)`.
  subroutine quantize_rate(w, step, classes, rates, tradeoff, states, block_rows, codes, counts, &
    sums, threads, info)
    real(wp), intent(in), contiguous :: w(:, :)           !! weights, `(cols, rows)`
    real(wp), intent(in), contiguous :: step(:)           !! distance of codes, `(1 or rows)`
    integer(i8), intent(in), contiguous :: classes(:)     !! table of a row, from 0, `(rows)`
    real(wp), intent(in), contiguous :: rates(:, :, :)    !! bits, `(256, unions, classes)`
    real(wp), intent(in) :: tradeoff                      !! squared steps that a bit is worth
    integer(i32), intent(in) :: states                    !! of the trellis: 1, 4 or 8
    integer(i64), intent(in) :: block_rows                !! rows of a block
    integer(i16), intent(out), contiguous :: codes(:, :)  !! `(cols, rows)`
    integer(i64), intent(out), contiguous :: counts(:, :, :, :)
    !! of each symbol, `(256, unions, classes, blocks)`
    real(dp), intent(out), contiguous :: sums(:, :)       !! three of each row, `(3, rows)`
    integer(i32), intent(in) :: threads                   !! threads to use, at least 1
    integer(i32), intent(out) :: info                     !! status code
    real(wp), allocatable :: table(:, :)
    integer(i32), allocatable :: trail(:, :, :)
    integer(i64) :: b, r, head, tail, lines
    integer(i32) :: team
    integer :: t, stat

    if (CHECKED) call require_rate(step, classes, states, block_rows, codes, counts)
    team = merge(threads, 1_i32, size(w, kind=i64) > SMALL_RANKING)
    lines = min(block_rows, size(w, 2, kind=i64))*((size(w, 1, kind=i64) + LANES - 1)/LANES)
    if (states == 1) lines = 0
    allocate (table(FIRST:LAST, size(rates, 3)), stat=stat)
    if (stat == 0) allocate (trail(LANES, lines, team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    do t = 1, size(rates, 3)
      call fill_table(rates(:, :, t), tradeoff, table(:, t))
    end do
    !$omp parallel do default(none) private(t, r, head, tail) num_threads(team) if(team > 1) &
    !$omp schedule(dynamic) reduction(max: info) &
    !$omp shared(w, step, classes, table, states, block_rows, codes, counts, sums, trail)
    do b = 1, size(counts, 4, kind=i64)
      t = 1
      !$ t = omp_get_thread_num() + 1
      head = (b - 1)*block_rows + 1
      tail = min(b*block_rows, size(w, 2, kind=i64))
      counts(:, :, :, b) = 0
      if (.not. is_block_finite(w(:, head:tail))) then
        info = max(info, FQ_NOT_FINITE)
        cycle
      end if
      if (states == 1) then
        call round_block(w(:, head:tail), step(min(head, size(step, kind=i64)):), &
          classes(head:tail), table, codes(:, head:tail))
      else
        call search_block(w(:, head:tail), step(min(head, size(step, kind=i64)):), &
          classes(head:tail), table, states, codes(:, head:tail), trail(:, :, t))
      end if
      do r = head, tail
        call count_codes_of_row(codes(:, r), counts(:, :, classes(r) + 1, b))
        sums(:, r) = sums_of_row(w(:, r), step(min(r, size(step, kind=i64))), codes(:, r))
      end do
    end do
  end subroutine quantize_rate

  !> What `quantize_rate` expects of its arguments.
  pure subroutine require_rate(step, classes, states, block_rows, codes, counts)
    real(wp), intent(in), contiguous :: step(:)
    integer(i8), intent(in), contiguous :: classes(:)
    integer(i32), intent(in) :: states
    integer(i64), intent(in) :: block_rows
    integer(i16), intent(in), contiguous :: codes(:, :)
    integer(i64), intent(in), contiguous :: counts(:, :, :, :)

    if (.not. CHECKED) return
    call require(all(step > 0), 'quantize_rate: steps are greater than 0')
    call require(any(size(step, kind=i64) == [1_i64, size(codes, 2, kind=i64)]), &
      'quantize_rate: one step, or one a row')
    call require(all(classes >= 0 .and. classes < size(counts, 3)), &
      'quantize_rate: classes have tables')
    call require(any(states == [1, 4, 8]) .and. size(counts, 2) == merge(1, 2, states == 1), &
      'quantize_rate: 1, 4 or 8 states, of 1, 2 or 2 unions')
    call require(block_rows >= 1, 'quantize_rate: block_rows >= 1')
    call require(size(counts, 4, kind=i64) == (size(codes, 2, kind=i64) + block_rows - 1) &
      /block_rows, 'quantize_rate: size(counts, 4) == ceiling(rows/block_rows)')
  end subroutine require_rate

  !> Whether all entries of a block are finite.
  pure function is_block_finite(w) result(are)
    real(wp), intent(in), contiguous :: w(:, :)
    logical :: are
    integer(i64) :: r, finite

    finite = 0
    do r = 1, size(w, 2, kind=i64)
      finite = finite + count_finite(w(:, r))
    end do
    are = finite == size(w, kind=i64)
  end function is_block_finite

  !> What each code costs, in squared steps; codes beyond the table cost what those four places
  !> nearer do.
  pure subroutine fill_table(rates, tradeoff, table)
    real(wp), intent(in) :: rates(0:, :), tradeoff
    real(wp), intent(out) :: table(FIRST:)
    real(wp) :: bits
    integer(i32) :: code, union, q

    do code = FIRST, LAST
      union = iand(code, size(rates, 2) - 1)
      q = shifta(code, size(rates, 2) - 1)
      bits = rates(symbol_of(q), union + 1)
      if (q < -127 .or. q > 126) bits = bits + ESCAPE_BITS
      table(code) = tradeoff*bits
    end do
  end subroutine fill_table

  !> The code of a table that costs what a code does.
  elemental function place_in_table(code) result(place)
    integer(i32), intent(in) :: code
    integer(i32) :: place, rest

    rest = iand(code, 3)
    place = max(min(code, LAST - 7 + rest), FIRST + rest)
  end function place_in_table

  !> Weights in steps, as far as codes reach.
  pure subroutine divide_run(w, step, x)
    real(wp), intent(in), contiguous :: w(:)
    real(wp), intent(in) :: step
    real(wp), intent(out), contiguous :: x(:)
    integer(i64) :: i

    do i = 1, size(w, kind=i64)
      x(i) = min(max(w(i)/step, real(-LARGEST, wp)), real(LARGEST, wp))
    end do
  end subroutine divide_run

  !> Codes of a block, each for itself: of the least cost, the smaller magnitude where two cost the
  !> same.
  pure subroutine round_block(w, step, classes, table, codes)
    real(wp), intent(in), contiguous :: w(:, :), step(:)
    integer(i8), intent(in), contiguous :: classes(:)
    real(wp), intent(in) :: table(FIRST:, :)
    integer(i16), intent(out), contiguous :: codes(:, :)
    real(wp) :: x(RUN)
    integer(i64) :: r, head, tail

    do r = 1, size(w, 2, kind=i64)
      do head = 1, size(w, 1, kind=i64), RUN
        tail = min(head + RUN - 1, size(w, 1, kind=i64))
        call divide_run(w(head:tail, r), step(min(r, size(step, kind=i64))), x(:tail - head + 1))
        call round_weights(x(:tail - head + 1), table(:, classes(r) + 1), codes(head:tail, r))
      end do
    end do
  end subroutine round_block

  !> Codes of a run of weights in steps.
  pure subroutine round_weights(x, table, codes)
    real(wp), intent(in), contiguous :: x(:)
    real(wp), intent(in) :: table(FIRST:LAST)
    integer(i16), intent(out), contiguous :: codes(:)
    real(wp) :: near, far, zero, least
    integer(i32) :: code, side, chosen
    integer(i64) :: i

    do i = 1, size(x, kind=i64)
      side = merge(-1_i32, 1_i32, x(i) < 0)
      code = int(x(i), i32)
      near = x(i) - real(code, wp)
      far = near - real(side, wp)
      near = near*near + table(place_in_table(code))
      far = far*far + table(place_in_table(code + side))
      zero = x(i)*x(i) + table(0)
      chosen = merge(code, 0_i32, near < zero)
      least = merge(near, zero, near < zero)
      codes(i) = int(merge(code + side, chosen, far < least), i16)
    end do
  end subroutine round_weights

  !> Codes of a block: those of the eight paths of the least cost (Viterbi 1967).
  pure subroutine search_block(w, step, classes, table, states, codes, trail)
    real(wp), intent(in), contiguous :: w(:, :), step(:)
    integer(i8), intent(in), contiguous :: classes(:)
    real(wp), intent(in) :: table(FIRST:, :)
    integer(i32), intent(in) :: states
    integer(i16), intent(out), contiguous :: codes(:, :)
    integer(i32), intent(inout), contiguous :: trail(:, :)
    real(wp) :: cost(LANES, 0:7), x(RUN)
    integer(i64) :: r, head, tail, s

    cost = huge(1.0_wp)
    cost(:, 0) = 0
    s = 0
    do r = 1, size(w, 2, kind=i64)
      do head = 1, size(w, 1, kind=i64), RUN
        tail = min(head + RUN - 1, size(w, 1, kind=i64))
        call divide_run(w(head:tail, r), step(min(r, size(step, kind=i64))), x(:tail - head + 1))
        call search_run(x, tail - head + 1, table(:, classes(r) + 1), states, cost, trail, s)
      end do
    end do
    call follow_trail(cost, states, trail, codes)
  end subroutine search_block

  !> Take the paths through a run of weights in steps; the last step may be of fewer lanes.
  pure subroutine search_run(x, n, table, states, cost, trail, s)
    real(wp), intent(inout) :: x(RUN)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: table(FIRST:LAST)
    integer(i32), intent(in) :: states
    real(wp), intent(inout) :: cost(LANES, 0:7)
    integer(i32), intent(inout), contiguous :: trail(:, :)
    integer(i64), intent(inout) :: s           !! steps that have been taken
    real(wp) :: branch(LANES, 0:3), kept(LANES, 0:7)
    integer(i64) :: i, lane, lanes_used

    do i = 0, n - 1, LANES
      s = s + 1
      lanes_used = min(LANES, n - i)
      if (mod(s, NORMALIZED) == 0) call subtract_first(cost)
      if (lanes_used < LANES) then
        kept = cost
        x(n + 1:i + LANES) = 0
      end if
      call weigh_branches(x(i + 1:i + LANES), table, branch, trail(:, s))
      if (states == 8) then
        call join_eight(branch, cost, trail(:, s))
      else
        call join_four(branch, cost, trail(:, s))
      end if
      do lane = lanes_used + 1, LANES
        cost(lane, :) = kept(lane, :)
      end do
    end do
  end subroutine search_run

  !> Keep costs small: only their differences matter.
  pure subroutine subtract_first(cost)
    real(wp), intent(inout) :: cost(LANES, 0:7)
    real(wp) :: first(LANES)
    integer :: t

    first = cost(:, 0)
    do t = 0, 7
      cost(:, t) = cost(:, t) - first
    end do
  end subroutine subtract_first

  !> The least cost of a code of each subset, `mod(code, 4)`: of the one at or below x and of the
  !> one above it.  `mark` becomes `4096*floor(x)`, and 256 and so on for subsets whose is above.
  pure subroutine weigh_branches(x, table, branch, mark)
    real(wp), intent(in) :: x(LANES), table(FIRST:LAST)
    real(wp), intent(out) :: branch(LANES, 0:3)
    integer(i32), intent(out) :: mark(LANES)
    real(wp) :: below(LANES), above(LANES), rate_below(LANES), rate_above(LANES)
    integer(i32) :: floor_x(LANES), code(LANES), place(LANES), subset, bit
    integer(i64) :: lane

    floor_x = int(x, i32)
    floor_x = floor_x - merge(1_i32, 0_i32, real(floor_x, wp) > x)
    mark = 4096*floor_x
    do subset = 0, 3
      bit = shiftl(256_i32, subset)
      code = floor_x - iand(floor_x - subset, 3)
      place = place_in_table(code)
      do lane = 1, LANES
        rate_below(lane) = table(place(lane))
        rate_above(lane) = table(place(lane) + 4)
      end do
      below = x - real(code, wp)
      above = below - 4
      below = below*below + rate_below
      above = above*above + rate_above
      branch(:, subset) = merge(above, below, above < below)
      mark = mark + merge(bit, 0_i32, above < below)
    end do
  end subroutine weigh_branches

  !> Ungerboeck's trellis of eight states: of the two ways into each the one that costs less.
  !> Bit t of `mark` says that state t was reached from the upper of the two.
  pure subroutine join_eight(branch, cost, mark)
    real(wp), intent(in) :: branch(LANES, 0:3)
    real(wp), intent(inout) :: cost(LANES, 0:7)
    integer(i32), intent(inout) :: mark(LANES)
    real(wp) :: before(LANES, 0:7), lower, upper
    integer(i32) :: t, from, subset
    integer(i64) :: lane

    before = cost
    !GCC$ unroll 8
    do t = 0, 7
      from = t/2
      subset = iand(from, 1) + 2*iand(ieor(t, from/2), 1)
      do lane = 1, LANES
        lower = before(lane, from) + branch(lane, subset)
        upper = before(lane, from + 4) + branch(lane, ieor(subset, 2))
        cost(lane, t) = merge(upper, lower, upper < lower)
        mark(lane) = mark(lane) + merge(shiftl(1_i32, t), 0_i32, upper < lower)
      end do
    end do
  end subroutine join_eight

  !> `join_eight` of four states.
  pure subroutine join_four(branch, cost, mark)
    real(wp), intent(in) :: branch(LANES, 0:3)
    real(wp), intent(inout) :: cost(LANES, 0:7)
    integer(i32), intent(inout) :: mark(LANES)
    real(wp) :: before(LANES, 0:3), lower, upper
    integer(i32) :: t, from, subset
    integer(i64) :: lane

    before = cost(:, 0:3)
    !GCC$ unroll 4
    do t = 0, 3
      from = t/2
      subset = from + 2*iand(t, 1)
      do lane = 1, LANES
        lower = before(lane, from) + branch(lane, subset)
        upper = before(lane, from + 2) + branch(lane, ieor(subset, 2))
        cost(lane, t) = merge(upper, lower, upper < lower)
        mark(lane) = mark(lane) + merge(shiftl(1_i32, t), 0_i32, upper < lower)
      end do
    end do
  end subroutine join_four

  !> The codes of the paths that end at the least cost, at the lowest such state, from their ends.
  pure subroutine follow_trail(cost, states, trail, codes)
    real(wp), intent(in) :: cost(LANES, 0:7)
    integer(i32), intent(in) :: states
    integer(i32), intent(in), contiguous :: trail(:, :)
    integer(i16), intent(out), contiguous :: codes(:, :)
    real(wp) :: least(LANES)
    integer(i32) :: state(LANES), code(LANES), t
    integer(i64) :: r, i, s, lane, lanes_used

    state = 0
    least = cost(:, 0)
    do t = 1, states - 1
      state = merge(t, state, cost(:, t) < least)
      least = min(least, cost(:, t))
    end do
    s = size(codes, 2, kind=i64)*((size(codes, 1, kind=i64) + LANES - 1)/LANES)
    do r = size(codes, 2, kind=i64), 1, -1
      do i = (size(codes, 1, kind=i64) - 1)/LANES*LANES, 0, -LANES
        lanes_used = min(LANES, size(codes, 1, kind=i64) - i)
        call step_back(trail(:, s), states, lanes_used, state, code)
        s = s - 1
        do lane = 1, lanes_used
          codes(i + lane, r) = int(code(lane), i16)
        end do
      end do
    end do
  end subroutine follow_trail

  !> The codes of a step, and the states before it.
  pure subroutine step_back(mark, states, lanes_used, state, code)
    integer(i32), intent(in) :: mark(LANES), states
    integer(i64), intent(in) :: lanes_used
    integer(i32), intent(inout) :: state(LANES)
    integer(i32), intent(out) :: code(LANES)
    integer(i32) :: from(LANES), subset(LANES), floor_x(LANES)
    integer(i64) :: lane

    from = shiftr(state, 1) + merge(states/2, 0_i32, btest(mark, state))
    subset = iand(from, 1) + 2*iand(ieor(state, ieor(shiftr(from, 1), shiftr(from, 2))), 1)
    floor_x = shifta(mark, 12)
    code = floor_x - iand(floor_x - subset, 3) + merge(4_i32, 0_i32, btest(mark, 8 + subset))
    state = merge(from, state, [(lane <= lanes_used, lane=1, LANES)])
  end subroutine step_back

  !> Count the symbols of a row.
  pure subroutine count_codes_of_row(codes, counts)
    integer(i16), intent(in), contiguous :: codes(:)
    integer(i64), intent(inout) :: counts(0:, :)
    integer(i32) :: code, union, symbol, last
    integer(i64) :: i

    last = size(counts, 2) - 1
    do i = 1, size(codes, kind=i64)
      code = codes(i)
      union = iand(code, last)
      symbol = symbol_of(shifta(code, last))
      counts(symbol, union + 1) = counts(symbol, union + 1) + 1
    end do
  end subroutine count_codes_of_row

  !> \( \sum x^2, \sum x c, \sum c^2 \) of a row of weights in steps x and codes c.
  pure function sums_of_row(w, step, codes) result(sums)
    real(wp), intent(in), contiguous :: w(:)
    real(wp), intent(in) :: step
    integer(i16), intent(in), contiguous :: codes(:)
    real(dp) :: sums(3), xx(LANE_COUNT), xc(LANE_COUNT), cc(LANE_COUNT), a, c
    real(wp) :: x(RUN)
    integer(i64) :: head, tail, i, lane, n

    xx = 0
    xc = 0
    cc = 0
    do head = 1, size(w, kind=i64), RUN
      tail = min(head + RUN - 1, size(w, kind=i64))
      n = tail - head + 1
      call divide_run(w(head:tail), step, x(:n))
      do i = 0, n - 1, LANE_COUNT
        do lane = 1, min(LANE_COUNT, n - i)
          a = real(x(i + lane), dp)
          c = real(codes(head + i + lane - 1), dp)
          xx(lane) = xx(lane) + a*a
          xc(lane) = xc(lane) + a*c
          cc(lane) = cc(lane) + c*c
        end do
      end do
    end do
    sums = [lane_sum(xx), lane_sum(xc), lane_sum(cc)]
  end function sums_of_row

  include 'fq_finite.inc'
  include 'fq_lane_sum.inc'
  include 'fq_symbol.inc'
end module fq_rate_real32
