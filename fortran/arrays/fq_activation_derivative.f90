!> Derivatives of the activation functions; not of softmax, whose derivative is a matrix.
module fq_activation_derivative_real32
  use fq_activation_kind, only: ACT_CLIPPED_RELU, ACT_ELU, ACT_EXP, ACT_GELU, ACT_GELU_TANH, &
    ACT_LEAKY_RELU, ACT_NONE, ACT_RELU, ACT_SIGMOID, ACT_SILU, ACT_SOFTPLUS, ACT_TANH
  use fq_activation_real32, only: activate_row
  use fq_kinds, only: i32, i64, wp => sp
  implicit none (type, external)
  private
  public :: differentiate, needs_sums

contains

  !> Whether the derivative of an activation function is found from what came before it.
  pure function needs_sums(activation) result(needs)
    integer(i32), intent(in) :: activation  !! one of ACT_...
    logical :: needs

    needs = all(activation /= [ACT_NONE, ACT_RELU, ACT_TANH, ACT_SIGMOID, ACT_EXP])
  end function needs_sums

  !> A gradient by outputs becomes that by sums: times the derivative of the activation function.
  subroutine differentiate(activation, slope, n, sums, outputs, gradient)
    integer(i32), intent(in) :: activation    !! one of ACT_... but ACT_SOFTMAX
    real(wp), intent(in) :: slope             !! parameter of the activation
    integer(i64), intent(in) :: n             !! entries
    real(wp), intent(in) :: sums(n)           !! arguments; not looked at unless it `needs_sums`
    real(wp), intent(in) :: outputs(n)        !! values
    real(wp), intent(inout) :: gradient(n)    !! in: by outputs; out: by sums
    integer(i64), parameter :: RUN = 512
    real(wp) :: factor(RUN)
    integer(i64) :: first, last

    if (activation == ACT_NONE) return
    do first = 1, n, RUN
      last = min(first + RUN - 1, n)
      call find_derivative(activation, slope, last - first + 1, sums(first), outputs(first), factor)
      gradient(first:last) = gradient(first:last)*factor(1:last - first + 1)
    end do
  end subroutine differentiate

  !> Derivative of an activation function at z, where its value is y.
  subroutine find_derivative(activation, slope, n, z, y, d)
    integer(i32), intent(in) :: activation
    real(wp), intent(in) :: slope
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: z(n), y(n)
    real(wp), intent(out) :: d(n)
    real(wp), parameter :: CUBIC = 3*0.044715_wp, FAR = 30  ! where it is 0 or 1
    real(wp), parameter :: PI = 3.14159265358979323846_wp

    select case (activation)
    case (ACT_RELU)
      d = merge(1.0_wp, 0.0_wp, y > 0)
    case (ACT_LEAKY_RELU)
      d = merge(1.0_wp, slope, z > 0)
    case (ACT_CLIPPED_RELU)
      d = merge(1.0_wp, 0.0_wp, z > 0 .and. z <= slope)
    case (ACT_ELU)
      d = merge(1.0_wp, y + slope, z > 0)
    case (ACT_EXP)
      d = y
    case (ACT_TANH)
      d = 1 - y*y
    case (ACT_SIGMOID)
      d = y*(1 - y)
    case (ACT_SILU)
      d = ratio(y, z)
      d = d + y*(1 - d)
    case (ACT_SOFTPLUS)
      d = z
      call activate_row(ACT_SIGMOID, 0.0_wp, d)
    case (ACT_GELU)  ! e**(-z**2/2) = s/(1 - s), s its sigmoid
      d = max(-z*z/2, -FAR*FAR/2)
      call activate_row(ACT_SIGMOID, 0.0_wp, d)
      d = ratio(y, z) + merge(z*(d/(1 - d)/sqrt(2*PI)), 0.0_wp, abs(z) < FAR)
    case (ACT_GELU_TANH)
      d = ratio(y, z)
      d = d + z*(2*d*(1 - d))*(sqrt(2/PI)*(1 + CUBIC*min(abs(z), FAR)**2))
    case default  ! ACT_NONE
      d = 1
    end select
  end subroutine find_derivative

  !> `y/z`, which is 1/2 at 0 for the activation functions that are z times a distribution.
  pure elemental function ratio(y, z) result(r)
    real(wp), intent(in) :: y, z
    real(wp) :: r

    r = merge(y/z, 0.5_wp, abs(z) > sqrt(tiny(z)))
  end function ratio
end module fq_activation_derivative_real32
