!> Magnitude and score pruning: single weights, N:M blocks, whole rows.
!>
!> Python: `pyfq/prune.py`.  Reference: `pyfq/reference/prune.py`.
module fq_prune_real32
  use fq_kinds, only: dp, i8, i32, i64, wp => sp, ip => i32
  use fq_status, only: FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_WORK
  implicit none (type, external)
  private
  include 'fq_prune.inc'
end module fq_prune_real32

!> The same for float64.
module fq_prune_real64
  use fq_kinds, only: dp, i8, i32, i64, wp => dp, ip => i64
  use fq_status, only: FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_WORK
  implicit none (type, external)
  private
  include 'fq_prune.inc'
end module fq_prune_real64
