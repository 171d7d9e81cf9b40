!> Histograms and ranges of what passes.
!>
!> Python: `pyfq/observer.py`.  Reference: `pyfq/reference/observer.py`.
module fq_observer_real32
  use fq_kinds, only: ip => i32, i32, i64, wp => sp
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_RANKING, SMALL_WORK
  implicit none (type, external)
  private
  include 'fq_observer.inc'
end module fq_observer_real32

!> The same for float64.
module fq_observer_real64
  use fq_kinds, only: ip => i64, i32, i64, wp => dp
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_RANKING, SMALL_WORK
  implicit none (type, external)
  private
  include 'fq_observer.inc'
end module fq_observer_real64
