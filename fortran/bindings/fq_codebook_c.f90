!> C boundary of `fq_codebook`: flat arrays, explicit extents.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_codebook_c_real32
  use fq_arguments, only: groups_of, is_given, packed_bytes, pieces, status_of
  use fq_codebook_real32, only: calibrate_codebook, dequantize_codebook, fit_codebook, &
    quantize_codebook
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_codebook_c.inc'
end module fq_codebook_c_real32

!> The same for float64.
module fq_codebook_c_real64
  use fq_arguments, only: groups_of, is_given, packed_bytes, pieces, status_of
  use fq_codebook_real64, only: calibrate_codebook, dequantize_codebook, fit_codebook, &
    quantize_codebook
  use fq_kinds, only: i8, i32, i64, wp => dp
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f64'
  include 'fq_codebook_c.inc'
end module fq_codebook_c_real64
