!> Panels of codes, and the reals they stand for: weights that stay small until they are multiplied.
module fq_code_panels_real32
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_registers, only: VECTOR_BYTES
  implicit none (type, external)
  private
  public :: CODE_RUN, PANEL_LANES, pack_code_panel, read_bytes, read_halves, spread_panel

  ! Rows of weights of a panel.
  integer, parameter :: PANEL_LANES = VECTOR_BYTES/(storage_size(1.0_wp)/8)
  integer(i64), parameter :: CODE_RUN = 64  ! steps whose codes are reals at a time, in L1

contains

  !> Codes of a panel, a row of weights a lane: a byte a code, or two steps a byte, the first in its
  !> lower half.  Rows that are not there are zeros.
  pure subroutine pack_code_panel(k, rows, codes, halves, panel)
    integer(i64), intent(in) :: k, rows               !! steps; rows, at most PANEL_LANES
    integer(i8), intent(in) :: codes(k, *)            !! codes by rows; `0 ... 15` if halves
    logical, intent(in) :: halves                     !! two codes a byte
    integer(i8), intent(out) :: panel(PANEL_LANES, *) !! bytes, k steps or `(k + 1)/2`
    integer(i64) :: r, s

    if (halves) then
      panel(:, 1:(k + 1)/2) = 0
      do r = 1, rows
        do s = 1, k
          panel(r, (s + 1)/2) = ior(panel(r, (s + 1)/2), shiftl(codes(s, r), merge(0, 4, mod(s, &
            2_i64) == 1)))
        end do
      end do
    else
      panel(:, 1:k) = 0
      do r = 1, rows
        panel(r, 1:k) = codes(:, r)
      end do
    end if
  end subroutine pack_code_panel

  !> Steps `step + 1 ... step + steps` of a panel as reals, `minimum + (code - zero_point)*scale`.
  !>
  !> *Preconditions*: if halves, `step` and `group_size` are even, or there is one group.
  pure subroutine spread_panel(step, steps, group_size, halves, panel, scale, zero_point, &
    has_minimum, minimum, block)
    integer(i64), intent(in) :: step, steps, group_size
    logical, intent(in) :: halves, has_minimum
    integer(i8), intent(in) :: panel(PANEL_LANES, *), zero_point(PANEL_LANES, *)
    real(wp), intent(in) :: scale(PANEL_LANES, *), minimum(PANEL_LANES, *)
    real(wp), intent(inout) :: block(PANEL_LANES, steps)
    real(wp) :: base(PANEL_LANES)
    integer(i64) :: first, last, g

    base = 0
    first = 1
    do while (first <= steps)
      g = (step + first - 1)/group_size + 1
      last = min(steps, g*group_size - step)
      if (has_minimum) base = minimum(:, g)
      if (halves) then
        call spread_halves(last - first + 1, panel(1, (step + first + 1)/2), scale(1, g), &
          zero_point(1, g), base, block(1, first))
      else
        call spread_bytes(last - first + 1, panel(1, step + first), scale(1, g), zero_point(1, &
          g), base, block(1, first))
      end if
      first = last + 1
    end do
  end subroutine spread_panel

  pure subroutine spread_bytes(steps, codes, scale, zero_point, base, block)
    integer(i64), intent(in) :: steps
    integer(i8), intent(in) :: codes(PANEL_LANES, steps), zero_point(PANEL_LANES)
    real(wp), intent(in) :: scale(PANEL_LANES), base(PANEL_LANES)
    real(wp), intent(inout) :: block(PANEL_LANES, steps)
    real(wp) :: zero(PANEL_LANES)
    integer(i64) :: s
    integer :: l

    zero = zero_point
    call read_bytes(PANEL_LANES*steps, codes, block)
    !GCC$ novector
    do s = 1, steps
      do l = 1, PANEL_LANES
        block(l, s) = base(l) + (block(l, s) - zero(l))*scale(l)
      end do
    end do
  end subroutine spread_bytes

  pure subroutine spread_halves(steps, codes, scale, zero_point, base, block)
    integer(i64), intent(in) :: steps
    integer(i8), intent(in) :: codes(PANEL_LANES, *), zero_point(PANEL_LANES)
    real(wp), intent(in) :: scale(PANEL_LANES), base(PANEL_LANES)
    real(wp), intent(inout) :: block(PANEL_LANES, steps)
    real(wp) :: zero(PANEL_LANES), values(PANEL_LANES, CODE_RUN/2, 2)
    integer(i64) :: first, s
    integer :: l

    zero = zero_point
    do first = 0, steps - 1, CODE_RUN
      call read_halves(min(CODE_RUN, steps - first), codes(1, first/2 + 1), values)
      !GCC$ novector
      do s = 1, min(CODE_RUN, steps - first)
        do l = 1, PANEL_LANES
          block(l, first + s) = base(l) + (values(l, (s + 1)/2, 2 - mod(s, 2_i64)) &
            - zero(l))*scale(l)
        end do
      end do
    end do
  end subroutine spread_halves

  !> Codes as reals.
  pure subroutine read_bytes(n, codes, values)
    integer(i64), intent(in) :: n
    integer(i8), intent(in) :: codes(n)
    real(wp), intent(out) :: values(n)
    integer(i64) :: i

    do i = 1, n
      values(i) = real(codes(i), wp)
    end do
  end subroutine read_bytes

  !> Codes of up to CODE_RUN steps as reals: those of the first, third ... step, and the others.
  pure subroutine read_halves(steps, codes, values)
    integer(i64), intent(in) :: steps
    integer(i8), intent(in) :: codes(PANEL_LANES*((steps + 1)/2))
    real(wp), intent(inout) :: values(PANEL_LANES*CODE_RUN/2, 2)
    integer(i64) :: i

    do i = 1, size(codes, kind=i64)
      values(i, 1) = real(iand(int(codes(i), i32), 15), wp)
      values(i, 2) = real(iand(shiftr(int(codes(i), i32), 4), 15), wp)
    end do
  end subroutine read_halves
end module fq_code_panels_real32
