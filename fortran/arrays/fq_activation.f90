!> Activation functions, each one formula for all arguments, without branches and without libm.
!>
!> All is additions, multiplications and divisions, rounded one by one: the same bits on every
!> machine and in NumPy.  Polynomials are minimax, by Remez' exchange algorithm in 50 digits, and
!> split into even and odd powers, which a processor can do at the same time.  Their errors are
!> relative, with coefficients rounded.
!>
!> Python: `pyfq/arrays/activation.py`.  Reference: `pyfq/reference/arrays/activation.py`.
module fq_activation_real32
  use fq_activation_constants_real32, only: BIAS, CUBIC_0, CUBIC_1, CUBIC_END, EXP_END, &
    EXP_EVEN, EXP_ODD, EXP_TOP, FRACTION_BITS, GELU_END, GELU_EVEN, GELU_FIRST, GELU_ODD, LN2, &
    LOG_EVEN, LOG_FIRST, LOG_MIDDLE, LOG_ODD, LOWER, ONE_CUBIC, ONE_EXP, ONE_TANH, RAISE, &
    SILU_END, SOFTMAX_PLAIN
  use fq_activation_kind, only: ACT_CLIPPED_RELU, ACT_ELU, ACT_EXP, ACT_GELU, ACT_GELU_TANH, &
    ACT_LEAKY_RELU, ACT_RELU, ACT_SIGMOID, ACT_SILU, ACT_SOFTMAX, ACT_SOFTPLUS, ACT_TANH
  use fq_kinds, only: dp, i32, i64, ik => i32, wp => sp
  use fq_work_size, only: SMALL_RANKING, SMALL_WORK
  implicit none (type, external)
  private
  public :: activate, activate_row

  integer(i64), parameter :: LANE_COUNT = 16       ! elements of the longest vector; sums of softmax
  integer(i64), parameter :: RUN = 112             ! elements of a stage: its arrays stay in L1
  integer(i64), parameter :: TILE = 40*RUN         ! elements of a task
  real(wp), parameter :: ZEROS(RUN) = 0, GELU_MAP = 5, GELU_MIDDLE = 0.4375_wp
  real(wp), parameter :: MINUS_HALF = -0.5_wp, MINUS_TWO = -2
  real(wp), parameter :: LOG2E = 1.44269504088896340736_wp
  real(wp), parameter :: SHIFT = 1.5_wp*2.0_wp**FRACTION_BITS   ! SHIFT + x rounds x to an integer
  real(wp), parameter :: UP = 2.0_wp**RAISE, DOWN = 2.0_wp**(-RAISE)
  real(wp), parameter :: HALF_UP = 2.0_wp**(RAISE/2), HALF_DOWN = 2.0_wp**(-RAISE/2)
  real(wp), parameter :: LOG_UP(2) = real(RAISE, wp)*LN2        ! ln UP, in two parts

