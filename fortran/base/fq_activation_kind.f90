!> Which activation function follows a layer.  Mirrored in `pyfq/arrays/activation.py`.
module fq_activation_kind
  use fq_kinds, only: i32
  implicit none (type, external)
  private
  integer(i32), parameter, public :: ACT_NONE = 0, ACT_RELU = 1, ACT_LEAKY_RELU = 2, &
    ACT_TANH = 3, ACT_SIGMOID = 4, ACT_GELU = 5, ACT_GELU_TANH = 6, ACT_SILU = 7, &
    ACT_SOFTPLUS = 8, ACT_SOFTMAX = 9
  public :: is_activation

contains

  !> Whether a code is one of these.
  pure function is_activation(code) result(known)
    integer(i32), intent(in) :: code
    logical :: known

    known = code >= ACT_NONE .and. code <= ACT_SOFTMAX
  end function is_activation
end module fq_activation_kind
