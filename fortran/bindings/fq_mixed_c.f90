!> C boundary of `fq_mixed`: flat arrays, explicit extents.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_mixed_c_real32
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: is_given, pieces, status_of
  use fq_block_real32, only: LANES
  use fq_matmul_real32, only: B_PACKED, B_PLAIN, fits_left, fits_right
  use fq_kinds, only: i16, i32, i64, wp => sp
  use fq_mixed_real32, only: HALF_BFLOAT16, HALF_FLOAT16, multiply_half, multiply_half_wide, &
    multiply_wide, pack_half
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_mixed_c.inc'
end module fq_mixed_c_real32
