!> Uniform quantization to 1 ... 16 bits, and back.
!>
!> Python: `pyfq/arrays/quantize.py`.  Reference: `pyfq/reference/arrays/quantize.py`.
module fq_quantize_real32
  use fq_kinds, only: i8, i32, i64, ip => i32, wp => sp
  use fq_code_rule, only: code_rule, ROUND_FLOOR, ROUND_HALF_AWAY, ROUND_HALF_EVEN, ROUND_HALF_UP, &
    ROUND_TRUNC, SCALE_ABSMAX, SCALE_ABSMAX_HALF, SCHEME_AFFINE, SCHEME_SYMMETRIC
  use fq_pack_bits, only: pack_run, unpack_run
  use fq_status, only: FQ_NOT_FINITE, FQ_OK
  use fq_work_size, only: SMALL_WORK
  implicit none (type, external)
  private
  public :: dequantize, find_step, quantize, quantize_given, quantize_range, quantize_step, &
    range_run, round_run

  integer(i64), parameter :: TILE = 4096  ! columns of a task; a multiple of 8 ends on a byte
  integer(i64), parameter :: RUN = 512             ! codes held unpacked at a time, in L1

  !> What turns the reals of one group into codes: `code = round((factor*w - base)/step) +
  !> zero_point`.
  type, private :: group_map
    real(wp) :: factor, base, step, low, high
    integer(i32) :: zero_point
  end type group_map

