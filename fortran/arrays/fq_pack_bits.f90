!> Codes of 1 ... 16 bits in dense bytes, a run at a time.
module fq_pack_bits
  use fq_kinds, only: i8, i32, i64
  use fq_precondition, only: CHECKED, require
  implicit none (type, external)
  private
  public :: pack_run, unpack_run

contains

  !> Pack codes densely, lowest bits first: bit k of code i is bit `bits*(i - 1) + k` of the bytes.
  !>
  !> Eight codes fill `bits` whole bytes, so runs of a multiple of eight join without a seam.
  !>
  !> *Preconditions*: `size(packed) == (size(codes)*bits + 7)/8`.
  pure subroutine pack_run(codes, bits, packed)
    integer(i32), intent(in), contiguous :: codes(:)   !! codes, of which the lowest `bits` count
    integer(i32), intent(in) :: bits                   !! bits of a code, `1 ... 16`
    integer(i8), intent(out), contiguous :: packed(:)  !! bytes
    integer(i64) :: word, i, k, at

    if (CHECKED) call require(size(packed, kind=i64) == (size(codes, kind=i64)*bits + 7)/8, &
      'pack_run: size(packed) == (size(codes)*bits + 7)/8')
    select case (bits)
    case (8)
      do i = 1, size(codes, kind=i64)
        packed(i) = int(codes(i), i8)
      end do
    case (4)
      do i = 1, size(codes, kind=i64)/2
        packed(i) = int(ior(iand(codes(2*i - 1), 15), shiftl(codes(2*i), 4)), i8)
      end do
      if (mod(size(codes), 2) == 1) packed(size(packed)) = int(iand(codes(size(codes)), 15), i8)
    case (2)
      do i = 1, size(codes, kind=i64)/4
        packed(i) = int(ior(ior(iand(codes(4*i - 3), 3), shiftl(iand(codes(4*i - 2), 3), 2)), &
          ior(shiftl(iand(codes(4*i - 1), 3), 4), shiftl(codes(4*i), 6))), i8)
      end do
      call pack_stream(codes(size(codes)/4*4 + 1:), bits, packed(size(codes)/4 + 1:))
    case (16)
      do i = 1, size(codes, kind=i64)
        packed(2*i - 1) = int(codes(i), i8)
        packed(2*i) = int(shiftr(codes(i), 8), i8)
      end do
    case (1, 3, 5:7)
      at = 0
      do i = 1, size(codes, kind=i64) - 7, 8
        word = 0
        do k = 7, 0, -1
          word = ior(shiftl(word, bits), iand(int(codes(i + k), i64), 2_i64**bits - 1))
        end do
        do k = 1, bits
          packed(at + k) = int(word, i8)
          word = shiftr(word, 8)
        end do
        at = at + bits
      end do
      call pack_stream(codes(size(codes)/8*8 + 1:), bits, packed(at + 1:))
    case default
      call pack_stream(codes, bits, packed)
    end select
  end subroutine pack_run

  !> `pack_run` for any width, a code at a time.
  pure subroutine pack_stream(codes, bits, packed)
    integer(i32), intent(in), contiguous :: codes(:)
    integer(i32), intent(in) :: bits
    integer(i8), intent(out), contiguous :: packed(:)
    integer(i32) :: word, filled
    integer(i64) :: i, at

    word = 0
    filled = 0
    at = 0
    do i = 1, size(codes, kind=i64)
      word = ior(word, shiftl(iand(codes(i), 2**bits - 1), filled))
      filled = filled + bits
      do while (filled >= 8)
        at = at + 1
        packed(at) = int(word, i8)
        word = shiftr(word, 8)
        filled = filled - 8
      end do
    end do
    if (filled > 0) packed(at + 1) = int(word, i8)
  end subroutine pack_stream

  !> The codes of a run that `pack_run` packed; `signed` codes are two's complement.
  pure subroutine unpack_run(packed, bits, signed, codes)
    integer(i8), intent(in), contiguous :: packed(:)   !! bytes
    integer(i32), intent(in) :: bits                   !! bits of a code, `1 ... 16`
    logical, intent(in) :: signed                      !! the highest bit of a code is its sign
    integer(i32), intent(out), contiguous :: codes(:)  !! codes
    integer(i64) :: word, i, k, at

    select case (bits)
    case (8)
      if (signed) then
        codes = int(packed, i32)
      else
        codes = iand(int(packed, i32), 255)
      end if
      return
    case (4)
      do i = 1, size(codes, kind=i64)/2
        codes(2*i - 1) = iand(int(packed(i), i32), 15)
        codes(2*i) = iand(shiftr(int(packed(i), i32), 4), 15)
      end do
      if (mod(size(codes), 2) == 1) codes(size(codes)) = iand(int(packed(size(packed)), i32), 15)
    case (16)
      do i = 1, size(codes, kind=i64)
        codes(i) = ior(iand(int(packed(2*i - 1), i32), 255), &
          shiftl(iand(int(packed(2*i), i32), 255), 8))
      end do
    case (1:3, 5:7)
      at = 0
      do i = 1, size(codes, kind=i64) - 7, 8
        word = 0
        do k = bits, 1, -1
          word = ior(shiftl(word, 8), iand(int(packed(at + k), i64), 255_i64))
        end do
        do k = 0, 7
          codes(i + k) = iand(int(shiftr(word, k*bits), i32), 2**bits - 1)
        end do
        at = at + bits
      end do
      call unpack_stream(packed(at + 1:), bits, codes(size(codes)/8*8 + 1:))
    case default
      call unpack_stream(packed, bits, codes)
    end select
    if (signed) codes = shifta(shiftl(codes, 32 - bits), 32 - bits)
  end subroutine unpack_run

  !> `unpack_run` for any width, a code at a time, all codes unsigned.
  pure subroutine unpack_stream(packed, bits, codes)
    integer(i8), intent(in), contiguous :: packed(:)
    integer(i32), intent(in) :: bits
    integer(i32), intent(out), contiguous :: codes(:)
    integer(i32) :: word, filled
    integer(i64) :: i, at

    word = 0
    filled = 0
    at = 0
    do i = 1, size(codes, kind=i64)
      do while (filled < bits)
        at = at + 1
        word = ior(word, shiftl(iand(int(packed(at), i32), 255), filled))
        filled = filled + 8
      end do
      codes(i) = iand(word, 2**bits - 1)
      word = shiftr(word, bits)
      filled = filled - bits
    end do
  end subroutine unpack_stream
end module fq_pack_bits
