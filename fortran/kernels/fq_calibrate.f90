!> Scales, zero points and minima that lose less than those of the range.
!>
!> Python: `pyfq/calibrate.py`.  Reference: `pyfq/reference/calibrate.py`.
module fq_calibrate_real32
  use fq_code_rule, only: code_rule, SCHEME_AFFINE, SCHEME_MINMAX, SCHEME_SYMMETRIC
  use fq_kinds, only: dp, i32, i64, ip => i32, wp => sp
  use fq_quantize_real32, only: find_step, range_run, round_run
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_RANKING
  implicit none (type, external)
  private
  include 'fq_calibrate.inc'
end module fq_calibrate_real32

!> The same for float64.
module fq_calibrate_real64
  use fq_code_rule, only: code_rule, SCHEME_AFFINE, SCHEME_MINMAX, SCHEME_SYMMETRIC
  use fq_kinds, only: dp, i32, i64, ip => i64, wp => dp
  use fq_quantize_real64, only: find_step, range_run, round_run
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_RANKING
  implicit none (type, external)
  private
  include 'fq_calibrate.inc'
end module fq_calibrate_real64
