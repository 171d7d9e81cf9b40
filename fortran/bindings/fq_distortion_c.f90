!> C boundary of `fq_distortion`: flat arrays, explicit extents, an `info` code.
module fq_distortion_c_real32
  use fq_kinds, only: dp, i32, i64, wp => sp
  use fq_distortion_real32, only: distortion_sums, largest_magnitude
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_distortion_c.inc'
end module fq_distortion_c_real32

!> The same for float64.
module fq_distortion_c_real64
  use fq_kinds, only: dp, i32, i64, wp => dp
  use fq_distortion_real64, only: distortion_sums, largest_magnitude
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f64'
  include 'fq_distortion_c.inc'
end module fq_distortion_c_real64
