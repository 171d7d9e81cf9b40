!> When work is worth a team of threads.
module fq_team
  use fq_kinds, only: i64
  implicit none (type, external)
  private
  !> Elements below which waking a team costs more than it gains.
  integer(i64), parameter, public :: SMALL_WORK = 65536
end module fq_team
