!> C boundary of `fq_select`: flat arrays, explicit extents, an `info` code.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_select_c_real32
  use fq_arguments, only: are_ranks, groups_of, is_given, pieces, status_of
  use fq_kinds, only: i32, i64, wp => sp
  use fq_select_real32, only: count_digits, count_equal, next_above, select_groups
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_select_c.inc'
end module fq_select_c_real32

!> The same for float64.
module fq_select_c_real64
  use fq_arguments, only: are_ranks, groups_of, is_given, pieces, status_of
  use fq_kinds, only: i32, i64, wp => dp
  use fq_select_real64, only: count_digits, count_equal, next_above, select_groups
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f64'
  include 'fq_select_c.inc'
end module fq_select_c_real64
