!> Preconditions in a debug build: the program ends at the first that does not hold.
module fq_precondition
  implicit none (type, external)
  private
  public :: CHECKED, require

  logical, parameter :: CHECKED = .true.   ! `if (CHECKED) call require(...)`

contains

  !> End the program if a precondition does not hold, and say which.
  pure subroutine require(holds, precondition)
    logical, intent(in) :: holds                !! whether it holds
    character(*), intent(in) :: precondition    !! the procedure, and what it expects

    if (.not. holds) error stop precondition
  end subroutine require
end module fq_precondition
