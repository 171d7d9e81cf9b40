!> The reals that the codes of a panel stand for.
!>
!> This is of the exact library, unlike what multiplies by them: a product is rounded before the
!> minimum is added, as NumPy does it, and no FMA takes both.
module fq_code_values_real32
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_precondition, only: CHECKED, require
  use fq_registers, only: VECTOR_BYTES
  implicit none (type, external)
  private
  public :: dequantize_panel, read_bytes, read_two_per_byte

  ! Rows of weights of a panel: entries of a vector.
  integer, parameter :: LANES = VECTOR_BYTES/(storage_size(1.0_wp)/8)
  integer(i64), parameter, public :: RUN_STEPS = 64  ! steps whose codes are reals at a time, in L1

  !> How codes become weights, `minimum + (code - zero_point)*scale`.
  type, public :: code_layout
    integer(i64) :: group_size        !! steps of a group, of one scale
    logical :: two_per_byte           !! a byte holds the codes of two steps
    logical :: has_minimum = .false.  !! else minimum is not looked at, and taken to be 0
  end type code_layout

contains

  !> Steps `step + 1 ... step + steps` of a panel as reals, `minimum + (code - zero_point)*scale`.
  !>
  !> *Preconditions*: with two codes a byte, `step` and the size of a group are even, or there is
  !> one group.
  pure subroutine dequantize_panel(step, steps, layout, panel, scale, zero_point, minimum, block)
    integer(i64), intent(in) :: step, steps         !! steps before; and to take
    type(code_layout), intent(in) :: layout         !! how codes become weights
    integer(i8), intent(in) :: panel(LANES, *)      !! codes, `(LANES, bytes)`
    real(wp), intent(in) :: scale(LANES, *)         !! steps between codes, `(LANES, groups)`
    integer(i8), intent(in) :: zero_point(LANES, *) !! codes of 0, `(LANES, groups)`
    real(wp), intent(in) :: minimum(LANES, *)       !! values of code `zero_point`, the same shape
    real(wp), intent(inout) :: block(LANES, steps)  !! values
    real(wp) :: base(LANES)
    integer(i64) :: first, last, g

    if (CHECKED) call require(.not. layout%two_per_byte .or. (mod(step, 2_i64) == 0 &
      .and. (mod(layout%group_size, 2_i64) == 0 .or. step + steps <= layout%group_size)), &
      'dequantize_panel: steps and groups of two codes a byte are even')
    base = 0
    first = 1
    do while (first <= steps)
      g = (step + first - 1)/layout%group_size + 1
      last = min(steps, g*layout%group_size - step)
      if (layout%has_minimum) base = minimum(:, g)
      if (layout%two_per_byte) then
        call dequantize_two_per_byte(last - first + 1, panel(1, (step + first + 1)/2), scale(1, &
          g), zero_point(1, g), base, block(1, first))
      else
        call dequantize_bytes(last - first + 1, panel(1, step + first), scale(1, g), &
          zero_point(1, g), base, block(1, first))
      end if
      first = last + 1
    end do
  end subroutine dequantize_panel

  pure subroutine dequantize_bytes(steps, codes, scale, zero_point, base, block)
    integer(i64), intent(in) :: steps
    integer(i8), intent(in) :: codes(LANES, steps), zero_point(LANES)
    real(wp), intent(in) :: scale(LANES), base(LANES)
    real(wp), intent(inout) :: block(LANES, steps)
    real(wp) :: zero(LANES)
    integer(i64) :: s
    integer :: l

    zero = zero_point
    call read_bytes(LANES*steps, codes, block)
    !GCC$ novector
    do s = 1, steps
      do l = 1, LANES
        block(l, s) = base(l) + (block(l, s) - zero(l))*scale(l)
      end do
    end do
  end subroutine dequantize_bytes

  pure subroutine dequantize_two_per_byte(steps, codes, scale, zero_point, base, block)
    integer(i64), intent(in) :: steps
    integer(i8), intent(in) :: codes(LANES, *), zero_point(LANES)
    real(wp), intent(in) :: scale(LANES), base(LANES)
    real(wp), intent(inout) :: block(LANES, steps)
    real(wp) :: zero(LANES), values(LANES, RUN_STEPS/2, 2)
    integer(i64) :: first, s
    integer :: l

    zero = zero_point
    do first = 0, steps - 1, RUN_STEPS
      call read_two_per_byte(min(RUN_STEPS, steps - first), codes(1, first/2 + 1), values)
      !GCC$ novector
      do s = 1, min(RUN_STEPS, steps - first)
        do l = 1, LANES
          block(l, first + s) = base(l) + (values(l, (s + 1)/2, 2 - mod(s, 2_i64)) &
            - zero(l))*scale(l)
        end do
      end do
    end do
  end subroutine dequantize_two_per_byte

  !> Codes as reals.
  pure subroutine read_bytes(n, codes, values)
    integer(i64), intent(in) :: n            !! how many
    integer(i8), intent(in) :: codes(n)      !! codes
    real(wp), intent(inout) :: values(n)     !! the same numbers
    integer(i64) :: i

    do i = 1, n
      values(i) = real(codes(i), wp)
    end do
  end subroutine read_bytes

  !> Codes of up to RUN_STEPS steps as reals: those of the first, third ... step, and the others.
  pure subroutine read_two_per_byte(steps, codes, values)
    integer(i64), intent(in) :: steps                        !! steps to take
    integer(i8), intent(in) :: codes(LANES*((steps + 1)/2))  !! bytes of two steps
    real(wp), intent(inout) :: values(LANES*RUN_STEPS/2, 2)  !! both halves of each byte
    integer(i64) :: i

    do i = 1, size(codes, kind=i64)
      values(i, 1) = real(iand(int(codes(i), i32), 15), wp)
      values(i, 2) = real(iand(shiftr(int(codes(i), i32), 4), 15), wp)
    end do
  end subroutine read_two_per_byte
end module fq_code_values_real32
