!> Products of matrices of reals, blocked for registers and caches, threaded over tiles of the
!> output.
!>
!> Python: `pyfq/matmul.py`.  Reference: `pyfq/reference/matmul.py`.
module fq_matmul_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_NONE, ACT_SOFTMAX, is_activation
  use fq_block_real32, only: aligned_start, block_entries, BLOCK_COLS, BLOCK_STEPS, copy_rows, &
    divide, dot_rows, finish_rows, LANES, LINE, multiply_block, panels_read, ROW_STEPS, &
    SINGLE_PANELS, TILE_ROWS
  use fq_activation_real32, only: activate_row, fill_rows
  use fq_arguments, only: status_of
  use fq_code_panels_real32, only: CODE_RUN, pack_code_panel, read_bytes, read_halves, spread_panel
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_team, only: SMALL_WORK
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  implicit none (type, external)
  private
  include 'fq_matmul.inc'
end module fq_matmul_real32

!> The same for float64.
module fq_matmul_real64
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_NONE, ACT_SOFTMAX, is_activation
  use fq_block_real64, only: aligned_start, block_entries, BLOCK_COLS, BLOCK_STEPS, copy_rows, &
    divide, dot_rows, finish_rows, LANES, LINE, multiply_block, panels_read, ROW_STEPS, &
    SINGLE_PANELS, TILE_ROWS
  use fq_activation_real64, only: activate_row, fill_rows
  use fq_arguments, only: status_of
  use fq_code_panels_real64, only: CODE_RUN, pack_code_panel, read_bytes, read_halves, spread_panel
  use fq_kinds, only: i8, i32, i64, wp => dp
  use fq_team, only: SMALL_WORK
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  implicit none (type, external)
  private
  include 'fq_matmul.inc'
end module fq_matmul_real64
