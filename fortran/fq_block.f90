!> Blocked multiplication of reals: what every product of matrices is made of.
!>
!> The right matrix comes in panels: a vector of columns, step by step of k.  Rows of the left
!> matrix are copied next to each other; a tile of rows times a few panels stays in registers.
module fq_block_real32
  use fq_activation_kind, only: ACT_NONE, ACT_SOFTMAX
  use fq_activation_real32, only: activate_row
  use fq_kinds, only: i32, i64, wp => sp
  use fq_team, only: SMALL_PRODUCT
  use, intrinsic :: iso_c_binding, only: c_loc, c_intptr_t
  implicit none (type, external)
  private
  include 'fq_block.inc'
end module fq_block_real32

!> The same for float64.
module fq_block_real64
  use fq_activation_kind, only: ACT_NONE, ACT_SOFTMAX
  use fq_activation_real64, only: activate_row
  use fq_kinds, only: i32, i64, wp => dp
  use fq_team, only: SMALL_PRODUCT
  use, intrinsic :: iso_c_binding, only: c_loc, c_intptr_t
  implicit none (type, external)
  private
  include 'fq_block.inc'
end module fq_block_real64
