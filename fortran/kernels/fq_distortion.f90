!> How far a reconstruction is from the original.
!>
!> Python: `pyfq/distortion.py`.  Reference: `pyfq/reference/distortion.py`.
module fq_distortion_real32
  use fq_kinds, only: dp, i32, i64, wp => sp
  use fq_status, only: FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_WORK
  implicit none (type, external)
  private
  include 'fq_distortion.inc'
end module fq_distortion_real32

!> The same for float64.
module fq_distortion_real64
  use fq_kinds, only: dp, i32, i64, wp => dp
  use fq_status, only: FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_WORK
  implicit none (type, external)
  private
  include 'fq_distortion.inc'
end module fq_distortion_real64
