!> C boundary of `fq_matmul`: flat arrays, explicit extents.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_matmul_c_real32
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: is_given, pieces, status_of
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_matmul_real32, only: B_PACKED, B_PLAIN, B_TRANSPOSED, fits_left, fits_right, LANES, &
    matmul_blocked, matmul_codes, matmul_levels, pack_codes, pack_panels, packed_vectors
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_matmul_c.inc'
end module fq_matmul_c_real32

!> The same for float64.
module fq_matmul_c_real64
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: is_given, pieces, status_of
  use fq_kinds, only: i8, i32, i64, wp => dp
  use fq_matmul_real64, only: B_PACKED, B_PLAIN, B_TRANSPOSED, fits_left, fits_right, LANES, &
    matmul_blocked, matmul_codes, matmul_levels, pack_codes, pack_panels, packed_vectors
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f64'
  include 'fq_matmul_c.inc'
end module fq_matmul_c_real64
