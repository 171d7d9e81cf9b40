!> A member of a team of threads, and its part of the work.
module fq_team
  use fq_kinds, only: i32, i64
  implicit none (type, external)
  private
  public :: find_share

  type, public :: team_member
    integer(i32) :: number = 0   !! from 0
    integer(i32) :: members = 1  !! of the team
  end type team_member

contains

  !> A member's part of so many: `first + 1 ... last`, but for the end a multiple of `grain`.
  pure subroutine find_share(count, grain, member, first, last)
    integer(i64), intent(in) :: count         !! what is shared
    integer(i64), intent(in) :: grain         !! what parts are a multiple of, at least 1
    type(team_member), intent(in) :: member   !! whose part
    integer(i64), intent(out) :: first, last  !! before the first; the last
    integer(i64) :: grains

    grains = (count + grain - 1)/grain
    first = min(count, grains*member%number/member%members*grain)
    last = min(count, grains*(member%number + 1)/member%members*grain)
  end subroutine find_share
end module fq_team
