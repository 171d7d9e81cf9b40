!> Codes that stand for the levels of a table, and tables that fit data.
!>
!> Python: `pyfq/codebook.py`.  Reference: `pyfq/reference/codebook.py`.
module fq_codebook_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_kinds, only: dp, i8, i32, i64, ip => i32, wp => sp
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_RANKING, SMALL_WORK
  implicit none (type, external)
  private
  include 'fq_codebook.inc'
end module fq_codebook_real32

!> The same for float64.
module fq_codebook_real64
  !$ use omp_lib, only: omp_get_thread_num
  use fq_kinds, only: dp, i8, i32, i64, ip => i64, wp => dp
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_team, only: SMALL_RANKING, SMALL_WORK
  implicit none (type, external)
  private
  include 'fq_codebook.inc'
end module fq_codebook_real64
