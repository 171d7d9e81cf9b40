!> Activation functions.
!>
!> Python: `pyfq/activation.py`.  Reference: `pyfq/reference/activation.py`.
module fq_activation_real32
  use fq_activation_kind, only: ACT_GELU, ACT_GELU_TANH, ACT_LEAKY_RELU, ACT_RELU, ACT_SIGMOID, &
    ACT_SILU, ACT_SOFTMAX, ACT_SOFTPLUS, ACT_TANH
  use fq_kinds, only: i32, i64, wp => sp
  use fq_team, only: SMALL_RANKING
  implicit none (type, external)
  private
  include 'fq_activation.inc'
end module fq_activation_real32

!> The same for float64.
module fq_activation_real64
  use fq_activation_kind, only: ACT_GELU, ACT_GELU_TANH, ACT_LEAKY_RELU, ACT_RELU, ACT_SIGMOID, &
    ACT_SILU, ACT_SOFTMAX, ACT_SOFTPLUS, ACT_TANH
  use fq_kinds, only: i32, i64, wp => dp
  use fq_team, only: SMALL_RANKING
  implicit none (type, external)
  private
  include 'fq_activation.inc'
end module fq_activation_real64
