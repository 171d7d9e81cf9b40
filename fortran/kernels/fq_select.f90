!> Exact order statistics by radix selection on the bits, without sorting or copying.
!>
!> Python: `pyfq/select.py`.  Reference: `pyfq/reference/select.py`.
module fq_select_real32
  use fq_kinds, only: ip => i32, i32, i64, wp => sp
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_RANKING, SMALL_WORK
  implicit none (type, external)
  private
  include 'fq_select.inc'
end module fq_select_real32

!> The same for float64.
module fq_select_real64
  use fq_kinds, only: ip => i64, i32, i64, wp => dp
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_RANKING, SMALL_WORK
  implicit none (type, external)
  private
  include 'fq_select.inc'
end module fq_select_real64
