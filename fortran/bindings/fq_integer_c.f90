!> C boundary of `fq_integer`: flat arrays, explicit extents.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_integer_c_int8
  use fq_arguments, only: is_given, status_of
  use fq_integer_int8, only: matmul_integer, quantized_matmul
  use fq_kinds, only: i8, i32, i64, sp
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_i8'
  include 'fq_integer_c.inc'
end module fq_integer_c_int8
