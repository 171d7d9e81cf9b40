!> C boundary of `fq_network`: flat arrays, explicit extents.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_network_c_real32
  use fq_arguments, only: is_given, status_of
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_network_real32, only: forward_network
  use fq_plan, only: planned_ends, planned_layer
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_network_c.inc'
end module fq_network_c_real32

!> The same for float64.
module fq_network_c_real64
  use fq_arguments, only: is_given, status_of
  use fq_kinds, only: i8, i32, i64, wp => dp
  use fq_network_real64, only: forward_network
  use fq_plan, only: planned_ends, planned_layer
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f64'
  include 'fq_network_c.inc'
end module fq_network_c_real64
