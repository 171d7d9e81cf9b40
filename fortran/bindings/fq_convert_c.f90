!> C boundary of `fq_convert`: flat arrays, explicit extents.
module fq_convert_c_real32
  use fq_convert_real32, only: narrow16, narrow8, widen16, widen8
  use fq_kinds, only: i8, i16, i32, i64, sp
  implicit none (type, external)
  private
  public :: fq_narrow16, fq_narrow8, fq_widen16, fq_widen8

contains

  subroutine fq_narrow16(n, x, brain, bits, threads) &
    bind(c, name='fq_narrow16_f32')
    integer(i64), intent(in), value :: n
    integer(i32), intent(in), value :: brain, threads
    real(sp), intent(in) :: x(n)
    integer(i16), intent(out) :: bits(n)

    call narrow16(x, brain /= 0, bits, threads)
  end subroutine fq_narrow16

  subroutine fq_narrow8(n, x, finite_only, bits, threads) &
    bind(c, name='fq_narrow8_f32')
    integer(i64), intent(in), value :: n
    integer(i32), intent(in), value :: finite_only, threads
    real(sp), intent(in) :: x(n)
    integer(i8), intent(out) :: bits(n)

    call narrow8(x, finite_only /= 0, bits, threads)
  end subroutine fq_narrow8

  subroutine fq_widen16(n, bits, brain, x, threads) &
    bind(c, name='fq_widen16_f32')
    integer(i64), intent(in), value :: n
    integer(i32), intent(in), value :: brain, threads
    integer(i16), intent(in) :: bits(n)
    real(sp), intent(out) :: x(n)

    call widen16(bits, brain /= 0, x, threads)
  end subroutine fq_widen16

  subroutine fq_widen8(n, bits, finite_only, x, threads) &
    bind(c, name='fq_widen8_f32')
    integer(i64), intent(in), value :: n
    integer(i32), intent(in), value :: finite_only, threads
    integer(i8), intent(in) :: bits(n)
    real(sp), intent(out) :: x(n)

    call widen8(bits, finite_only /= 0, x, threads)
  end subroutine fq_widen8

end module fq_convert_c_real32