contains

  !> An activation function of every row.
  subroutine activate(activation, slope, x, y, threads)
    integer(i32), intent(in) :: activation        !! one of ACT_...
    real(wp), intent(in) :: slope                 !! parameter of the activation
    real(wp), intent(in), contiguous :: x(:, :)   !! arguments, `(cols, rows)`
    real(wp), intent(out), contiguous :: y(:, :)  !! values, `(cols, rows)`
    integer(i32), intent(in) :: threads           !! threads to use, at least 1
    integer(i64) :: k, r, tiles, first, last, width

    width = merge(max(1_i64, size(x, 1, kind=i64)), TILE, activation == ACT_SOFTMAX)
    tiles = (size(x, 1, kind=i64) + width - 1)/width
    !$omp parallel do default(none) private(r, first, last) schedule(static) &
    !$omp shared(activation, slope, x, y, tiles, width) num_threads(threads) &
    !$omp if(size(x, kind=i64) > merge(SMALL_WORK, SMALL_RANKING, activation <= ACT_CLIPPED_RELU))
    do k = 0, tiles*size(x, 2, kind=i64) - 1
      r = k/tiles + 1
      first = mod(k, tiles)*width + 1
      last = min(first + width - 1, size(x, 1, kind=i64))
      y(first:last, r) = x(first:last, r)
      call activate_row(activation, slope, y(first:last, r))
    end do
  end subroutine activate

  !> An activation function of one row, in place; but for ACT_SOFTMAX, of any run of a row.
  pure subroutine activate_row(activation, slope, x)
    integer(i32), intent(in) :: activation       !! one of ACT_...
    real(wp), intent(in) :: slope                !! parameter of the activation
    real(wp), intent(inout), contiguous :: x(:)  !! in: arguments; out: values, `(cols)`
    real(wp) :: rest(LANE_COUNT)
    integer(i64) :: first, whole, n

    n = size(x, kind=i64)
    if (activation == ACT_SOFTMAX) then
      if (n > 0) call softmax_row(x)
      return
    end if
    whole = n/LANE_COUNT*LANE_COUNT
    do first = 1, whole, RUN
      call activate_run(activation, slope, x(first:min(first + RUN - 1, whole)))
    end do
    if (whole < n) then
      rest = 0
      rest(1:n - whole) = x(whole + 1:)
      call activate_run(activation, slope, rest)
      x(whole + 1:) = rest(1:n - whole)
    end if
  end subroutine activate_row

  !> A function of each element of a run of at most RUN elements, a multiple of LANE_COUNT.
  !>
  !> A run goes through short loops, its stages, because a processor looks ahead only some 100
  !> instructions for one that need not wait.
  pure subroutine activate_run(activation, slope, x)
    integer(i32), intent(in) :: activation
    real(wp), intent(in) :: slope
    real(wp), intent(inout), contiguous :: x(:)

    select case (activation)
    case (ACT_RELU)
      call relu_run(x)
    case (ACT_LEAKY_RELU)
      call leaky_relu_run(slope, x)
    case (ACT_CLIPPED_RELU)
      call clipped_relu_run(slope, x)
    case (ACT_TANH)
      call tanh_run(x)
    case (ACT_SIGMOID)
      call sigmoid_run(x)
    case (ACT_GELU)
      call gelu_run(x)
    case (ACT_GELU_TANH)
      call gelu_tanh_run(x)
    case (ACT_SILU)
      call silu_run(x)
    case (ACT_SOFTPLUS)
      call softplus_run(x)
    case (ACT_ELU)
      call elu_run(slope, x)
    case (ACT_EXP)
      call exp_run(x)
    case default  ! ACT_NONE
      continue
    end select
  end subroutine activate_run

  !> \( e^{x_i - m} / \sum_j e^{x_j - m} \) with \( m = \max x \).
  !>
  !> The exponentials are summed in float64, runs in 16 lanes, and the lanes of the runs are added.
  pure subroutine softmax_row(x)
    real(wp), intent(inout), contiguous :: x(:)
    real(wp) :: largest, rest(RUN)
    real(dp) :: lanes(LANE_COUNT)
    integer(i64) :: first, whole, n

    n = size(x, kind=i64)
    whole = n/RUN*RUN
    largest = largest_of(x)
    lanes = 0
    do first = 1, whole, RUN
      call softmax_run(x(first:first + RUN - 1), largest, lanes)
    end do
    if (whole < n) then
      rest = largest - huge(largest)    ! adds nothing to the sum
      rest(1:n - whole) = x(whole + 1:)
      call softmax_run(rest(1:(n - whole + LANE_COUNT - 1)/LANE_COUNT*LANE_COUNT), largest, lanes)
      x(whole + 1:) = rest(1:n - whole)
    end if
    call scale_run(x, real(1/lane_sum(lanes), wp))
  end subroutine softmax_row

  !> The largest of a run, in 16 lanes; NaN counts for nothing.
  pure function largest_of(x) result(largest)
    real(wp), intent(in), contiguous :: x(:)
    real(wp) :: largest, lanes(LANE_COUNT)
    integer(i64) :: i, lane, whole

    lanes = -huge(lanes)
    whole = size(x, kind=i64)/LANE_COUNT*LANE_COUNT
    do i = 0, whole - 1, LANE_COUNT
      do lane = 1, LANE_COUNT
        lanes(lane) = merge(x(i + lane), lanes(lane), x(i + lane) > lanes(lane))
      end do
    end do
    largest = maxval(lanes)
    do i = whole + 1, size(x, kind=i64)
      if (x(i) > largest) largest = x(i)
    end do
  end function largest_of

  !> Replace each element of a run by \( e^{x - m} \), but for a factor near 1 that is common to the
  !> row, and add their sums to the lanes.
  !>
  !> A difference from the largest would be rounded.  So the largest is taken off the exponent
  !> instead, and off the argument only where it is so large that this is exact (Sterbenz).
  pure subroutine softmax_run(x, largest, lanes)
    real(wp), intent(inout), contiguous :: x(:)
    real(wp), intent(in) :: largest
    real(dp), intent(inout) :: lanes(LANE_COUNT)
    real(wp) :: a(RUN), power(RUN), excess(RUN), offset, top, lowest
    real(dp) :: sums(LANE_COUNT)
    integer(ik) :: raise_by
    integer(i64) :: i, lane, n

    n = whole_lanes(x)
    offset = merge(0.0_wp, largest, abs(largest) < SOFTMAX_PLAIN)
    top = largest - offset
    lowest = top - EXP_END
    raise_by = RAISE/2 - (transfer(top*LOG2E + SHIFT, 0_ik) - transfer(SHIFT, 0_ik))
    do i = 1, n
      a(i) = at_least(lowest, x(i) - offset)
    end do
    call split_exp(n, a, ZEROS, raise_by, power, excess)
    do i = 1, n
      power(i) = merge(0.0_wp, power(i), x(i) - offset < lowest)
      x(i) = (power(i) + power(i)*excess(i))*HALF_DOWN
    end do
    sums = 0
    do i = 0, n - 1, LANE_COUNT
      do lane = 1, LANE_COUNT
        sums(lane) = sums(lane) + real(x(i + lane), dp)
      end do
    end do
    lanes = lanes + sums
  end subroutine softmax_run

  pure subroutine scale_run(x, factor)
    real(wp), intent(inout), contiguous :: x(:)
    real(wp), intent(in) :: factor
    integer(i64) :: i

    do i = 1, size(x, kind=i64)
      x(i) = x(i)*factor
    end do
  end subroutine scale_run

  pure subroutine relu_run(x)
    real(wp), intent(inout), contiguous :: x(:)
    integer(i64) :: i

    do i = 1, whole_lanes(x)
      x(i) = merge(0.0_wp, x(i), x(i) < 0)
    end do
  end subroutine relu_run

  pure subroutine leaky_relu_run(slope, x)
    real(wp), intent(in), value :: slope
    real(wp), intent(inout), contiguous :: x(:)
    integer(i64) :: i

    do i = 1, whole_lanes(x)
      x(i) = x(i)*merge(slope, 1.0_wp, x(i) < 0)
    end do
  end subroutine leaky_relu_run

  !> \( \min(\max(x, 0), c) \) with a largest value c.
  pure subroutine clipped_relu_run(ceiling, x)
    real(wp), intent(in), value :: ceiling
    real(wp), intent(inout), contiguous :: x(:)
    integer(i64) :: i

    do i = 1, whole_lanes(x)
      x(i) = merge(0.0_wp, at_most(ceiling, x(i)), x(i) < 0)
    end do
  end subroutine clipped_relu_run

  !> \( \tanh x = (1 - e)/(1 + e) \) with \( e = e^{-2|x|} \).
  !>
  !> What rounding took from the denominator, times the quotient, comes off the numerator.
  pure subroutine tanh_run(x)
    real(wp), intent(inout), contiguous :: x(:)
    real(wp) :: a(RUN), power(RUN), excess(RUN), rest, denominator, lost, numerator
    integer(i64) :: i, n

    n = whole_lanes(x)
    do i = 1, n
      a(i) = MINUS_TWO*at_most(ONE_TANH, abs(x(i)))
    end do
    call split_exp(n, a, ZEROS, 0_ik, power, excess)
    do i = 1, n
      rest = power(i)*excess(i)
      denominator = (1 + power(i)) + rest
      lost = rest - (denominator - (1 + power(i)))
      numerator = (1 - power(i)) - rest
      numerator = (1 - power(i)) - (rest + (1 - power(i))*numerator*lost)
      x(i) = sign(numerator/denominator, x(i))
    end do
  end subroutine tanh_run

  !> \( 1/(1 + e^{-x}) \).
  pure subroutine sigmoid_run(x)
    real(wp), intent(inout), contiguous :: x(:)
    real(wp) :: a(RUN), power(RUN), excess(RUN)
    integer(i64) :: i, n

    n = whole_lanes(x)
    do i = 1, n
      a(i) = -at_most(ONE_EXP, at_least(-EXP_END, x(i)))
    end do
    call split_exp(n, a, ZEROS, -RAISE, power, excess)
    do i = 1, n
      x(i) = DOWN/one_plus_exp(power(i), excess(i))
    end do
  end subroutine sigmoid_run

  !> \( x/(1 + e^{-x}) \).
  pure subroutine silu_run(x)
    real(wp), intent(inout), contiguous :: x(:)
    real(wp) :: a(RUN), power(RUN), excess(RUN)
    integer(i64) :: i, n

    n = whole_lanes(x)
    do i = 1, n
      a(i) = -min(max(x(i), -SILU_END), ONE_EXP)
    end do
    call split_exp(n, a, ZEROS, -RAISE, power, excess)
    do i = 1, n
      x(i) = merge(-a(i)/one_plus_exp(power(i), excess(i))*DOWN, x(i), x(i) <= ONE_EXP)
    end do
  end subroutine silu_run

  !> \( x/(1 + e^{-u}) \) with \( u = 2 \sqrt{2/\pi} (x + 0.044715 x^3) \), which is
  !> \( x (1 + \tanh(u/2))/2 \).
  !>
  !> An error of u is one of the result, so that u is needed in two parts.  `xh`, `sh` and `gh` have
  !> half the bits each: their products are exact.
  pure subroutine gelu_tanh_run(x)
    real(wp), intent(inout), contiguous :: x(:)
    real(wp) :: a(RUN), b(RUN), power(RUN), excess(RUN), within
    real(wp) :: xh, xl, square, sh, sl, g, gh, gl
    integer(i64) :: i, n

    n = whole_lanes(x)
    do i = 1, n
      within = min(max(x(i), -CUBIC_END), ONE_CUBIC)
      xh = upper(within)
      xl = within - xh
      square = xh*xh + xl*(within + xh)
      sh = upper(square)
      sl = (xh*xh - sh) + xl*(within + xh)
      g = sum(CUBIC_0) + sum(CUBIC_1)*square
      gh = upper(g)
      gl = ((CUBIC_0(1) - gh) + CUBIC_1(1)*sh) + ((sum(CUBIC_1)*sl + CUBIC_1(2)*sh) + CUBIC_0(2))
      a(i) = xh*gh
      b(i) = xh*gl + xl*g
    end do
    call split_exp(n, a, b, -RAISE, power, excess)
    do i = 1, n
      within = max(x(i), -CUBIC_END)
      x(i) = merge(within/one_plus_exp(power(i), excess(i))*DOWN, x(i), x(i) <= ONE_CUBIC)
    end do
  end subroutine gelu_tanh_run

  !> \( x \Phi(x) = \max(x, 0) - |x| \Phi(-|x|) \), where
  !> \( z \Phi(-z) = e^{-z^2/2} \frac{z}{1 + z} \frac{1 + c(z)}{2} \) and c is a series in
  !> \( z/(z + 5) \) (Shepherd & Laframboise 1981, Math. Comp. 36).
  !>
  !> The square is needed in two parts, and so is the quotient: its rounding would be one of the
  !> result.  Neither is c, which is small.
  pure subroutine gelu_run(x)
    real(wp), intent(inout), contiguous :: x(:)
    real(wp) :: z(RUN), zh(RUN), a(RUN), b(RUN), power(RUN), excess(RUN), c(RUN)
    real(wp) :: t, reciprocal, qh, ql
    integer(i64) :: i, n

    n = whole_lanes(x)
    do i = 1, n
      z(i) = min(GELU_END, abs(x(i)))
      zh(i) = upper(z(i))
      a(i) = MINUS_HALF*zh(i)*zh(i)
      b(i) = MINUS_HALF*(z(i) - zh(i))*(z(i) + zh(i))
      c(i) = z(i)/(z(i) + GELU_MAP) - GELU_MIDDLE
    end do
    call split_exp(n, a, b, RAISE/2, power, excess)
    do i = 1, n
      t = c(i)
      c(i) = GELU_FIRST + t*(polynomial(size(GELU_ODD), GELU_ODD, t*t) &
        + t*polynomial(size(GELU_EVEN), GELU_EVEN, t*t))
    end do
    do i = 1, n
      reciprocal = 1/(1 + z(i))
      qh = upper(z(i)*reciprocal)
      ql = (((z(i) - qh) - qh*zh(i)) - qh*(z(i) - zh(i)))*reciprocal
      t = excess(i) + (c(i) + excess(i)*c(i))
      t = power(i)*(qh + (ql + (qh + ql)*t))*(MINUS_HALF*HALF_DOWN)
      x(i) = merge(0.0_wp, x(i), x(i) < 0) + t
    end do
  end subroutine gelu_run

  !> \( \log(1 + e^x) = \max(x, 0) + \log(1 + e) \) with \( e = e^{-|x|} \).
  !>
  !> \( \log(1 + e) = e (1 - e k(e)) \), whose factor joins that of e.
  pure subroutine softplus_run(x)
    real(wp), intent(inout), contiguous :: x(:)
    real(wp) :: a(RUN), power(RUN), excess(RUN), raised, e, t, k, y
    integer(i64) :: i, n

    n = whole_lanes(x)
    do i = 1, n
      a(i) = -abs(min(max(x(i), -EXP_END), ONE_EXP))
    end do
    call split_exp(n, a, ZEROS, RAISE, power, excess)
    do i = 1, n
      raised = power(i) + power(i)*excess(i)
      e = raised*DOWN
      t = e - LOG_MIDDLE
      k = LOG_FIRST + t*(polynomial(size(LOG_ODD), LOG_ODD, t*t) &
        + t*polynomial(size(LOG_EVEN), LOG_EVEN, t*t))
      y = (power(i)*excess(i) + UP*min(max(x(i), 0.0_wp), ONE_EXP)) - raised*(e*k)
      y = power(i) + y
      x(i) = merge(y*DOWN, x(i), x(i) <= ONE_EXP)
    end do
  end subroutine softplus_run

  !> x, or \( \alpha (e^x - 1) \) where \( x \le 0 \).
  !>
  !> Near 0 the power is 1, and the excess is all there is.
  pure subroutine elu_run(alpha, x)
    real(wp), intent(in), value :: alpha
    real(wp), intent(inout), contiguous :: x(:)
    real(wp) :: a(RUN), power(RUN), excess(RUN), y
    integer(i64) :: i, n

    n = whole_lanes(x)
    do i = 1, n
      a(i) = at_most(0.0_wp, at_least(-ONE_EXP, x(i)))
    end do
    call split_exp(n, a, ZEROS, 0_ik, power, excess)
    do i = 1, n
      y = alpha*(power(i)*excess(i) + (power(i) - 1))
      x(i) = merge(x(i), y, x(i) > 0)
    end do
  end subroutine elu_run

  !> \( e^x \).
  !>
  !> Exponents from that of the least denormal number to the largest are more than a power has.  So
  !> an argument above the logarithm of UP loses that, and its power gets UP back.  The difference
  !> is exact: it is less than the argument and a multiple of its last place.
  pure subroutine exp_run(x)
    real(wp), intent(inout), contiguous :: x(:)
    real(wp) :: a(RUN), b(RUN), power(RUN), excess(RUN)
    integer(i64) :: i, n

    n = whole_lanes(x)
    do i = 1, n
      a(i) = at_most(EXP_TOP, at_least(-EXP_END, x(i)))
      a(i) = a(i) - merge(LOG_UP(1), 0.0_wp, x(i) > LOG_UP(1))
      b(i) = merge(-LOG_UP(2), 0.0_wp, x(i) > LOG_UP(1))
    end do
    call split_exp(n, a, b, RAISE/2, power, excess)
    do i = 1, n
      x(i) = (power(i) + power(i)*excess(i))*merge(HALF_UP, HALF_DOWN, x(i) > LOG_UP(1))
    end do
  end subroutine exp_run

  !> \( 2^{-raise} (1 + e) \) for an e that `split_exp` raised by -RAISE.
  pure elemental function one_plus_exp(power, excess) result(total)
    real(wp), intent(in) :: power, excess
    real(wp) :: total

    total = DOWN + power
    total = total + (power*excess + (DOWN - (total - power)))
  end function one_plus_exp

  !> \( e^{a + b} = 2^n (1 + excess) \), where b is the small part: `power` is \( 2^{n + raise} \).
  !>
  !> Reduction by Cody & Waite 1980, Software Manual for the Elementary Functions: n is the nearest
  !> integer to \( a/\ln 2 \), whose bits the sum with SHIFT ends with.
  pure subroutine split_exp(n, a, b, raise_by, power, excess)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: a(RUN), b(RUN)
    integer(ik), intent(in) :: raise_by
    real(wp), intent(out) :: power(RUN), excess(RUN)
    real(wp) :: doublings, high, low, r
    integer(ik) :: exponent_0
    integer(i64) :: i

    exponent_0 = BIAS + raise_by
    do i = 1, n/LANE_COUNT*LANE_COUNT
      doublings = a(i)*LOG2E + SHIFT
      power(i) = transfer(shiftl(transfer(doublings, 0_ik) + exponent_0, FRACTION_BITS), 0.0_wp)
      doublings = doublings - SHIFT
      high = a(i) - doublings*LN2(1)
      low = b(i) - doublings*LN2(2)
      r = high + low
      excess(i) = high + (low + r*r*(polynomial(size(EXP_EVEN), EXP_EVEN, r*r) &
        + r*polynomial(size(EXP_ODD), EXP_ODD, r*r)))
    end do
  end subroutine split_exp

  !> The length of a run, in a form that tells the compiler that it is a multiple of LANE_COUNT.
  pure function whole_lanes(x) result(n)
    real(wp), intent(in), contiguous :: x(:)
    integer(i64) :: n

    n = size(x, kind=i64)/LANE_COUNT*LANE_COUNT
  end function whole_lanes

  !> Horner's rule.  The length is an argument, so that a constant one unrolls the loop before its
  !> surroundings are vectorised.
  pure function polynomial(n, c, x) result(y)
    integer, intent(in) :: n
    real(wp), intent(in) :: c(n), x
    real(wp) :: y
    integer :: k

    y = c(n)
    !GCC$ unroll 16
    do k = n - 1, 1, -1
      y = c(k) + x*y
    end do
  end function polynomial

  !> The upper half of the significand.
  pure elemental function upper(x) result(y)
    real(wp), intent(in) :: x
    real(wp) :: y

    y = transfer(iand(transfer(x, 0_ik), not(LOWER)), y)
  end function upper

  !> The smaller of two; NaN if x is NaN, which `min` does not promise.
  pure elemental function at_most(bound, x) result(y)
    real(wp), intent(in) :: bound, x
    real(wp) :: y

    y = merge(bound, x, bound < x)
  end function at_most

  pure elemental function at_least(bound, x) result(y)
    real(wp), intent(in) :: bound, x
    real(wp) :: y

    y = merge(bound, x, bound > x)
  end function at_least

  include 'fq_lane_sum.inc'
end module fq_activation_real32
