!> Which activation function follows a layer.  Mirrored in `pyfq/arrays/activation.py`.
!>
!> A number goes with some, `slope` everywhere: the factor below 0 of ACT_LEAKY_RELU, the largest
!> value of ACT_CLIPPED_RELU, alpha of ACT_ELU.
module fq_activation_kind
  use fq_kinds, only: i32
  implicit none (type, external)
  private
  integer(i32), parameter, public :: ACT_NONE = 0, ACT_RELU = 1, ACT_LEAKY_RELU = 2, &
    ACT_CLIPPED_RELU = 3, ACT_TANH = 4, ACT_SIGMOID = 5, ACT_GELU = 6, ACT_GELU_TANH = 7, &
    ACT_SILU = 8, ACT_SOFTPLUS = 9, ACT_ELU = 10, ACT_EXP = 11, &
    ACT_SOFTMAX = 12
  public :: is_activation

contains

  !> Whether a code is one of these.
  pure function is_activation(code) result(known)
    integer(i32), intent(in) :: code
    logical :: known

    known = code >= ACT_NONE .and. code <= ACT_SOFTMAX
  end function is_activation
end module fq_activation_kind