contains

  !> Scale, zero point, minimum and packed codes of a tensor: each row in one go, while it is in
  !> cache.
  !>
  !> *Preconditions*: `group_size >= 1`; `groups == max(1, ceiling(cols/group_size))`; `row_bytes ==
  !> ceiling(cols*bits/8)`; `1 <= bits <= 16`.
  subroutine quantize(w, rule, group_size, scale, zero_point, minimum, packed, threads, info)
    real(wp), intent(in), contiguous :: w(:, :)                !! weights, `(cols, rows)`
    type(code_rule), intent(in) :: rule                        !! how reals become codes
    integer(i64), intent(in) :: group_size                     !! columns of a group
    real(wp), intent(out), contiguous :: scale(:, :)           !! step of a code, `(groups, rows)`
    integer(i32), intent(out), contiguous :: zero_point(:, :)  !! code of 0, `(groups, rows)`
    real(wp), intent(out), contiguous :: minimum(:, :)         !! value of code 0, `(groups, rows)`
    integer(i8), intent(out), contiguous :: packed(:, :)       !! codes, `(row_bytes, rows)`
    integer(i32), intent(in) :: threads                        !! threads to use, at least 1
    integer(i32), intent(out) :: info                          !! status code
    real(wp) :: low, high, peak
    integer(i64) :: r, g, last
    integer(i32) :: state

    info = FQ_OK
    !$omp parallel do default(none) private(low, high, peak, g, last, state) reduction(max: info) &
    !$omp shared(w, rule, group_size, scale, zero_point, minimum, packed) &
    !$omp schedule(static) num_threads(threads) if(size(w, kind=i64) > SMALL_WORK)
    do r = 1, size(w, 2, kind=i64)
      state = FQ_OK
      do g = 1, size(scale, 1, kind=i64)
        last = min(g*group_size, size(w, 1, kind=i64))
        call range_run(w((g - 1)*group_size + 1:last, r), low, high, peak, state)
        call find_step(low, high, peak, rule, scale(g, r), zero_point(g, r), minimum(g, r))
      end do
      if (state == FQ_OK) then
        call encode_columns(w(:, r), 1_i64, (r - 1)*size(w, 1, kind=i64), rule, group_size, &
          scale(:, r), zero_point(:, r), minimum(:, r), packed(:, r))
      end if
      info = max(info, state)
    end do
  end subroutine quantize

  !> Smallest and largest value of each group, and its first value of largest magnitude.
  !>
  !> *Preconditions*: `group_size >= 1`; `groups == ceiling(cols/group_size)`; no group is empty.
  subroutine quantize_range(w, group_size, low, high, peak, threads, info)
    real(wp), intent(in), contiguous :: w(:, :)      !! weights, `(cols, rows)`
    integer(i64), intent(in) :: group_size           !! columns of a group
    real(wp), intent(out), contiguous :: low(:, :)   !! minimum, `(groups, rows)`
    real(wp), intent(out), contiguous :: high(:, :)  !! maximum, `(groups, rows)`
    real(wp), intent(out), contiguous :: peak(:, :)  !! first of largest magnitude, `(groups, rows)`
    integer(i32), intent(in) :: threads              !! threads to use, at least 1
    integer(i32), intent(out) :: info                !! status code
    integer(i64) :: k, r, g, groups, last
    integer(i32) :: state

    groups = size(low, 1, kind=i64)
    info = FQ_OK
    !$omp parallel do default(none) private(r, g, last, state) reduction(max: info) &
    !$omp shared(w, group_size, low, high, peak, groups) &
    !$omp schedule(static) num_threads(threads) if(size(w, kind=i64) > SMALL_WORK)
    do k = 0, size(low, kind=i64) - 1
      r = k/groups + 1
      g = mod(k, groups) + 1
      last = min(g*group_size, size(w, 1, kind=i64))
      state = FQ_OK
      call range_run(w((g - 1)*group_size + 1:last, r), low(g, r), high(g, r), peak(g, r), state)
      info = max(info, state)
    end do
  end subroutine quantize_range

  !> Scale, zero point and minimum of groups whose range is known.
  pure subroutine quantize_step(low, high, peak, rule, scale, zero_point, minimum)
    real(wp), intent(in), contiguous :: low(:)             !! minimum, `(groups)`
    real(wp), intent(in), contiguous :: high(:)            !! maximum, `(groups)`
    real(wp), intent(in), contiguous :: peak(:)            !! first of largest magnitude, `(groups)`
    type(code_rule), intent(in) :: rule                    !! how reals become codes
    real(wp), intent(out), contiguous :: scale(:)          !! step of a code, `(groups)`
    integer(i32), intent(out), contiguous :: zero_point(:)  !! code of 0, `(groups)`
    real(wp), intent(out), contiguous :: minimum(:)        !! value of code 0, `(groups)`
    integer(i64) :: g

    do g = 1, size(low, kind=i64)
      call find_step(low(g), high(g), peak(g), rule, scale(g), zero_point(g), minimum(g))
    end do
  end subroutine quantize_step

  !> Packed codes of a tensor whose scales are given.
  !>
  !> *Preconditions*: `group_size >= 1`; `groups == max(1, ceiling(cols/group_size))`; `row_bytes ==
  !> ceiling(cols*bits/8)`; `1 <= bits <= 16`.
  subroutine quantize_given(w, rule, group_size, scale, zero_point, minimum, packed, threads, info)
    real(wp), intent(in), contiguous :: w(:, :)               !! weights, `(cols, rows)`
    type(code_rule), intent(in) :: rule                       !! how reals become codes
    integer(i64), intent(in) :: group_size                    !! columns of a group
    real(wp), intent(in), contiguous :: scale(:, :)           !! step of a code, `(groups, rows)`
    integer(i32), intent(in), contiguous :: zero_point(:, :)  !! code of 0, `(groups, rows)`
    real(wp), intent(in), contiguous :: minimum(:, :)         !! value of code 0, `(groups, rows)`
    integer(i8), intent(out), contiguous :: packed(:, :)      !! codes, `(row_bytes, rows)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! status code
    integer(i64) :: k, r, tiles, first, last, cols
    real(wp) :: low, high, peak
    integer(i32) :: state

    cols = size(w, 1, kind=i64)
    tiles = (cols + TILE - 1)/TILE
    info = FQ_OK
    !$omp parallel do default(none) private(r, first, last, low, high, peak, state) &
    !$omp reduction(max: info) &
    !$omp shared(w, rule, group_size, scale, zero_point, minimum, packed, tiles, cols) &
    !$omp schedule(static) num_threads(threads) if(size(w, kind=i64) > SMALL_WORK)
    do k = 0, tiles*size(w, 2, kind=i64) - 1
      r = k/tiles + 1
      first = mod(k, tiles)*TILE + 1
      last = min(first + TILE - 1, cols)
      state = FQ_OK
      call range_run(w(first:last, r), low, high, peak, state)
      if (state == FQ_OK) then
        call encode_columns(w(first:last, r), first, (r - 1)*cols + first - 1, rule, group_size, &
          scale(:, r), zero_point(:, r), minimum(:, r), &
          packed((first - 1)*rule%bits/8 + 1:(last*rule%bits + 7)/8, r))
      end if
      info = max(info, state)
    end do
  end subroutine quantize_given

  !> Reals from packed codes: `minimum + (code - zero_point)*scale`, at most the largest finite
  !> real.
  !>
  !> *Preconditions*: `group_size >= 1`; `groups == max(1, ceiling(cols/group_size))`; `row_bytes ==
  !> ceiling(cols*bits/8)`; `1 <= bits <= 16`.
  subroutine dequantize(packed, bits, signed, group_size, scale, zero_point, minimum, out, threads)
    integer(i8), intent(in), contiguous :: packed(:, :)       !! codes, `(row_bytes, rows)`
    integer(i32), intent(in) :: bits                          !! bits of a code, `1 ... 16`
    logical, intent(in) :: signed                             !! codes are two's complement
    integer(i64), intent(in) :: group_size                    !! columns of a group
    real(wp), intent(in), contiguous :: scale(:, :)           !! step of a code, `(groups, rows)`
    integer(i32), intent(in), contiguous :: zero_point(:, :)  !! code of 0, `(groups, rows)`
    real(wp), intent(in), contiguous :: minimum(:, :)         !! value of code 0, `(groups, rows)`
    real(wp), intent(out), contiguous :: out(:, :)            !! reals, `(cols, rows)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i64) :: k, r, tiles, first, last, cols

    cols = size(out, 1, kind=i64)
    tiles = (cols + TILE - 1)/TILE
    !$omp parallel do default(none) private(r, first, last) &
    !$omp shared(packed, bits, signed, group_size, scale, zero_point, minimum, out, tiles, cols) &
    !$omp schedule(static) num_threads(threads) if(size(out, kind=i64) > SMALL_WORK)
    do k = 0, tiles*size(out, 2, kind=i64) - 1
      r = k/tiles + 1
      first = mod(k, tiles)*TILE + 1
      last = min(first + TILE - 1, cols)
      call decode_columns(packed((first - 1)*bits/8 + 1:(last*bits + 7)/8, r), bits, signed, &
        first, group_size, scale(:, r), zero_point(:, r), minimum(:, r), out(first:last, r))
    end do
  end subroutine dequantize

  !> Range of one run by its order keys, where NaN and Inf are the extremes.
  pure subroutine range_run(w, low, high, peak, info)
    real(wp), intent(in), contiguous :: w(:)
    real(wp), intent(out) :: low, high, peak
    integer(i32), intent(inout) :: info
    integer(ip) :: key, least, most
    integer(i64) :: i

    least = huge(least)
    most = -huge(most)
    do i = 1, size(w, kind=i64)
      key = order_key(w(i), .false.)
      least = min(least, key)
      most = max(most, key)
    end do
    if (least < order_key(-huge(low), .false.)) info = FQ_NOT_FINITE
    if (most > order_key(huge(high), .false.)) info = FQ_NOT_FINITE
    low = from_key(least)
    high = from_key(most)
    peak = merge(low, high, -low > high)
    if (-low == high) peak = first_of(w, high)
  end subroutine range_run

  !> The first value of a run whose magnitude is `magnitude`.
  pure function first_of(w, magnitude) result(value)
    real(wp), intent(in), contiguous :: w(:)
    real(wp), intent(in) :: magnitude
    real(wp) :: value
    integer(i64) :: i

    value = magnitude
    do i = 1, size(w, kind=i64)
      if (abs(w(i)) == magnitude) then
        value = w(i)
        exit
      end if
    end do
  end function first_of

  !> Scale, zero point and minimum of one group.
  pure subroutine find_step(low, high, peak, rule, scale, zero_point, minimum)
    real(wp), intent(in) :: low, high, peak
    type(code_rule), intent(in) :: rule
    real(wp), intent(out) :: scale, minimum
    integer(i32), intent(out) :: zero_point
    real(wp) :: bottom, top, levels

    zero_point = 0
    minimum = 0
    levels = real(rule%qmax - rule%qmin, wp)
    select case (rule%scheme)
    case (SCHEME_SYMMETRIC)
      select case (rule%convention)
      case (SCALE_ABSMAX)
        scale = step_of(abs(peak), real(rule%qmax, wp))
      case (SCALE_ABSMAX_HALF)
        scale = step_of(abs(peak), levels/2)
      case default
        scale = step_of(abs(peak), -real(rule%qmin, wp))
        if (peak > 0) scale = -scale
      end select
    case (SCHEME_AFFINE)
      bottom = min(low, 0.0_wp)
      top = max(high, 0.0_wp)
      scale = step_between(bottom, top, levels)
      zero_point = int(min(half_even(-bottom/scale), levels), i32)
    case default
      scale = step_between(low, high, levels)
      minimum = low
    end select
  end subroutine find_step

  !> `spread/levels`, where `spread` may exceed the largest real; so may the step if `levels` is 1.
  pure function step_between(bottom, top, levels) result(step)
    real(wp), intent(in) :: bottom, top, levels
    real(wp) :: step

    if (top - bottom <= huge(step)) then
      step = step_of(top - bottom, levels)
    else
      step = min(top/levels - bottom/levels, huge(step))
    end if
  end function step_between

  !> `spread/levels`; 1 for no spread; never so small, among the denormals, that codes fall short of
  !> it.
  pure function step_of(spread, levels) result(step)
    real(wp), intent(in) :: spread, levels
    real(wp) :: step

    step = 1
    if (spread > 0) step = spread/levels
    if (step < tiny(step)) then
      if (step*levels < spread) step = nearest(step, 1.0_wp)
    end if
  end function step_of

  !> The reals that the codes of values that share a scale stand for.
  pure subroutine round_run(w, rule, scale, zero_point, minimum, before, out)
    real(wp), intent(in), contiguous :: w(:)     !! values, `(n)`
    type(code_rule), intent(in) :: rule          !! how reals become codes
    real(wp), intent(in) :: scale                !! step of a code
    integer(i32), intent(in) :: zero_point       !! code of 0
    real(wp), intent(in) :: minimum              !! value of code 0
    integer(i64), intent(in) :: before           !! elements of the tensor that precede these
    real(wp), intent(out), contiguous :: out(:)  !! reals, `(n)`
    integer(i32) :: codes(RUN)
    integer(i64) :: first, last

    do first = 1, size(w, kind=i64), RUN
      last = min(first + RUN - 1, size(w, kind=i64))
      call encode_group(w(first:last), map_of(rule, scale, zero_point, minimum), rule, &
        before + first - 1, codes(1:last - first + 1))
      call decode_run(codes(1:last - first + 1), scale, zero_point, minimum, out(first:last))
    end do
  end subroutine round_run

  !> Packed codes of neighbouring columns of one row; `first` is the number of the first one in its
  !> row (one more than a multiple of 8), `before` the elements of the tensor that precede it.
  pure subroutine encode_columns(w, first, before, rule, group_size, scale, zero_point, minimum, &
    packed)
    real(wp), intent(in), contiguous :: w(:)
    integer(i64), intent(in) :: first, before, group_size
    type(code_rule), intent(in) :: rule
    real(wp), intent(in), contiguous :: scale(:), minimum(:)
    integer(i32), intent(in), contiguous :: zero_point(:)
    integer(i8), intent(out), contiguous :: packed(:)
    integer(i32) :: codes(RUN)
    integer(i64) :: start, finish, from, to, g

    do start = 1, size(w, kind=i64), RUN
      finish = min(start + RUN - 1, size(w, kind=i64))
      from = start
      do while (from <= finish)
        g = (first + from - 2)/group_size + 1
        to = min(finish, g*group_size - first + 1)
        call encode_group(w(from:to), map_of(rule, scale(g), zero_point(g), minimum(g)), rule, &
          before + from - 1, codes(from - start + 1:to - start + 1))
        from = to + 1
      end do
      call pack_run(codes(1:finish - start + 1), int(rule%bits, i32), &
        packed((start - 1)*rule%bits/8 + 1:(finish*rule%bits + 7)/8))
    end do
  end subroutine encode_columns

  !> The map of one group.  Halving everything where the range is near the largest real avoids
  !> overflow and, being exact, changes nothing else.
  pure function map_of(rule, scale, zero_point, minimum) result(map)
    type(code_rule), intent(in) :: rule
    real(wp), intent(in) :: scale, minimum
    integer(i32), intent(in) :: zero_point
    type(group_map) :: map

    map%factor = merge(0.5_wp, 1.0_wp, abs(scale) > huge(scale)/2.0_wp**17)
    map%base = map%factor*minimum
    map%step = map%factor*scale
    map%zero_point = zero_point
    map%low = real(rule%qmin - zero_point, wp)
    map%high = real(rule%qmax - zero_point, wp)
    if (rule%wraps /= 0) then
      map%low = -2.0_wp**int(rule%bits, i32)
      map%high = 2.0_wp**int(rule%bits, i32)
    end if
  end function map_of

  !> Codes of values that share a map; wrapping takes the value modulo the period before, the code
  !> modulo the period after.
  pure subroutine encode_group(w, map, rule, before, codes)
    real(wp), intent(in), contiguous :: w(:)
    type(group_map), intent(in) :: map
    type(code_rule), intent(in) :: rule
    integer(i64), intent(in) :: before
    integer(i32), intent(out), contiguous :: codes(:)
    real(wp) :: remainder(RUN), period
    integer(i32) :: unused
    integer(i64) :: i, n

    if (rule%wraps /= 0) then
      n = size(w, kind=i64)
      period = map%step/map%factor*2.0_wp**int(rule%bits, i32)
      do i = 1, n
        remainder(i) = mod(w(i), period)
      end do
      call encode_run(remainder(1:n), map, rule, before, codes)
      unused = 32 - int(rule%bits, i32)
      if (rule%qmin < 0) then
        codes = shifta(shiftl(codes, unused), unused)
      else
        codes = shiftr(shiftl(codes, unused), unused)
      end if
    else
      call encode_run(w, map, rule, before, codes)
    end if
  end subroutine encode_group

  !> `codes = round(ratio) + zero_point`, a loop for each rounding.  Bounds are integers and
  !> rounding is monotonic, so that clipping before rounding equals clipping after it, and
  !> conversions stay in range.
  pure subroutine encode_run(w, map, rule, before, codes)
    real(wp), intent(in), contiguous :: w(:)
    type(group_map), intent(in) :: map
    type(code_rule), intent(in) :: rule
    integer(i64), intent(in) :: before
    integer(i32), intent(out), contiguous :: codes(:)
    real(wp) :: x(RUN)
    integer(i64) :: i, n

    n = size(w, kind=i64)
    if (rule%reciprocal /= 0 .and. abs(1/map%step) <= huge(map%step)) then
      do i = 1, n
        x(i) = clipped((map%factor*w(i) - map%base)*(1/map%step), map)
      end do
    else
      do i = 1, n
        x(i) = clipped((map%factor*w(i) - map%base)/map%step, map)
      end do
    end if
    select case (rule%rounding)
    case (ROUND_HALF_EVEN)
      do i = 1, n
        codes(i) = int(half_even(x(i)), i32) + map%zero_point
      end do
    case (ROUND_HALF_AWAY)
      do i = 1, n
        codes(i) = half_away(x(i)) + map%zero_point
      end do
    case (ROUND_HALF_UP)
      do i = 1, n
        codes(i) = half_up(x(i)) + map%zero_point
      end do
    case (ROUND_TRUNC)
      do i = 1, n
        codes(i) = int(x(i), i32) + map%zero_point
      end do
    case (ROUND_FLOOR)
      do i = 1, n
        codes(i) = floored(x(i)) + map%zero_point
      end do
    case default
      do i = 1, n
        codes(i) = stochastic_round(x(i), uniform(rule%seed, before + i)) + map%zero_point
      end do
    end select
  end subroutine encode_run

  !> Reals of neighbouring columns of one row; see `encode_columns`.
  pure subroutine decode_columns(packed, bits, signed, first, group_size, scale, zero_point, &
    minimum, out)
    integer(i8), intent(in), contiguous :: packed(:)
    integer(i32), intent(in) :: bits
    logical, intent(in) :: signed
    integer(i64), intent(in) :: first, group_size
    real(wp), intent(in), contiguous :: scale(:), minimum(:)
    integer(i32), intent(in), contiguous :: zero_point(:)
    real(wp), intent(out), contiguous :: out(:)
    integer(i32) :: codes(RUN)
    integer(i64) :: start, finish, from, to, g

    do start = 1, size(out, kind=i64), RUN
      finish = min(start + RUN - 1, size(out, kind=i64))
      call unpack_run(packed((start - 1)*bits/8 + 1:(finish*bits + 7)/8), bits, signed, &
        codes(1:finish - start + 1))
      from = start
      do while (from <= finish)
        g = (first + from - 2)/group_size + 1
        to = min(finish, g*group_size - first + 1)
        call decode_run(codes(from - start + 1:to - start + 1), scale(g), zero_point(g), &
          minimum(g), out(from:to))
        from = to + 1
      end do
    end do
  end subroutine decode_columns

  !> Reals of codes that share a scale.
  pure subroutine decode_run(codes, scale, zero_point, minimum, out)
    integer(i32), intent(in), contiguous :: codes(:)
    real(wp), intent(in) :: scale, minimum
    integer(i32), intent(in) :: zero_point
    real(wp), intent(out), contiguous :: out(:)
    real(wp) :: factor, base, step, value
    integer(i64) :: i

    factor = merge(0.5_wp, 1.0_wp, abs(scale) > huge(scale)/2.0_wp**17)
    base = factor*minimum
    step = factor*scale
    do i = 1, size(codes, kind=i64)
      value = base + real(codes(i) - zero_point, wp)*step
      out(i) = min(max(value, -factor*huge(value)), factor*huge(value))*(1/factor)
    end do
  end subroutine decode_run

  !> `x` no less than `map%low` and no more than `map%high`.
  pure elemental function clipped(x, map) result(y)
    real(wp), intent(in) :: x
    type(group_map), intent(in) :: map
    real(wp) :: y

    y = min(max(x, map%low), map%high)
  end function clipped

  !> Nearest integer, ties away from zero.
  pure elemental function half_away(x) result(n)
    real(wp), intent(in) :: x
    integer(i32) :: n

    n = int(abs(x), i32)
    n = n + merge(1, 0, abs(x) - real(n, wp) >= 0.5_wp)
    n = merge(-n, n, x < 0)
  end function half_away

  !> Nearest integer, ties upwards.
  pure elemental function half_up(x) result(n)
    real(wp), intent(in) :: x
    integer(i32) :: n

    n = floored(x)
    n = n + merge(1, 0, x - real(n, wp) >= 0.5_wp)
  end function half_up

  !> Largest integer not above `x`.
  pure elemental function floored(x) result(n)
    real(wp), intent(in) :: x
    integer(i32) :: n

    n = int(x, i32)
    n = n - merge(1, 0, real(n, wp) > x)
  end function floored

  !> One of the two neighbouring integers: the upper one if `u`, uniform on [0, 1), is below the
  !> fraction.
  pure elemental function stochastic_round(x, u) result(n)
    real(wp), intent(in) :: x, u
    integer(i32) :: n

    n = floored(x)
    n = n + merge(1, 0, u < x - real(n, wp))
  end function stochastic_round

  !> The `counter`-th output, counted from 1, of SplitMix64 (Steele, Lea & Flood 2014) as a real on
  !> [0, 1).
  pure elemental function uniform(seed, counter) result(u)
    integer(i64), intent(in) :: seed, counter
    real(wp) :: u
    integer(i64) :: z

    z = seed + counter*(-7046029254386353131_i64)
    z = ieor(z, shiftr(z, 30))*(-4658895280553007687_i64)
    z = ieor(z, shiftr(z, 27))*(-7723592293110705685_i64)
    z = ieor(z, shiftr(z, 31))
    u = real(shiftr(z, 64 - digits(u)), wp)*0.5_wp**digits(u)
  end function uniform

  include 'fq_half_even.inc'
  include 'fq_order.inc'
end module fq_quantize_real32
