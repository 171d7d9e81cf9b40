!> C boundary of `fq_convert`: flat arrays, explicit extents.
module fq_convert_c_int16
  use fq_arguments, only: is_given, status_of
  use fq_convert_int16, only: narrow, widen
  use fq_kinds, only: i32, i64, ik => i16, sp
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_i16'
  include 'fq_convert_c.inc'
end module fq_convert_c_int16

!> The same for 8 bits.
module fq_convert_c_int8
  use fq_arguments, only: is_given, status_of
  use fq_convert_int8, only: narrow, widen
  use fq_kinds, only: i32, i64, ik => i8, sp
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_i8'
  include 'fq_convert_c.inc'
end module fq_convert_c_int8
