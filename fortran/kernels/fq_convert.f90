!> float32 to and from the bits of narrower binary floating-point formats.
!>
!> A format is told by its exponent bits, its mantissa bits, and whether it is `finite_only`: without
!> infinities, its only NaN being all ones (float8 E4M3FN; Micikevicius et al. 2022, arXiv 2209.05433).
!>
!> Python: `pyfq/convert.py`.  Reference: `pyfq/reference/convert.py`.
module fq_convert_real32
  use fq_kinds, only: i8, i16, i32, i64, sp
  implicit none (type, external)
  private
  public :: narrow16, narrow8, widen16, widen8

  integer(i64), parameter :: SMALL_WORK = 65536    ! elements below which a team costs more than it gains

contains

  !> 16-bit patterns nearest to the values, ties to even.
  subroutine narrow16(x, exponent_bits, mantissa_bits, finite_only, bits, threads)
    real(sp), intent(in), contiguous :: x(:)           !! values, `(n)`
    integer(i32), intent(in) :: exponent_bits          !! 5 or 8
    integer(i32), intent(in) :: mantissa_bits          !! 10 or 7
    logical, intent(in) :: finite_only                 !! no infinities
    integer(i16), intent(out), contiguous :: bits(:)   !! patterns, `(n)`
    integer(i32), intent(in) :: threads                !! threads to use, at least 1
    integer(i64) :: i

    !$omp parallel do simd default(none) shared(x, exponent_bits, mantissa_bits, finite_only, bits) &
    !$omp schedule(static) num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
    do i = 1, size(x, kind=i64)
      bits(i) = int(narrowed(x(i), exponent_bits, mantissa_bits, finite_only), i16)
    end do
  end subroutine narrow16

  !> 8-bit patterns nearest to the values, ties to even.
  subroutine narrow8(x, exponent_bits, mantissa_bits, finite_only, bits, threads)
    real(sp), intent(in), contiguous :: x(:)          !! values, `(n)`
    integer(i32), intent(in) :: exponent_bits         !! 4 or 5
    integer(i32), intent(in) :: mantissa_bits         !! 3 or 2
    logical, intent(in) :: finite_only                !! no infinities
    integer(i8), intent(out), contiguous :: bits(:)   !! patterns, `(n)`
    integer(i32), intent(in) :: threads               !! threads to use, at least 1
    integer(i64) :: i

    !$omp parallel do simd default(none) shared(x, exponent_bits, mantissa_bits, finite_only, bits) &
    !$omp schedule(static) num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
    do i = 1, size(x, kind=i64)
      bits(i) = int(narrowed(x(i), exponent_bits, mantissa_bits, finite_only), i8)
    end do
  end subroutine narrow8

  !> The values of 16-bit patterns, exactly.
  subroutine widen16(bits, exponent_bits, mantissa_bits, finite_only, x, threads)
    integer(i16), intent(in), contiguous :: bits(:)   !! patterns, `(n)`
    integer(i32), intent(in) :: exponent_bits         !! 5 or 8
    integer(i32), intent(in) :: mantissa_bits         !! 10 or 7
    logical, intent(in) :: finite_only                !! no infinities
    real(sp), intent(out), contiguous :: x(:)         !! values, `(n)`
    integer(i32), intent(in) :: threads               !! threads to use, at least 1
    real(sp) :: least
    integer(i64) :: i

    least = least_value(exponent_bits, mantissa_bits)
    !$omp parallel do simd default(none) shared(x, exponent_bits, mantissa_bits, finite_only, bits, least) &
    !$omp schedule(static) num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
    do i = 1, size(x, kind=i64)
      x(i) = widened(int(bits(i), i32), exponent_bits, mantissa_bits, finite_only, least)
    end do
  end subroutine widen16

  !> The values of 8-bit patterns, exactly.
  subroutine widen8(bits, exponent_bits, mantissa_bits, finite_only, x, threads)
    integer(i8), intent(in), contiguous :: bits(:)    !! patterns, `(n)`
    integer(i32), intent(in) :: exponent_bits         !! 4 or 5
    integer(i32), intent(in) :: mantissa_bits         !! 3 or 2
    logical, intent(in) :: finite_only                !! no infinities
    real(sp), intent(out), contiguous :: x(:)         !! values, `(n)`
    integer(i32), intent(in) :: threads               !! threads to use, at least 1
    real(sp) :: least
    integer(i64) :: i

    least = least_value(exponent_bits, mantissa_bits)
    !$omp parallel do simd default(none) shared(x, exponent_bits, mantissa_bits, finite_only, bits, least) &
    !$omp schedule(static) num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
    do i = 1, size(x, kind=i64)
      x(i) = widened(int(bits(i), i32), exponent_bits, mantissa_bits, finite_only, least)
    end do
  end subroutine widen8

  !> Pattern of the value of the format that is nearest to `x`.
  !>
  !> The significand, hidden bit included, is shifted to the width of the format (further for a denormal)
  !> and rounded; added to the exponent field, its carry raises the exponent as it should.
  pure elemental function narrowed(x, exponent_bits, mantissa_bits, finite_only) result(pattern)
    real(sp), intent(in) :: x
    integer(i32), intent(in) :: exponent_bits, mantissa_bits
    logical, intent(in) :: finite_only
    integer(i32) :: pattern, magnitude, exponent, significand, cut, infinite, overflow, nan

    infinite = shiftl(shiftl(1, exponent_bits) - 1, mantissa_bits)
    overflow = merge(infinite + shiftl(1, mantissa_bits) - 1, infinite, finite_only)
    nan = merge(overflow, ior(infinite, shiftl(1, mantissa_bits - 1)), finite_only)
    magnitude = iand(transfer(x, 0_i32), huge(0_i32))
    exponent = max(shiftr(magnitude, 23), 1)
    significand = magnitude - shiftl(exponent - 1, 23)
    exponent = exponent - 127 + shiftl(1, exponent_bits - 1) - 1
    cut = min(23 - mantissa_bits + max(0, 1 - exponent), 25)
    significand = shiftr(significand + shiftl(1, cut - 1) - 1 + iand(shiftr(significand, cut), 1), cut)
    pattern = min(shiftl(max(exponent, 1) - 1, mantissa_bits) + significand, overflow)
    pattern = merge(nan, pattern, magnitude > 2139095040)
    pattern = ior(pattern, shiftl(shiftr(transfer(x, 0_i32), 31), exponent_bits + mantissa_bits))
  end function narrowed

  !> Value of a pattern; `least` is the smallest positive value of the format.
  pure elemental function widened(pattern, exponent_bits, mantissa_bits, finite_only, least) result(x)
    integer(i32), intent(in) :: pattern, exponent_bits, mantissa_bits
    logical, intent(in) :: finite_only
    real(sp), intent(in) :: least
    real(sp) :: x
    integer(i32) :: magnitude, infinite, bits, to_normal, to_infinite

    magnitude = iand(pattern, shiftl(1, exponent_bits + mantissa_bits) - 1)
    infinite = shiftl(shiftl(1, exponent_bits) - 1, mantissa_bits)
    to_normal = shiftl(127 - (shiftl(1, exponent_bits - 1) - 1), 23)
    to_infinite = shiftl(255 - (shiftl(1, exponent_bits) - 1), 23)
    bits = shiftl(magnitude, 23 - mantissa_bits)
    if (finite_only) then
      bits = merge(2143289344, bits + to_normal, magnitude == infinite + shiftl(1, mantissa_bits) - 1)
    else
      bits = bits + merge(to_infinite, to_normal, magnitude >= infinite)
    end if
    bits = merge(transfer(real(magnitude, sp)*least, 0_i32), bits, magnitude < shiftl(1, mantissa_bits))
    bits = ior(bits, shiftl(shiftr(pattern, exponent_bits + mantissa_bits), 31))
    x = transfer(bits, x)
  end function widened

  !> Smallest positive value of a format: \( 2^{1 - bias - mantissa\_bits} \).
  pure function least_value(exponent_bits, mantissa_bits) result(least)
    integer(i32), intent(in) :: exponent_bits, mantissa_bits
    real(sp) :: least

    least = scale(1.0_sp, 2 - 2**(exponent_bits - 1) - mantissa_bits)
  end function least_value

end module fq_convert_real32
