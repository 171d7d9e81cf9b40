!> C boundary of `fq_sparse`: flat arrays, explicit extents.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_sparse_c_real32
  use fq_activation_kind, only: is_activation
  use fq_activation_real32, only: fill_rows
  use fq_arguments, only: is_given, pieces, status_of
  use fq_kinds, only: i8, i16, i32, i64, wp => sp
  use fq_sparse_real32, only: sparse_codes, sparse_pairs, sparse_row, sparse_scatter, sparse_stream
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_sparse_c.inc'
end module fq_sparse_c_real32

!> The same for float64.
module fq_sparse_c_real64
  use fq_activation_kind, only: is_activation
  use fq_activation_real64, only: fill_rows
  use fq_arguments, only: is_given, pieces, status_of
  use fq_kinds, only: i8, i16, i32, i64, wp => dp
  use fq_sparse_real64, only: sparse_codes, sparse_pairs, sparse_row, sparse_scatter, sparse_stream
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f64'
  include 'fq_sparse_c.inc'
end module fq_sparse_c_real64
