!> Reals of a row become packed codes, and codes become reals.
module fq_encode_real32
  use fq_code_rule, only: code_rule, ROUND_FLOOR, ROUND_HALF_AWAY, ROUND_HALF_EVEN, ROUND_HALF_UP, &
    ROUND_TRUNC
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_pack_bits, only: pack_run, unpack_run
  implicit none (type, external)
  private
  public :: decode_columns, encode_columns, round_run

  integer(i64), parameter :: RUN = 512             ! codes held unpacked at a time, in L1

  !> What turns the reals of one group into codes: `code = round((factor*w - base)/step) +
  !> zero_point`.
  type, private :: group_map
    real(wp) :: factor, base, step, low, high
    integer(i32) :: zero_point
  end type group_map

contains

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
    real(wp), intent(in), contiguous :: w(:)               !! values of the columns
    integer(i64), intent(in) :: first                      !! number of the first
    integer(i64), intent(in) :: before                     !! elements that precede it
    type(code_rule), intent(in) :: rule                    !! how reals become codes
    integer(i64), intent(in) :: group_size                 !! columns of a group
    real(wp), intent(in), contiguous :: scale(:)           !! step of a code, `(groups)`
    integer(i32), intent(in), contiguous :: zero_point(:)  !! code of 0, `(groups)`
    real(wp), intent(in), contiguous :: minimum(:)         !! value of code 0, `(groups)`
    integer(i8), intent(out), contiguous :: packed(:)      !! codes of the columns
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
    integer(i8), intent(in), contiguous :: packed(:)       !! codes of the columns
    integer(i32), intent(in) :: bits                       !! bits of a code, `1 ... 16`
    logical, intent(in) :: signed                          !! codes are two's complement
    integer(i64), intent(in) :: first                      !! number of the first
    integer(i64), intent(in) :: group_size                 !! columns of a group
    real(wp), intent(in), contiguous :: scale(:)           !! step of a code, `(groups)`
    integer(i32), intent(in), contiguous :: zero_point(:)  !! code of 0, `(groups)`
    real(wp), intent(in), contiguous :: minimum(:)         !! value of code 0, `(groups)`
    real(wp), intent(out), contiguous :: out(:)            !! values of the columns
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
end module fq_encode_real32
