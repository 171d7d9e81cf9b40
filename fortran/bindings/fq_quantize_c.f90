!> C boundary of `fq_quantize`: flat arrays, explicit extents, an `info` code.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_quantize_c_real32
  use fq_arguments, only: groups_of, is_given, is_rule, packed_bytes, status_of
  use fq_code_rule, only: code_rule
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_quantize_real32, only: dequantize, quantize, quantize_given, quantize_range, quantize_step
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_quantize_c.inc'
end module fq_quantize_c_real32

!> The same for float64.
module fq_quantize_c_real64
  use fq_arguments, only: groups_of, is_given, is_rule, packed_bytes, status_of
  use fq_code_rule, only: code_rule
  use fq_kinds, only: i8, i32, i64, wp => dp
  use fq_quantize_real64, only: dequantize, quantize, quantize_given, quantize_range, quantize_step
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f64'
  include 'fq_quantize_c.inc'
end module fq_quantize_c_real64
