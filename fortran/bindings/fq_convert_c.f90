!> C boundary of `fq_convert`; `docs/boundary.md` says what all bindings have in common.
!>
!> Format 1 is float8 E4M3FN or, of 16 bits, bfloat16; 2 is float8 E5M2 or float16.
module fq_convert_c_int8
  use fq_arguments, only: is_given, status_of
  use fq_convert_int8, only: narrow, widen
  use fq_kinds, only: i32, i64, ik => i8, sp
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_narrow, fq_widen

contains

  !> Patterns of the nearest values of a format, ties to even.
  subroutine fq_narrow(n, x, format, bits, threads, info) bind(c, name='fq_narrow_i8')
    integer(i64), intent(in), value :: n                !! how many values
    real(sp), intent(in), optional :: x(n)              !! values, `(n)`
    integer(i32), intent(in), value :: format           !! 1 or 2, as above
    integer(ik), intent(out), optional :: bits(n)       !! patterns, `(n)`
    integer(i32), intent(in), value :: threads          !! threads to use, at least 1
    integer(i32), intent(out) :: info                   !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [n])) return
    if (.not. is_given(present(bits), [n])) return
    info = status_of([n], .true., (format == 1 .or. format == 2) .and. threads >= 1)
    if (info /= FQ_OK .or. n == 0) return
    call narrow(x, format, bits, threads)
  end subroutine fq_narrow

  !> The values of patterns of a format, exactly.
  subroutine fq_widen(n, bits, format, x, threads, info) bind(c, name='fq_widen_i8')
    integer(i64), intent(in), value :: n                !! how many patterns
    integer(ik), intent(in), optional :: bits(n)        !! patterns, `(n)`
    integer(i32), intent(in), value :: format           !! 1 or 2, as above
    real(sp), intent(out), optional :: x(n)             !! values, `(n)`
    integer(i32), intent(in), value :: threads          !! threads to use, at least 1
    integer(i32), intent(out) :: info                   !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(bits), [n])) return
    if (.not. is_given(present(x), [n])) return
    info = status_of([n], .true., (format == 1 .or. format == 2) .and. threads >= 1)
    if (info /= FQ_OK .or. n == 0) return
    call widen(bits, format, x, threads)
  end subroutine fq_widen
end module fq_convert_c_int8
