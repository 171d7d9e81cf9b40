!> C boundary of `fq_convert`: flat arrays, explicit extents.
module fq_convert_c_int8
  use fq_arguments, only: is_given, status_of
  use fq_convert_int8, only: narrow, widen
  use fq_kinds, only: i32, i64, ik => i8, sp
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_narrow, fq_widen

contains

  subroutine fq_narrow(n, x, format, bits, threads, info) bind(c, name='fq_narrow_i8')
    integer(i64), intent(in), value :: n
    integer(i32), intent(in), value :: format, threads
    real(sp), intent(in), optional :: x(n)
    integer(ik), intent(out), optional :: bits(n)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [n])) return
    if (.not. is_given(present(bits), [n])) return
    info = status_of([n], .true., (format == 1 .or. format == 2) .and. threads >= 1)
    if (info /= FQ_OK) return
    call narrow(x, format, bits, threads)
  end subroutine fq_narrow

  subroutine fq_widen(n, bits, format, x, threads, info) bind(c, name='fq_widen_i8')
    integer(i64), intent(in), value :: n
    integer(i32), intent(in), value :: format, threads
    integer(ik), intent(in), optional :: bits(n)
    real(sp), intent(out), optional :: x(n)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(bits), [n])) return
    if (.not. is_given(present(x), [n])) return
    info = status_of([n], .true., (format == 1 .or. format == 2) .and. threads >= 1)
    if (info /= FQ_OK) return
    call widen(bits, format, x, threads)
  end subroutine fq_widen
end module fq_convert_c_int8
