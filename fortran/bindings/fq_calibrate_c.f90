!> C boundary of `fq_calibrate`: flat arrays, explicit extents, an `info` code.
module fq_calibrate_c_real32
  use fq_arguments, only: is_given, is_rule, pieces, status_of
  use fq_calibrate_real32, only: calibrate, METHOD_ALS, METHOD_ACIQ, METHOD_HQQ, METHOD_MSE
  use fq_code_rule, only: code_rule
  use fq_kinds, only: dp, i32, i64, wp => sp
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_calibrate_c.inc'
end module fq_calibrate_c_real32

!> The same for float64.
module fq_calibrate_c_real64
  use fq_arguments, only: is_given, is_rule, pieces, status_of
  use fq_calibrate_real64, only: calibrate, METHOD_ALS, METHOD_ACIQ, METHOD_HQQ, METHOD_MSE
  use fq_code_rule, only: code_rule
  use fq_kinds, only: dp, i32, i64, wp => dp
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f64'
  include 'fq_calibrate_c.inc'
end module fq_calibrate_c_real64
