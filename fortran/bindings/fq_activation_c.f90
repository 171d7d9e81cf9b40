!> C boundary of `fq_activation`: flat arrays and explicit extents.
module fq_activation_c_real32
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: is_given, status_of
  use fq_kinds, only: i32, i64, wp => sp
  use fq_activation_real32, only: activate
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_activation_c.inc'
end module fq_activation_c_real32

!> The same for float64.
module fq_activation_c_real64
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: is_given, status_of
  use fq_kinds, only: i32, i64, wp => dp
  use fq_activation_real64, only: activate
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f64'
  include 'fq_activation_c.inc'
end module fq_activation_c_real64
