!> What inputs pass before the first layer, and outputs behind the last.
!>
!> Exact: each operation is rounded, so that outputs that are codes times scales stay the same on
!> every instruction set.
module fq_ends_real32
  use fq_chain, only: planned_ends
  use fq_kinds, only: i8, i64, wp => sp
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: denormalize, normalize, scale_by_end

contains

  !> `(x - mean)/scale`; x if there are none.
  subroutine normalize(x, memory, ends, normalized)
    real(wp), intent(in), contiguous :: x(:, :)                !! inputs, `(k, samples)`
    integer(i8), intent(in), target, contiguous :: memory(:)   !! where means and scales are
    type(planned_ends), intent(in) :: ends                     !! where in it
    real(wp), intent(inout) :: normalized(size(x, 1, kind=i64), *)  !! `(k, samples)`
    real(wp), pointer, contiguous :: mean(:), scale(:)
    integer(i64) :: k, i

    k = size(x, 1, kind=i64)
    if (ends%input_mean < 0) then
      normalized(:, :size(x, 2, kind=i64)) = x
      return
    end if
    call c_f_pointer(c_loc(memory(ends%input_mean + 1)), mean, [k])
    call c_f_pointer(c_loc(memory(ends%input_scale + 1)), scale, [k])
    do i = 1, size(x, 2, kind=i64)
      normalized(:, i) = (x(:, i) - mean)/scale
    end do
  end subroutine normalize

  !> `scale*y + mean`, in place.
  subroutine denormalize(memory, ends, y)
    integer(i8), intent(in), target, contiguous :: memory(:)   !! where means and scales are
    type(planned_ends), intent(in) :: ends                     !! where in it; both are there
    real(wp), intent(inout), contiguous :: y(:, :)             !! outputs, `(n, samples)`
    real(wp), pointer, contiguous :: mean(:), scale(:)
    integer(i64) :: i

    call c_f_pointer(c_loc(memory(ends%output_mean + 1)), mean, [size(y, 1)])
    call c_f_pointer(c_loc(memory(ends%output_scale + 1)), scale, [size(y, 1)])
    do i = 1, size(y, 2, kind=i64)
      y(:, i) = scale*y(:, i) + mean
    end do
  end subroutine denormalize

  !> Rows times a scale of the ends, or divided by it; as they are if there is none.
  subroutine scale_by_end(memory, place, divides, n, rows, from, to)
    integer(i8), intent(in), target, contiguous :: memory(:)  !! where the scale is
    integer(i64), intent(in) :: place          !! where in it, -1 if there is none
    logical, intent(in) :: divides             !! by the scale
    integer(i64), intent(in) :: n, rows        !! entries of a row, and rows
    real(wp), intent(in) :: from(n, rows)      !! the rows
    real(wp), intent(inout) :: to(n, rows)     !! what becomes of them
    real(wp), pointer, contiguous :: scale(:)
    integer(i64) :: i

    if (place < 0) then
      to = from
      return
    end if
    call c_f_pointer(c_loc(memory(place + 1)), scale, [n])
    do i = 1, rows
      if (divides) then
        to(:, i) = from(:, i)/scale
      else
        to(:, i) = scale*from(:, i)
      end if
    end do
  end subroutine scale_by_end
end module fq_ends_real32
