!> A network's forward pass in one call.
!>
!> Python: `pyfq/network.py`.  Reference: `pyfq/reference/network.py`.
module fq_network_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_NONE
  use fq_block_real32, only: aligned_start, LANES, LINE
  use fq_code_layers_real32, only: forward_codes
  use fq_kinds, only: i8, i16, i32, i64, sp, wp => sp
  use fq_linear_real32, only: linear_codes, linear_nibbles, quantize_int8
  use fq_matmul_real32, only: B_PACKED, B_TRANSPOSED, matmul_blocked, matmul_codes, &
    matmul_levels
  use fq_block_real32, only: HALF_LANES => LANES
  use fq_mixed_real32, only: multiply_half
  use fq_nibbles_real32, only: PANEL_ROWS
  use fq_plan, only: FORM_CODE_PANELS, FORM_CODES, FORM_CSR, FORM_HALF, FORM_LEVELS, &
    FORM_NIBBLES, FORM_PAIR_CODES, FORM_PAIRS, FORM_PANELS, FORM_ROWS, FORM_STATIC, FORM_STREAM, &
    plan_status, planned_ends, planned_layer
  use fq_sparse_real32, only: sparse_codes, sparse_pairs, sparse_row, sparse_scatter, sparse_stream
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FITTING, FQ_NOT_KNOWN, FQ_OK
  use fq_team, only: SMALL_PRODUCT
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  include 'fq_network.inc'
end module fq_network_real32

!> The same for float64.
module fq_network_real64
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_NONE
  use fq_block_real64, only: aligned_start, LANES, LINE
  use fq_code_layers_real64, only: forward_codes
  use fq_kinds, only: i8, i16, i32, i64, sp, wp => dp
  use fq_linear_real64, only: linear_codes, linear_nibbles, quantize_int8
  use fq_matmul_real64, only: B_PACKED, B_TRANSPOSED, matmul_blocked, matmul_codes, &
    matmul_levels
  use fq_block_real32, only: HALF_LANES => LANES
  use fq_mixed_real32, only: multiply_half
  use fq_nibbles_real64, only: PANEL_ROWS
  use fq_plan, only: FORM_CODE_PANELS, FORM_CODES, FORM_CSR, FORM_HALF, FORM_LEVELS, &
    FORM_NIBBLES, FORM_PAIR_CODES, FORM_PAIRS, FORM_PANELS, FORM_ROWS, FORM_STATIC, FORM_STREAM, &
    plan_status, planned_ends, planned_layer
  use fq_sparse_real64, only: sparse_codes, sparse_pairs, sparse_row, sparse_scatter, sparse_stream
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FITTING, FQ_NOT_KNOWN, FQ_OK
  use fq_team, only: SMALL_PRODUCT
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  include 'fq_network.inc'
end module fq_network_real64
