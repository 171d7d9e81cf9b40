!> C boundary of `fq_observer`: flat arrays, explicit extents, an `info` code.
module fq_observer_c_real32
  use fq_arguments, only: is_given, status_of
  use fq_kinds, only: i32, i64, wp => sp
  use fq_observer_real32, only: count_bins, find_ranges
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_observer_c.inc'
end module fq_observer_c_real32

!> The same for float64.
module fq_observer_c_real64
  use fq_arguments, only: is_given, status_of
  use fq_kinds, only: i32, i64, wp => dp
  use fq_observer_real64, only: count_bins, find_ranges
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f64'
  include 'fq_observer_c.inc'
end module fq_observer_c_real64
