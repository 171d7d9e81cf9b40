!> What is done to each entry of a product: a bias is added, an activation function applied.
module fq_epilogue_real32
  use fq_activation_kind, only: ACT_NONE
  use fq_kinds, only: i32, wp => sp
  implicit none (type, external)
  private

  !> `activation(sum + bias)`.  The bias itself is an argument of its own, `(n)`.
  type, public :: epilogue
    logical :: has_bias = .false.           !! else bias is not looked at
    integer(i32) :: activation = ACT_NONE   !! one of ACT_...
    real(wp) :: slope = 0                   !! parameter of the activation
  end type epilogue
end module fq_epilogue_real32
