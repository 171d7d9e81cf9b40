!> One row of activations times panels of codes, which become reals run by run, in L1: weights are
!> read once, and nothing that is larger than they are is written.
module fq_panel_row_real32
  use fq_code_values_real32, only: RUN_STEPS
  use fq_gemm_real32, only: BLOCK_STEPS, LANES, ROW_STEPS, TILE_ROWS
  use fq_kinds, only: i64, wp => sp
  use fq_share, only: part
  use fq_widened_panels_real32, only: panel_source
  implicit none (type, external)
  private

  ! Panels that a row is multiplied by side by side: a chain of additions each.  Their runs fit in
  ! the workspace that a tile's rows have elsewhere.
  integer, parameter :: ROW_PANELS = 4

  !> Panels of codes with a scale for each group of steps of a row of weights.
  type, abstract, extends(panel_source), public :: code_source
    integer(i64) :: group_size = 1    !! steps of a group
    logical :: has_zero = .true.      !! codes have zero points
    logical :: is_split = .false.     !! a run is read as `fq_panel_row.inc` says
  contains
    procedure(read_run), deferred :: read
    procedure :: multiply_few_rows => multiply_code_rows
  end type code_source

  abstract interface
    !> A run of codes of a panel, all of one group, as reals, and what makes weights of them.
    pure subroutine read_run(self, p, step, steps, values, zero, unit)
      import :: code_source, i64, LANES, RUN_STEPS, wp
      implicit none (type, external)
      class(code_source), intent(in) :: self
      integer(i64), intent(in) :: p             !! number of the panel, from 1
      integer(i64), intent(in) :: step, steps   !! steps before; and to take, at most RUN_STEPS
      real(wp), intent(inout) :: values(LANES, RUN_STEPS)        !! codes, or levels
      real(wp), intent(inout) :: zero(LANES), unit(LANES)        !! zero points; and scales
    end subroutine read_run
  end interface

contains

  !> Sums of a part of each row, block by block as tiles add them.
  pure subroutine multiply_code_rows(self, k, m, a, piece, n, c, rows)
    class(code_source), intent(in) :: self
    integer(i64), intent(in) :: k, m, n       !! steps; rows and columns of c
    real(wp), intent(in) :: a(k, m)           !! left matrix
    type(part), intent(in) :: piece           !! columns to set
    real(wp), intent(inout) :: c(n, m)        !! product
    real(wp), intent(inout) :: rows(ROW_STEPS, TILE_ROWS)  !! workspace
    real(wp) :: total(LANES, ROW_PANELS)
    integer(i64) :: col, wide, i, j, at, cols

    col = piece%col
    do while (col < piece%last_col)
      wide = merge(int(ROW_PANELS, i64), 1_i64, piece%last_col - col > (ROW_PANELS - 1)*LANES)
      do i = 1, m
        call multiply_side_by_side(self, col/LANES, wide, k, a(1, i), total, rows)
        do j = 1, wide
          at = col + (j - 1)*LANES
          cols = min(int(LANES, i64), n - at)
          c(at + 1:at + cols, i) = total(1:cols, j)
        end do
      end do
      col = col + wide*LANES
    end do
  end subroutine multiply_code_rows

  !> A row times `wide` panels, one or ROW_PANELS, behind the first `before`.
  pure subroutine multiply_side_by_side(self, before, wide, k, x, total, values)
    class(code_source), intent(in) :: self
    integer(i64), intent(in) :: before, wide, k
    real(wp), intent(in) :: x(k)
    real(wp), intent(inout) :: total(LANES, ROW_PANELS), values(LANES, RUN_STEPS, ROW_PANELS)
    real(wp) :: sums(LANES, ROW_PANELS), zero(LANES, ROW_PANELS), unit(LANES, ROW_PANELS)
    integer(i64) :: step, last, j

    sums = 0
    total = 0
    step = 0
    do while (step < k)
      last = min(k, (step/self%group_size + 1)*self%group_size, (step/BLOCK_STEPS &
        + 1)*BLOCK_STEPS, step + RUN_STEPS)
      do j = 1, wide
        call self%read(before + j, step, last - step, values(:, :, j), zero(:, j), unit(:, j))
      end do
      call add_run(self, wide, last - step, x(step + 1), values, zero, unit, sums)
      if (mod(last, BLOCK_STEPS) == 0 .or. last == k) then
        if (last <= BLOCK_STEPS) then
          total = sums
        else
          total = total + sums
        end if
        sums = 0
      end if
      step = last
    end do
  end subroutine multiply_side_by_side

  pure subroutine add_run(self, wide, steps, x, values, zero, unit, sums)
    class(code_source), intent(in) :: self
    integer(i64), intent(in) :: wide, steps
    real(wp), intent(in) :: x(steps), values(LANES, RUN_STEPS, ROW_PANELS)
    real(wp), intent(in) :: zero(LANES, ROW_PANELS), unit(LANES, ROW_PANELS)
    real(wp), intent(inout) :: sums(LANES, ROW_PANELS)

    if (self%is_split) then
      if (wide > 1) then
        call add_split(steps, x, values, zero, unit, sums)
      else
        call add_split_one(steps, x, values, zero, unit, sums)
      end if
    else if (self%has_zero) then
      if (wide > 1) then
        call add_codes(steps, x, values, zero, unit, sums)
      else
        call add_codes_one(steps, x, values, zero, unit, sums)
      end if
    else
      if (wide > 1) then
        call add_levels(steps, x, values, zero, unit, sums)
      else
        call add_levels_one(steps, x, values, zero, unit, sums)
      end if
    end if
  end subroutine add_run

  pure subroutine add_codes(steps, x, values, zero, unit, sums)
    integer, parameter :: P = ROW_PANELS
    logical, parameter :: HAS_ZERO = .true., IS_SPLIT = .false.
    include 'fq_panel_row.inc'
  end subroutine add_codes

  pure subroutine add_codes_one(steps, x, values, zero, unit, sums)
    integer, parameter :: P = 1
    logical, parameter :: HAS_ZERO = .true., IS_SPLIT = .false.
    include 'fq_panel_row.inc'
  end subroutine add_codes_one

  pure subroutine add_split(steps, x, values, zero, unit, sums)
    integer, parameter :: P = ROW_PANELS
    logical, parameter :: HAS_ZERO = .true., IS_SPLIT = .true.
    include 'fq_panel_row.inc'
  end subroutine add_split

  pure subroutine add_split_one(steps, x, values, zero, unit, sums)
    integer, parameter :: P = 1
    logical, parameter :: HAS_ZERO = .true., IS_SPLIT = .true.
    include 'fq_panel_row.inc'
  end subroutine add_split_one

  pure subroutine add_levels(steps, x, values, zero, unit, sums)
    integer, parameter :: P = ROW_PANELS
    logical, parameter :: HAS_ZERO = .false., IS_SPLIT = .false.
    include 'fq_panel_row.inc'
  end subroutine add_levels

  pure subroutine add_levels_one(steps, x, values, zero, unit, sums)
    integer, parameter :: P = 1
    logical, parameter :: HAS_ZERO = .false., IS_SPLIT = .false.
    include 'fq_panel_row.inc'
  end subroutine add_levels_one
end module fq_panel_row_real32
