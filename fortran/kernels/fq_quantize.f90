!> Uniform quantization to 1 ... 16 bits, and back.
!>
!> Python: `pyfq/quantize.py`.  Reference: `pyfq/reference/quantize.py`.
module fq_quantize_real32
  use fq_kinds, only: i8, i32, i64, ip => i32, wp => sp
  include 'fq_quantize.inc'
end module fq_quantize_real32

!> The same for float64.
module fq_quantize_real64
  use fq_kinds, only: i8, i32, i64, ip => i64, wp => dp
  include 'fq_quantize.inc'
end module fq_quantize_real64
