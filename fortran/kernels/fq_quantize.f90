!> Uniform quantization to 1 ... 16 bits, and back.
!>
!> Python: `pyfq/quantize.py`.  Reference: `pyfq/reference/quantize.py`.
module fq_quantize_real32
  use fq_kinds, only: i8, i32, i64, ip => i32, wp => sp
  use fq_code_rule, only: code_rule, ROUND_FLOOR, ROUND_HALF_AWAY, ROUND_HALF_EVEN, ROUND_HALF_UP, &
    ROUND_TRUNC, SCALE_ABSMAX, SCALE_ABSMAX_HALF, SCHEME_AFFINE, SCHEME_SYMMETRIC
  use fq_status, only: FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_WORK
  implicit none (type, external)
  private
  include 'fq_quantize.inc'
end module fq_quantize_real32

!> The same for float64.
module fq_quantize_real64
  use fq_kinds, only: i8, i32, i64, ip => i64, wp => dp
  use fq_code_rule, only: code_rule, ROUND_FLOOR, ROUND_HALF_AWAY, ROUND_HALF_EVEN, ROUND_HALF_UP, &
    ROUND_TRUNC, SCALE_ABSMAX, SCALE_ABSMAX_HALF, SCHEME_AFFINE, SCHEME_SYMMETRIC
  use fq_status, only: FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_WORK
  implicit none (type, external)
  private
  include 'fq_quantize.inc'
end module fq_quantize_real64
