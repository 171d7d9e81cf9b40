!> float32 to and from the bits of narrower binary floating-point formats.
!>
!> A format is told by its exponent bits, its mantissa bits, and whether it is finite only: without
!> infinities, its only NaN being all ones (float8 E4M3FN; Micikevicius et al. 2022, arXiv
!> 2209.05433). Each loop names its format as constants: with them the compiler folds all that
!> depends on it.
!>
!> Python: `pyfq/convert.py`.  Reference: `pyfq/reference/convert.py`.
module fq_convert_real32
  use fq_kinds, only: i8, i16, i32, i64, sp
  use fq_team, only: SMALL_WORK
  implicit none (type, external)
  private
  public :: narrow16, narrow8, widen16, widen8

  integer(i64), parameter :: RUN = 4096            ! elements of a task, in L1

contains

  !> 16-bit patterns nearest to the values, ties to even: bfloat16 if `brain`, else float16.
  subroutine narrow16(x, brain, bits, threads)
    real(sp), intent(in), contiguous :: x(:)           !! values, `(n)`
    logical, intent(in) :: brain                       !! bfloat16 rather than float16
    integer(i16), intent(out), contiguous :: bits(:)   !! patterns, `(n)`
    integer(i32), intent(in) :: threads                !! threads to use, at least 1
    integer(i64) :: first, last, i

    !$omp parallel do default(none) shared(x, brain, bits) private(last, i) &
    !$omp schedule(static) num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
    do first = 1, size(x, kind=i64), RUN
      last = min(first + RUN - 1, size(x, kind=i64))
      if (brain) then
        do i = first, last
          bits(i) = int(narrowed(x(i), 8, 7, .false.), i16)
        end do
      else
        do i = first, last
          bits(i) = int(narrowed(x(i), 5, 10, .false.), i16)
        end do
      end if
    end do
  end subroutine narrow16

  !> 8-bit patterns nearest to the values, ties to even: E4M3FN if `finite_only`, else E5M2.
  subroutine narrow8(x, finite_only, bits, threads)
    real(sp), intent(in), contiguous :: x(:)          !! values, `(n)`
    logical, intent(in) :: finite_only                !! E4M3FN rather than E5M2
    integer(i8), intent(out), contiguous :: bits(:)   !! patterns, `(n)`
    integer(i32), intent(in) :: threads               !! threads to use, at least 1
    integer(i64) :: first, last, i

    !$omp parallel do default(none) shared(x, finite_only, bits) private(last, i) &
    !$omp schedule(static) num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
    do first = 1, size(x, kind=i64), RUN
      last = min(first + RUN - 1, size(x, kind=i64))
      if (finite_only) then
        do i = first, last
          bits(i) = int(narrowed(x(i), 4, 3, .true.), i8)
        end do
      else
        do i = first, last
          bits(i) = int(narrowed(x(i), 5, 2, .false.), i8)
        end do
      end if
    end do
  end subroutine narrow8

  !> The values of 16-bit patterns, exactly: bfloat16 if `brain`, else float16.
  subroutine widen16(bits, brain, x, threads)
    integer(i16), intent(in), contiguous :: bits(:)   !! patterns, `(n)`
    logical, intent(in) :: brain                      !! bfloat16 rather than float16
    real(sp), intent(out), contiguous :: x(:)         !! values, `(n)`
    integer(i32), intent(in) :: threads               !! threads to use, at least 1
    integer(i64) :: first, last, i

    !$omp parallel do default(none) shared(x, brain, bits) private(last, i) &
    !$omp schedule(static) num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
    do first = 1, size(x, kind=i64), RUN
      last = min(first + RUN - 1, size(x, kind=i64))
      if (brain) then
        do i = first, last
          x(i) = transfer(shiftl(int(bits(i), i32), 16), 1.0_sp)    ! the upper half of float32
        end do
      else
        do i = first, last
          x(i) = widened(int(bits(i), i32), 5, 10, .false.)
        end do
      end if
    end do
  end subroutine widen16

  !> The values of 8-bit patterns, exactly: E4M3FN if `finite_only`, else E5M2.
  subroutine widen8(bits, finite_only, x, threads)
    integer(i8), intent(in), contiguous :: bits(:)    !! patterns, `(n)`
    logical, intent(in) :: finite_only                !! E4M3FN rather than E5M2
    real(sp), intent(out), contiguous :: x(:)         !! values, `(n)`
    integer(i32), intent(in) :: threads               !! threads to use, at least 1
    integer(i64) :: first, last, i

    !$omp parallel do default(none) shared(x, finite_only, bits) private(last, i) &
    !$omp schedule(static) num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
    do first = 1, size(x, kind=i64), RUN
      last = min(first + RUN - 1, size(x, kind=i64))
      if (finite_only) then
        do i = first, last
          x(i) = widened(int(bits(i), i32), 4, 3, .true.)
        end do
      else
        do i = first, last
          x(i) = widened(int(bits(i), i32), 5, 2, .false.)
        end do
      end if
    end do
  end subroutine widen8

  !> Pattern of the value of the format that is nearest to `x`.
  !>
  !> The significand, hidden bit included, is shifted to the width of the format (further for a
  !> denormal) and rounded; added to the exponent field, its carry raises the exponent as it should.
  pure elemental function narrowed(x, exponent_bits, mantissa_bits, finite_only) result(pattern)
    real(sp), intent(in) :: x
    integer(i32), intent(in) :: exponent_bits, mantissa_bits
    logical, intent(in) :: finite_only
    integer(i32) :: pattern, magnitude, exponent, significand, cut, odd, infinite, overflow, nan

    infinite = shiftl(shiftl(1, exponent_bits) - 1, mantissa_bits)
    overflow = merge(infinite + shiftl(1, mantissa_bits) - 1, infinite, finite_only)
    nan = merge(overflow, ior(infinite, shiftl(1, mantissa_bits - 1)), finite_only)
    magnitude = iand(transfer(x, 0_i32), huge(0_i32))
    exponent = max(shiftr(magnitude, 23), 1)
    significand = magnitude - shiftl(exponent - 1, 23)
    exponent = exponent - 127 + shiftl(1, exponent_bits - 1) - 1
    cut = min(23 - mantissa_bits + max(0, 1 - exponent), 25)
    odd = iand(shiftr(significand, cut), 1)
    significand = shiftr(significand + shiftl(1, cut - 1) - 1 + odd, cut)
    pattern = min(shiftl(max(exponent, 1) - 1, mantissa_bits) + significand, overflow)
    pattern = merge(nan, pattern, magnitude > 2139095040)
    pattern = ior(pattern, shiftl(shiftr(transfer(x, 0_i32), 31), exponent_bits + mantissa_bits))
  end function narrowed

  !> Value of a pattern.  A denormal is its magnitude times the smallest positive value of the
  !> format, \( 2^{1 - bias - mantissa\_bits} \), which is a normal float32 whose bits are spelt
  !> out.
  pure elemental function widened(pattern, exponent_bits, mantissa_bits, finite_only) result(x)
    integer(i32), intent(in) :: pattern, exponent_bits, mantissa_bits
    logical, intent(in) :: finite_only
    real(sp) :: x, least
    integer(i32) :: magnitude, infinite, bits, bias

    bias = shiftl(1, exponent_bits - 1) - 1
    least = transfer(shiftl(127 + 1 - bias - mantissa_bits, 23), least)
    infinite = shiftl(shiftl(1, exponent_bits) - 1, mantissa_bits)
    magnitude = iand(pattern, shiftl(1, exponent_bits + mantissa_bits) - 1)
    bits = shiftl(magnitude, 23 - mantissa_bits) + shiftl(127 - bias, 23)
    if (finite_only) then
      bits = merge(2143289344, bits, magnitude == infinite + shiftl(1, mantissa_bits) - 1)
    else
      bits = bits + merge(shiftl(127 - bias, 23), 0, magnitude >= infinite)
    end if
    bits = merge(transfer(real(magnitude, sp)*least, 0_i32), bits, &
      magnitude < shiftl(1, mantissa_bits))
    x = transfer(ior(bits, shiftl(shiftr(pattern, exponent_bits + mantissa_bits), 31)), x)
  end function widened

end module fq_convert_real32
