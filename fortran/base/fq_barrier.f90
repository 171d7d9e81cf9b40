!> A place where the members of a team wait for each other.
!>
!> Between steps of microseconds: members look again and again before they let others run, where a
!> barrier of OpenMP, whose idle threads pyfq lets sleep, would put them to sleep and wake them.
module fq_barrier
  use fq_kinds, only: i32
  use, intrinsic :: iso_c_binding, only: c_int
  implicit none (type, external)
  private
  public :: barrier, wait_for_all

  !> Starts with zeros; shared by the members.
  type :: barrier
    integer(i32) :: arrived  !! members that wait
    integer(i32) :: round    !! times that all have arrived
  end type barrier

  integer, parameter :: LOOKS = 2000  ! before a member yields its core; some microseconds

  interface
    !> Let another thread run on this core; POSIX has it.
    function sched_yield() bind(c, name='sched_yield') result(status)
      import :: c_int
      implicit none (type, external)
      integer(c_int) :: status
    end function sched_yield
  end interface

contains

  !> Return when as many as `members` have called.  What each wrote before, all see afterwards.
  subroutine wait_for_all(place, members)
    type(barrier), intent(inout) :: place  !! where, shared by all
    integer(i32), intent(in) :: members    !! of the team, at least 1
    integer(i32) :: round, now, arrived
    integer(c_int) :: ignored
    integer :: look

    if (members == 1) return
    !$omp atomic read seq_cst
    round = place%round
    !$omp atomic capture seq_cst
    place%arrived = place%arrived + 1
    arrived = place%arrived
    !$omp end atomic
    if (arrived == members) then
      !$omp atomic write seq_cst
      place%arrived = 0
      !$omp atomic write seq_cst
      place%round = round + 1
      return
    end if
    look = 0
    do
      !$omp atomic read seq_cst
      now = place%round
      if (now /= round) return
      look = look + 1
      if (look > LOOKS) ignored = sched_yield()
    end do
  end subroutine wait_for_all
end module fq_barrier
