!> C boundary of `fq_distortion`: flat arrays, explicit extents, an `info` code.
module fq_distortion_c_real32
  use fq_arguments, only: is_given, pieces, status_of
  use fq_kinds, only: dp, i32, i64, wp => sp
  use fq_distortion_real32, only: BLOCK, distortion_sums, largest_magnitude
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_distortion_c.inc'
end module fq_distortion_c_real32

!> The same for float64.
module fq_distortion_c_real64
  use fq_arguments, only: is_given, pieces, status_of
  use fq_kinds, only: dp, i32, i64, wp => dp
  use fq_distortion_real64, only: BLOCK, distortion_sums, largest_magnitude
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f64'
  include 'fq_distortion_c.inc'
end module fq_distortion_c_real64
