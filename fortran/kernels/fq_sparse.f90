!> Layers of pruned weights, `y = activation(x w**T + bias)`, that skip what was pruned.
!>
!> Python: `pyfq/sparse.py`.  Reference: `pyfq/reference/sparse.py`.
module fq_sparse_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_SOFTMAX
  use fq_activation_real32, only: activate_row
  use fq_block_real32, only: aligned_start, finish_rows, LANES, turn, TURN_STEPS
  use fq_code_rule, only: code_rule
  use fq_codes, only: CODE_KIND, CODE_SHIFT, CODE_STEPS, code_start => aligned_start, &
    multiply_codes
  use fq_kinds, only: i8, i16, i32, i64, wp => sp
  use fq_quantize_real32, only: quantize
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_team, only: SMALL_PRODUCT, SMALL_WORK
  use, intrinsic :: iso_c_binding, only: c_intptr_t, c_loc
  implicit none (type, external)
  private
  include 'fq_sparse.inc'
end module fq_sparse_real32

!> The same for float64.
module fq_sparse_real64
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_SOFTMAX
  use fq_activation_real64, only: activate_row
  use fq_block_real64, only: aligned_start, finish_rows, LANES, turn, TURN_STEPS
  use fq_code_rule, only: code_rule
  use fq_codes, only: CODE_KIND, CODE_SHIFT, CODE_STEPS, code_start => aligned_start, &
    multiply_codes
  use fq_kinds, only: i8, i16, i32, i64, wp => dp
  use fq_quantize_real64, only: quantize
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_team, only: SMALL_PRODUCT, SMALL_WORK
  use, intrinsic :: iso_c_binding, only: c_intptr_t, c_loc
  implicit none (type, external)
  private
  include 'fq_sparse.inc'
end module fq_sparse_real64
