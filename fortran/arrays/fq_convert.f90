!> float32 to and from the bits of narrower binary floating-point formats.
!>
!> A format is told by its exponent bits, its mantissa bits, and whether it is finite only: without
!> infinities, its only NaN being all ones (float8 E4M3FN; Micikevicius et al. 2022, arXiv
!> 2209.05433).  Each width has two; as constants they let the compiler fold all that depends on
!> them.
!>
!> Python: `pyfq/arrays/convert.py`.  Reference: `pyfq/reference/arrays/convert.py`.
module fq_convert_int8
  use fq_kinds, only: i32, i64, ik => i8, sp
  use fq_work_size, only: SMALL_WORK
  implicit none (type, external)
  private
  ! Of 8 bits E4M3FN and E5M2, of 16 bits bfloat16 and float16.
  logical, parameter :: IS_BYTE = storage_size(0_ik) == 8
  integer(i32), parameter :: EXPONENT_BITS(2) = merge([4, 5], [8, 5], IS_BYTE)
  integer(i32), parameter :: MANTISSA_BITS(2) = merge([3, 2], [7, 10], IS_BYTE)
  logical, parameter :: FINITE_ONLY(2) = [IS_BYTE, .false.]
  public :: narrow, widen

  integer(i64), parameter :: RUN = 4096            ! elements of a task, in L1

contains

  !> Patterns of the nearest values of a format, ties to even.
  subroutine narrow(x, format, bits, threads)
    real(sp), intent(in), contiguous :: x(:)         !! values, `(n)`
    integer(i32), intent(in) :: format               !! 1 or 2, the format of this width
    integer(ik), intent(out), contiguous :: bits(:)  !! patterns, `(n)`
    integer(i32), intent(in) :: threads              !! threads to use, at least 1
    integer(i64) :: first, last, i

    !$omp parallel do default(none) shared(x, format, bits) private(last, i) &
    !$omp schedule(static) num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
    do first = 1, size(x, kind=i64), RUN
      last = min(first + RUN - 1, size(x, kind=i64))
      if (format == 1) then
        do i = first, last
          bits(i) = int(narrowed(x(i), EXPONENT_BITS(1), MANTISSA_BITS(1), FINITE_ONLY(1)), ik)
        end do
      else
        do i = first, last
          bits(i) = int(narrowed(x(i), EXPONENT_BITS(2), MANTISSA_BITS(2), FINITE_ONLY(2)), ik)
        end do
      end if
    end do
  end subroutine narrow

  !> The values of patterns of a format, exactly.
  subroutine widen(bits, format, x, threads)
    integer(ik), intent(in), contiguous :: bits(:)  !! patterns, `(n)`
    integer(i32), intent(in) :: format              !! 1 or 2, the format of this width
    real(sp), intent(out), contiguous :: x(:)       !! values, `(n)`
    integer(i32), intent(in) :: threads             !! threads to use, at least 1
    integer(i64) :: first, last, i

    !$omp parallel do default(none) shared(x, format, bits) private(last, i) &
    !$omp schedule(static) num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
    do first = 1, size(x, kind=i64), RUN
      last = min(first + RUN - 1, size(x, kind=i64))
      if (format == 1) then
        do i = first, last
          x(i) = widened(int(bits(i), i32), EXPONENT_BITS(1), MANTISSA_BITS(1), FINITE_ONLY(1))
        end do
      else
        do i = first, last
          x(i) = widened(int(bits(i), i32), EXPONENT_BITS(2), MANTISSA_BITS(2), FINITE_ONLY(2))
        end do
      end if
    end do
  end subroutine widen

  !> Pattern of the value of the format that is nearest to `x`.
  !>
  !> The significand, hidden bit included, is shifted to the width of the format (further for a
  !> denormal) and rounded; added to the exponent field, its carry raises the exponent as it should.
  pure elemental function narrowed(x, exponents, mantissas, finite) result(pattern)
    real(sp), intent(in) :: x
    integer(i32), intent(in) :: exponents, mantissas
    logical, intent(in) :: finite
    integer(i32) :: pattern, magnitude, exponent, significand, cut, odd, infinite, overflow, nan

    infinite = shiftl(shiftl(1, exponents) - 1, mantissas)
    overflow = merge(infinite + shiftl(1, mantissas) - 1, infinite, finite)
    nan = merge(overflow, ior(infinite, shiftl(1, mantissas - 1)), finite)
    magnitude = iand(transfer(x, 0_i32), huge(0_i32))
    exponent = max(shiftr(magnitude, 23), 1)
    significand = magnitude - shiftl(exponent - 1, 23)
    exponent = exponent - 127 + shiftl(1, exponents - 1) - 1
    cut = min(23 - mantissas + max(0, 1 - exponent), 25)
    odd = iand(shiftr(significand, cut), 1)
    significand = shiftr(significand + shiftl(1, cut - 1) - 1 + odd, cut)
    pattern = min(shiftl(max(exponent, 1) - 1, mantissas) + significand, overflow)
    pattern = merge(nan, pattern, magnitude > 2139095040)
    pattern = ior(pattern, shiftl(shiftr(transfer(x, 0_i32), 31), exponents + mantissas))
  end function narrowed

  !> Value of a pattern.  A denormal is its magnitude times the smallest positive value of the
  !> format, \( 2^{1 - bias - mantissas} \), which is a normal float32 whose bits are spelt
  !> out.
  pure elemental function widened(pattern, exponents, mantissas, finite) result(x)
    integer(i32), intent(in) :: pattern, exponents, mantissas
    logical, intent(in) :: finite
    real(sp) :: x, least
    integer(i32) :: magnitude, infinite, bits, bias

    if (exponents == 8) then    ! bfloat16 is the upper 16 bits of float32
      x = transfer(shiftl(pattern, 16), x)
      return
    end if
    bias = shiftl(1, exponents - 1) - 1
    least = transfer(shiftl(127 + 1 - bias - mantissas, 23), least)
    infinite = shiftl(shiftl(1, exponents) - 1, mantissas)
    magnitude = iand(pattern, shiftl(1, exponents + mantissas) - 1)
    bits = shiftl(magnitude, 23 - mantissas) + shiftl(127 - bias, 23)
    if (finite) then
      bits = merge(2143289344, bits, magnitude == infinite + shiftl(1, mantissas) - 1)
    else
      bits = bits + merge(shiftl(127 - bias, 23), 0, magnitude >= infinite)
    end if
    bits = merge(transfer(real(magnitude, sp)*least, 0_i32), bits, &
      magnitude < shiftl(1, mantissas))
    x = transfer(ior(bits, shiftl(shiftr(pattern, exponents + mantissas), 31)), x)
  end function widened
end module fq_convert_int8
