!> When work is worth a team of threads.
module fq_work_size
  use fq_kinds, only: i64
  implicit none (type, external)
  private
  !> Elements below which waking a team costs more than it gains.
  integer(i64), parameter, public :: SMALL_WORK = 262144
  !> The same for ranking, which costs some ten operations an element and more.
  integer(i64), parameter, public :: SMALL_RANKING = 32768
  !> The same for products of matrices, in multiplications.
  integer(i64), parameter, public :: SMALL_PRODUCT = 2097152
end module fq_work_size
