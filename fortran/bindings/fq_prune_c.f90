!> C boundary of `fq_prune`: flat arrays, explicit extents, an `info` code.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_prune_c_real32
  use fq_arguments, only: groups_of, is_given, status_of
  use fq_kinds, only: dp, i8, i32, i64, wp => sp
  use fq_prune_real32, only: prune_cut, prune_nm, row_norms
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_prune_c.inc'
end module fq_prune_c_real32

!> The same for float64.
module fq_prune_c_real64
  use fq_arguments, only: groups_of, is_given, status_of
  use fq_kinds, only: dp, i8, i32, i64, wp => dp
  use fq_prune_real64, only: prune_cut, prune_nm, row_norms
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f64'
  include 'fq_prune_c.inc'
end module fq_prune_c_real64
