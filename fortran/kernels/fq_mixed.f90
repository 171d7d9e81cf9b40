!> Products of mixed precision: weights of 2 bytes, and sums in float64.
!>
!> Python: `pyfq/mixed.py`.  Reference: `pyfq/reference/mixed.py`.
module fq_mixed_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_SOFTMAX, is_activation
  use fq_activation_real32, only: activate_row, fill_rows
  use fq_arguments, only: status_of
  use fq_block_real32, only: aligned_start, block_entries, BLOCK_COLS, BLOCK_STEPS, copy_rows, &
    divide, FEW_ROWS, finish_rows, LANES, LINE, multiply_block, panels_read, ROW_STEPS, TILE_ROWS
  use fq_block_real64, only: divide_wide => divide, multiply_wide_block => multiply_block, &
    wide_entries => block_entries, wide_panels_read => panels_read, WIDE_COLS => BLOCK_COLS, &
    WIDE_LANES => LANES, WIDE_LINE => LINE, WIDE_ROW_STEPS => ROW_STEPS, WIDE_STEPS => &
    BLOCK_STEPS, wide_start => aligned_start, WIDE_TILE_ROWS => TILE_ROWS
  use fq_kinds, only: dp, i16, i32, i64, wp => sp
  use fq_matmul_real32, only: B_PACKED, B_PLAIN, B_TRANSPOSED, pack_block, panel_at
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_team, only: SMALL_WORK
  implicit none (type, external)
  private
  include 'fq_mixed.inc'
end module fq_mixed_real32
