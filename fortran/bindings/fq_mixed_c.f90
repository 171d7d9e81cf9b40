!> C boundary of `fq_mixed`: flat arrays, explicit extents.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_mixed_c_real32
  use fq_kinds, only: i16, i32, i64, wp => sp
  use fq_mixed_real32, only: multiply_half, multiply_half_wide, multiply_wide, pack_half
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_mixed_c.inc'
end module fq_mixed_c_real32
