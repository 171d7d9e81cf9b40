!> Preconditions in every build but a debug one: the compiler drops what is behind CHECKED.
module fq_precondition
  implicit none (type, external)
  private
  public :: CHECKED, require

  logical, parameter :: CHECKED = .false.   ! `if (CHECKED) call require(...)`

  interface
    !> There is no such procedure: what calls it without CHECKED does not link.  A procedure that
    !> has several calls returns before the first: flang keeps it, though nothing calls it.
    pure subroutine require(holds, precondition)
      implicit none (type, external)
      logical, intent(in) :: holds                !! whether it holds
      character(*), intent(in) :: precondition    !! the procedure, and what it expects
    end subroutine require
  end interface
end module fq_precondition
