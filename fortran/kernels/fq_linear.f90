!> Layers of quantized weights, applied to activations that are quantized on the fly.
!>
!> Python: `pyfq/linear.py`.  Reference: `pyfq/reference/linear.py`.
module fq_linear_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_SOFTMAX
  use fq_activation_real32, only: activate_row, fill_rows
  use fq_code_rule, only: code_rule
  use fq_codes, only: aligned_start, CODE_KIND, CODE_SHIFT, CODE_STEPS, MAX_STEPS, &
    multiply_codes, padded_steps
  use fq_kinds, only: i8, i16, i32, i64, wp => sp
  use fq_nibbles_real32, only: multiply_nibbles, pack_nibbles, PANEL_ROWS
  use fq_quantize_real32, only: quantize
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_team, only: SMALL_PRODUCT
  implicit none (type, external)
  private
  include 'fq_linear.inc'
end module fq_linear_real32

!> The same for float64.
module fq_linear_real64
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_SOFTMAX
  use fq_activation_real64, only: activate_row, fill_rows
  use fq_code_rule, only: code_rule
  use fq_codes, only: aligned_start, CODE_KIND, CODE_SHIFT, CODE_STEPS, MAX_STEPS, &
    multiply_codes, padded_steps
  use fq_kinds, only: i8, i16, i32, i64, wp => dp
  use fq_nibbles_real64, only: multiply_nibbles, pack_nibbles, PANEL_ROWS
  use fq_quantize_real64, only: quantize
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_team, only: SMALL_PRODUCT
  implicit none (type, external)
  private
  include 'fq_linear.inc'
end module fq_linear_real64
