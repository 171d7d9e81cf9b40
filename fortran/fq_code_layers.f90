!> Layers whose inputs are codes of a fixed scale, one after the other: from codes to codes.
module fq_code_layers_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_NONE, ACT_RELU, ACT_SOFTMAX
  use fq_activation_real32, only: activate_row
  use fq_codes, only: aligned_start, CODE_COLS, CODE_KIND, CODE_MASK, CODE_ROWS, CODE_SHIFT, &
    CODE_STEPS, multiply_codes, padded_steps
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_plan, only: planned_ends, planned_layer
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_PRODUCT
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  include 'fq_code_layers.inc'
end module fq_code_layers_real32

!> The same for float64.
module fq_code_layers_real64
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_NONE, ACT_RELU, ACT_SOFTMAX
  use fq_activation_real64, only: activate_row
  use fq_codes, only: aligned_start, CODE_COLS, CODE_KIND, CODE_MASK, CODE_ROWS, CODE_SHIFT, &
    CODE_STEPS, multiply_codes, padded_steps
  use fq_kinds, only: i8, i32, i64, wp => dp
  use fq_plan, only: planned_ends, planned_layer
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_PRODUCT
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  include 'fq_code_layers.inc'
end module fq_code_layers_real64
