!> C boundary of `fq_calibrate`: flat arrays, explicit extents, an `info` code.
module fq_calibrate_c_real32
  use fq_calibrate_real32, only: calibrate
  use fq_code_rule, only: code_rule
  use fq_kinds, only: dp, i32, i64, wp => sp
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_calibrate_c.inc'
end module fq_calibrate_c_real32

!> The same for float64.
module fq_calibrate_c_real64
  use fq_calibrate_real64, only: calibrate
  use fq_code_rule, only: code_rule
  use fq_kinds, only: dp, i32, i64, wp => dp
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f64'
  include 'fq_calibrate_c.inc'
end module fq_calibrate_c_real64
