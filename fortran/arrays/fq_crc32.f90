!> CRC-32 of bytes, as `zlib.crc32` has it: ISO/IEC 13239, the polynomial 0x04C11DB7 reflected.
!>
!> Eight bytes are taken at a time (Kounavis & Berry 2008, slicing by 8), in several parts of the
!> bytes in turn, so that their chains of dependent operations run side by side.
module fq_crc32
  use fq_kinds, only: i8, i16, i32, i64
  implicit none (type, external)
  private
  public :: crc32_of, crc32_table

  integer(i32), parameter :: POLYNOMIAL = int(z'EDB88320', i32)  !! the coefficient of 1 is on top
  integer(i32), parameter :: ONE = ibset(0_i32, 31)               !! the polynomial 1
  integer(i32), parameter :: X8 = shiftr(ONE, 8)                 !! \( x^8 \), a byte's shift
  integer(i32), parameter :: STEP = 8                            !! bytes that are taken at a time
  integer(i32), parameter :: PARTS = 3                           !! chains side by side
  logical, parameter :: LITTLE_ENDIAN = transfer([1_i8, 0_i8], 0_i16) == 1_i16

contains

  !> What a byte adds that 0 ... 7 others follow.
  pure function crc32_table() result(table)
    integer(i32) :: table(0:255, 0:STEP - 1)
    integer(i32) :: byte, bit, k

    do byte = 0, 255
      table(byte, 0) = byte
      do bit = 1, 8
        table(byte, 0) = ieor(shiftr(table(byte, 0), 1), iand(POLYNOMIAL, -iand(table(byte, 0), 1)))
      end do
    end do
    do k = 1, STEP - 1
      table(:, k) = ieor(shiftr(table(:, k - 1), 8), table(iand(table(:, k - 1), 255), 0))
    end do
  end function crc32_table

  !> CRC-32 of some bytes.
  pure function crc32_of(bytes, table) result(crc)
    integer(i8), intent(in), contiguous :: bytes(:)
    integer(i32), intent(in) :: table(0:255, 0:STEP - 1)  !! that of `crc32_table`
    integer(i32) :: crc, shift, chains(PARTS)
    integer(i64) :: length, at, i
    integer(i32) :: part

    length = size(bytes, kind=i64)/(PARTS*STEP)*STEP
    chains = [not(0), (0, part=2, PARTS)]
    do at = 0, length - STEP, STEP
      !gcc$ unroll 3
      do part = 1, PARTS
        call take_bytes(bytes((part - 1)*length + at + 1:(part - 1)*length + at + STEP), table, &
          chains(part))
      end do
    end do
    shift = power(length)
    crc = chains(1)
    do part = 2, PARTS
      crc = ieor(product_of(crc, shift), chains(part))
    end do
    do i = PARTS*length + 1, size(bytes, kind=i64)
      crc = ieor(shiftr(crc, 8), table(iand(ieor(crc, int(bytes(i), i32)), 255), 0))
    end do
    crc = not(crc)
  end function crc32_of

  !> Take eight bytes into a remainder.
  pure subroutine take_bytes(bytes, table, crc)
    integer(i8), intent(in) :: bytes(STEP)
    integer(i32), intent(in) :: table(0:255, 0:STEP - 1)
    integer(i32), intent(inout) :: crc
    integer(i64) :: x

    x = ieor(word_of(bytes), iand(int(crc, i64), 4294967295_i64))
    crc = ieor(ieor(ieor(table(byte_of(x, 0), 7), table(byte_of(x, 8), 6)), &
      ieor(table(byte_of(x, 16), 5), table(byte_of(x, 24), 4))), &
      ieor(ieor(table(byte_of(x, 32), 3), table(byte_of(x, 40), 2)), &
      ieor(table(byte_of(x, 48), 1), table(byte_of(x, 56), 0))))
  end subroutine take_bytes

  !> Eight bytes as a number, the first the lowest; where memory has them so, it is one load.
  pure function word_of(bytes) result(x)
    integer(i8), intent(in) :: bytes(STEP)
    integer(i64) :: x
    integer(i32) :: i

    if (LITTLE_ENDIAN) then
      x = transfer(bytes, 0_i64)
    else
      x = 0
      do i = STEP, 1, -1
        x = ior(shiftl(x, 8), iand(int(bytes(i), i64), 255_i64))
      end do
    end if
  end function word_of

  pure function byte_of(x, shift) result(byte)
    integer(i64), intent(in) :: x
    integer(i32), intent(in) :: shift
    integer(i64) :: byte

    byte = iand(shiftr(x, shift), 255_i64)
  end function byte_of

  !> \( x^{8 n} \), by squares.
  pure function power(n) result(p)
    integer(i64), intent(in) :: n
    integer(i32) :: p, square
    integer(i64) :: left

    p = ONE
    square = X8
    left = n
    do while (left > 0)
      if (iand(left, 1_i64) == 1) p = product_of(p, square)
      square = product_of(square, square)
      left = shiftr(left, 1)
    end do
  end function power

  !> Product of two polynomials, modulo the third.
  pure function product_of(a, b) result(p)
    integer(i32), intent(in) :: a, b
    integer(i32) :: p, shifted, bit

    p = 0
    shifted = b
    do bit = 31, 0, -1
      if (btest(a, bit)) p = ieor(p, shifted)
      shifted = ieor(shiftr(shifted, 1), iand(POLYNOMIAL, -iand(shifted, 1)))
    end do
  end function product_of
end module fq_crc32
