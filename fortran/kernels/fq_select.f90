!> Exact order statistics by radix selection on the bits, without sorting or copying.
!>
!> Python: `pyfq/select.py`.  Reference: `pyfq/reference/select.py`.
module fq_select_real32
  use fq_kinds, only: ip => i32, i32, i64, wp => sp
  include 'fq_select.inc'
end module fq_select_real32

!> The same for float64.
module fq_select_real64
  use fq_kinds, only: ip => i64, i32, i64, wp => dp
  include 'fq_select.inc'
end module fq_select_real64
