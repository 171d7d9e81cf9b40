!> What the codes of a group stand for: the grid of a range.
module fq_code_grid_real32
  use fq_code_rule, only: code_rule, SCHEME_MINMAX
  use fq_code_step_real32, only: find_step
  use fq_kinds, only: i32, wp => sp
  implicit none (type, external)
  private
  public :: clipped_grid, grid_of, leave_unit

  !> What the codes of a group stand for: `base + code*step`, codes counted from the zero point.
  type, public :: code_grid
    real(wp) :: base           !! what code 0, counted from the zero point, stands for
    real(wp) :: step           !! between neighbouring codes
    real(wp) :: per_step       !! 1 over it
    real(wp) :: low            !! smallest code, counted from the zero point
    real(wp) :: high           !! largest
    real(wp) :: scale          !! step as `quantize` has it
    real(wp) :: minimum        !! base as `quantize` has it
    integer(i32) :: zero_point
  end type code_grid

contains

  !> The grid that `quantize` has for a range.
  pure function grid_of(low, high, rule) result(grid)
    real(wp), intent(in) :: low, high        !! smallest and largest value
    type(code_rule), intent(in) :: rule      !! how reals become codes
    type(code_grid) :: grid

    call find_step(low, high, max(-low, high), rule, grid%scale, grid%zero_point, grid%minimum)
    grid%step = grid%scale
    grid%per_step = 1/grid%step
    grid%base = grid%minimum
    grid%low = real(rule%qmin - grid%zero_point, wp)
    grid%high = real(rule%qmax - grid%zero_point, wp)
  end function grid_of

  !> The grid of a range of which `percent` are clipped: of both ends, of scheme minmax towards the
  !> middle, else towards 0.
  pure function clipped_grid(low, high, percent, rule) result(grid)
    real(wp), intent(in) :: low, high        !! smallest and largest value
    integer(i32), intent(in) :: percent      !! what is clipped, of 100
    type(code_rule), intent(in) :: rule      !! how reals become codes
    type(code_grid) :: grid
    real(wp) :: part, reach

    part = real(percent, wp)/100
    if (rule%scheme == SCHEME_MINMAX) then
      reach = high/2 - low/2
      grid = grid_of(low + part*reach, high - part*reach, rule)
    else
      grid = grid_of((1 - part)*low, (1 - part)*high, rule)
    end if
  end function clipped_grid

  !> Scale and minimum of a grid that was found near 1; a scale of 0 if that is too small.
  pure subroutine leave_unit(unit, rule, grid)
    real(wp), intent(in) :: unit             !! that brought the group near 1
    type(code_rule), intent(in) :: rule      !! how reals become codes
    type(code_grid), intent(inout) :: grid   !! out: with scale and minimum

    grid%scale = min(grid%step/unit, huge(unit))
    grid%minimum = 0
    if (rule%scheme == SCHEME_MINMAX) then
      grid%minimum = min(max(grid%base/unit, -huge(unit)), huge(unit))
    end if
  end subroutine leave_unit
end module fq_code_grid_real32
