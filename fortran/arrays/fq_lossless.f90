!> Floats as symbols that an entropy coder takes, and the rest of their bits; back to the bit.
!>
!> The symbol of a number is the 8 bits below its sign; of 8 bits all of them, the sign lowest.  The
!> rest is the sign above the lower bits: 1, 3, 7 bytes of 16, 32, 64 bits.  In a block of numbers
!> the first bytes of all lie side by side, then the second ones, and so on.
!>
!> Python: `pyfq/arrays/lossless.py`.  Reference: `pyfq/reference/arrays/lossless.py`.
module fq_lossless_int8
  use fq_crc32, only: crc32_of, crc32_table
  use fq_kinds, only: i8, i32, i64, ik => i8
  use fq_work_size, only: SMALL_RANKING
  implicit none (type, external)
  private
  public :: join_numbers, place_rests, split_symbols

  integer(i64), parameter, public :: BLOCK = 65536    !! numbers of a block
  integer(i64), parameter :: RUN = 1024               !! numbers that are taken at a time
  integer(i32), parameter :: BITS = bit_size(1_ik)
  integer(i32), parameter :: LOW_BITS = max(BITS - 9, 0)
  integer(ik), parameter :: LOW = shiftl(1_ik, LOW_BITS) - 1_ik
  integer(ik), parameter :: BYTE = shiftr(not(0_ik), BITS - 8)
  integer(i32), parameter :: PLANES = BITS/8 - 1      !! bytes of the rest
  integer(i32), parameter :: LAST_PLANE = max(PLANES - 1, 0)
  integer(i32), parameter :: SECOND = min(8, BITS)    !! bits below the second byte of a rest
  integer(i32), parameter :: THIRD = min(16, BITS)    !! and below the third
  integer(i8), parameter :: CODE_OF_0 = int(-127, i8)

  !> Which rests of a block are left out: those of no number, of symbol 0 as all these are +0, of
  !> symbol 0 as all these are +0 or -0, whose signs come first.
  integer(i64), parameter, public :: ZEROS_KEPT = 0
  integer(i64), parameter, public :: ZEROS_LEFT_OUT = 1
  integer(i64), parameter, public :: ZEROS_ARE_SIGNS = 2

  !> What is wrong with the rests of a block.
  integer(i32), parameter, public :: RESTS_FINE = 0
  integer(i32), parameter, public :: RESTS_CHECKSUM = 1  !! its bytes have another checksum
  integer(i32), parameter, public :: RESTS_KEPT = 2      !! rests are not as many as numbers
  integer(i32), parameter, public :: RESTS_SIGNS = 3     !! bits beyond the signs are not 0

contains

  !> Codes of symbols for the entropy coder, and what rests of a block are.
  !>
  !> The code of symbol s is \( (s + 1) \bmod 256 - 128 \), so that 254 and 255 are the escapes.
  subroutine split_symbols(w, codes, found, threads)
    integer(ik), intent(in), contiguous :: w(:)          !! bits of the numbers, `(n)`
    integer(i8), intent(out), contiguous :: codes(:)     !! codes, `(n)`
    integer(i64), intent(out), contiguous :: found(:, :)  !! how many have symbol 0, bits that rests
                                                         !! of these have, that some rest has,
                                                         !! `(3, blocks)`
    integer(i32), intent(in) :: threads                  !! threads to use, at least 1
    integer(i64) :: b, last

    !$omp parallel do default(none) private(last) shared(w, codes, found) schedule(static) &
    !$omp num_threads(threads) if(size(w, kind=i64) > SMALL_RANKING)
    do b = 1, size(found, 2, kind=i64)
      last = min(b*BLOCK, size(w, kind=i64))
      call split_block(w((b - 1)*BLOCK + 1:last), codes((b - 1)*BLOCK + 1:last), found(:, b))
    end do
  end subroutine split_symbols

  !> `split_symbols` of one block.
  pure subroutine split_block(w, codes, found)
    integer(ik), intent(in), contiguous :: w(:)
    integer(i8), intent(out), contiguous :: codes(:)
    integer(i64), intent(out) :: found(3)
    integer(ik) :: symbol, rest, any_rest, any_without
    integer(i64) :: i
    integer(i32) :: without

    without = 0
    any_rest = 0
    any_without = 0
    do i = 1, size(w, kind=i64)
      symbol = symbol_bits(w(i))
      rest = rest_of(w(i))
      codes(i) = int(ieor(iand(int(symbol, i32) + 1, 255), 128), i8)
      any_rest = ior(any_rest, rest)
      any_without = ior(any_without, merge(rest, 0_ik, symbol == 0))
      without = without + merge(1, 0, symbol == 0)
    end do
    found = [int(without, i64), int(any_without, i64), int(any_rest, i64)]
  end subroutine split_block

  !> The 8 bits below the sign; of 8 bits all, the sign lowest.
  pure elemental function symbol_bits(w) result(symbol)
    integer(ik), intent(in) :: w
    integer(ik) :: symbol

    symbol = shiftr(shiftl(w, 1), BITS - 8)
    if (PLANES == 0) symbol = ior(symbol, shiftr(w, BITS - 1))
  end function symbol_bits

  !> 0 for symbol 0, else 1: no branch, which would be missed.
  pure elemental function is_kept(symbol) result(kept)
    integer(ik), intent(in) :: symbol
    integer(i32) :: kept

    kept = shiftr(iand(int(symbol, i32), 255) + 255, 8)
  end function is_kept

  !> The sign above the lower bits.
  pure elemental function rest_of(w) result(rest)
    integer(ik), intent(in) :: w
    integer(ik) :: rest

    rest = ior(iand(w, LOW), shiftl(shiftr(w, BITS - 1), LOW_BITS))
  end function rest_of

  !> The number of a symbol and a rest.
  pure elemental function number_of(symbol, rest) result(w)
    integer(ik), intent(in) :: symbol, rest
    integer(ik) :: w

    if (PLANES == 0) then
      w = ior(shiftr(symbol, 1), shiftl(symbol, BITS - 1))
    else
      w = ior(ior(iand(rest, LOW), shiftl(symbol, LOW_BITS)), &
        shiftl(shiftr(rest, LOW_BITS), BITS - 1))
    end if
  end function number_of

  !> The symbol of a code.
  pure elemental function symbol_of_code(code) result(symbol)
    integer(i8), intent(in) :: code
    integer(ik) :: symbol

    symbol = int(iand(int(code, i32) + 127, 255), ik)
  end function symbol_of_code

  !> Write the rests of each block where `places` says, and tell their checksums.
  subroutine place_rests(w, places, body, checksums, threads)
    integer(ik), intent(in), contiguous :: w(:)          !! bits of the numbers, `(n)`
    integer(i64), intent(in), contiguous :: places(:, :)  !! bytes before a block, its bytes, which
                                                         !! rests are left out, numbers whose rests
                                                         !! are kept, a bit for each plane that is,
                                                         !! `(5, blocks)`
    integer(i8), intent(inout), contiguous :: body(:)    !! the stream
    integer(i32), intent(out), contiguous :: checksums(:)  !! CRC-32 of each block, `(blocks)`
    integer(i32), intent(in) :: threads                  !! threads to use, at least 1
    integer(i32) :: table(0:255, 0:7)
    integer(i64) :: b, first, last

    table = crc32_table()
    !$omp parallel do default(none) private(first, last) shared(w, places, body, checksums, table) &
    !$omp schedule(static) num_threads(threads) if(size(w, kind=i64) > SMALL_RANKING)
    do b = 1, size(places, 2, kind=i64)
      first = places(1, b) + 1
      last = places(1, b) + places(2, b)
      call place_block_rests(w((b - 1)*BLOCK + 1:min(b*BLOCK, size(w, kind=i64))), places(3:, b), &
        body(first:last))
      checksums(b) = crc32_of(body(first:last), table)
    end do
  end subroutine place_rests

  !> `place_rests` of one block.
  pure subroutine place_block_rests(w, layout, body)
    integer(ik), intent(in), contiguous :: w(:)
    integer(i64), intent(in) :: layout(3)
    integer(i8), intent(inout), contiguous :: body(:)
    integer(ik) :: rests(RUN)
    integer(i64) :: first, last, done, n, at

    at = 0
    if (layout(1) == ZEROS_ARE_SIGNS) then
      at = (size(w, kind=i64) - layout(2) + 7)/8
      call place_signs(w, body(:at))
    end if
    done = 0
    do first = 1, size(w, kind=i64), RUN
      last = min(first + RUN - 1, size(w, kind=i64))
      call collect_rests(w(first:last), layout(1) == ZEROS_KEPT, rests, n)
      n = min(n, layout(2) - done)    ! there is room for no more
      call place_planes(rests(:n), layout(3), layout(2), done, body(at + 1:))
      done = done + n
    end do
  end subroutine place_block_rests

  !> Signs of the numbers of symbol 0, eight a byte, from the lowest bit on.
  pure subroutine place_signs(w, signs)
    integer(ik), intent(in), contiguous :: w(:)
    integer(i8), intent(out), contiguous :: signs(:)
    integer(i64) :: i, done
    integer(i32) :: byte, filled, counts

    signs = 0
    done = 0
    byte = 0
    filled = 0
    do i = 1, size(w, kind=i64)
      counts = 1 - is_kept(symbol_bits(w(i)))
      byte = ior(byte, shiftl(iand(int(shiftr(w(i), BITS - 1), i32), counts), filled))
      filled = filled + counts
      if (filled == 8) then
        if (done == size(signs, kind=i64)) return
        done = done + 1
        signs(done) = int(byte, i8)
        byte = 0
        filled = 0
      end if
    end do
    if (filled > 0 .and. done < size(signs, kind=i64)) signs(done + 1) = int(byte, i8)
  end subroutine place_signs

  !> Rests of all numbers, or of those whose symbol is not 0.
  pure subroutine collect_rests(w, all_kept, rests, n)
    integer(ik), intent(in), contiguous :: w(:)
    logical, intent(in) :: all_kept
    integer(ik), intent(inout) :: rests(RUN)
    integer(i64), intent(out) :: n
    integer(i64) :: i

    n = size(w, kind=i64)
    if (all_kept) then
      rests(:n) = rest_of(w)
      return
    end if
    n = 0
    do i = 1, size(w, kind=i64)
      rests(n + 1) = rest_of(w(i))    ! there is room for it, whether it counts or not
      n = n + is_kept(symbol_bits(w(i)))
    end do
  end subroutine collect_rests

  !> Write the bytes of some rests, each to its plane, after those that are done.
  pure subroutine place_planes(rests, kept_planes, kept, done, body)
    integer(ik), intent(in), contiguous :: rests(:)
    integer(i64), intent(in) :: kept_planes, kept, done
    integer(i8), intent(inout), contiguous :: body(:)
    integer(i64) :: at, i
    integer(i32) :: plane

    at = done
    do plane = 0, LAST_PLANE
      if (.not. btest(kept_planes, plane)) cycle
      do i = 1, size(rests, kind=i64)
        body(at + i) = int(iand(int(shiftr(rests(i), 8*plane), i32), 255), i8)
      end do
      at = at + kept
    end do
  end subroutine place_planes

  !> Numbers from codes of symbols and rests; whatever the stream holds, no other memory is touched.
  subroutine join_numbers(codes, places, body, checksums, w, faults, threads)
    integer(i8), intent(in), contiguous :: codes(:)      !! codes, `(n)`
    integer(i64), intent(in), contiguous :: places(:, :)  !! those of `place_rests`, `(5, blocks)`
    integer(i8), intent(in), contiguous :: body(:)       !! the stream
    integer(i32), intent(in), contiguous :: checksums(:)  !! CRC-32 of each block, `(blocks)`
    integer(ik), intent(inout), contiguous :: w(:)       !! bits of the numbers, `(n)`
    integer(i32), intent(out), contiguous :: faults(:)   !! what is wrong with each, `(blocks)`
    integer(i32), intent(in) :: threads                  !! threads to use, at least 1
    integer(i32) :: table(0:255, 0:7)
    integer(i64) :: b, first, last

    table = crc32_table()
    !$omp parallel do default(none) private(first, last) schedule(static) num_threads(threads) &
    !$omp shared(codes, places, body, checksums, w, faults, table) &
    !$omp if(size(w, kind=i64) > SMALL_RANKING)
    do b = 1, size(places, 2, kind=i64)
      first = places(1, b) + 1
      last = places(1, b) + places(2, b)
      faults(b) = RESTS_CHECKSUM
      if (crc32_of(body(first:last), table) /= checksums(b)) cycle
      first = (b - 1)*BLOCK + 1
      call join_block(codes(first:min(b*BLOCK, size(w, kind=i64))), places(3:, b), &
        body(places(1, b) + 1:last), w(first:min(b*BLOCK, size(w, kind=i64))), faults(b))
    end do
  end subroutine join_numbers

  !> `join_numbers` of one block.
  pure subroutine join_block(codes, layout, body, w, fault)
    integer(i8), intent(in), contiguous :: codes(:)
    integer(i64), intent(in) :: layout(3)
    integer(i8), intent(in), contiguous :: body(:)
    integer(ik), intent(inout), contiguous :: w(:)
    integer(i32), intent(out) :: fault
    integer(ik) :: rests(RUN + 1)
    integer(i64) :: first, last, done, n, at

    fault = RESTS_KEPT
    if (layout(1) /= ZEROS_KEPT .and. count_others(codes) /= layout(2)) return
    at = 0
    if (layout(1) == ZEROS_ARE_SIGNS) at = (size(w, kind=i64) - layout(2) + 7)/8
    rests = 0
    done = 0
    do first = 1, size(w, kind=i64), RUN
      last = min(first + RUN - 1, size(w, kind=i64))
      n = last - first + 1
      if (layout(1) /= ZEROS_KEPT) n = count_others(codes(first:last))
      call take_planes(body(at + 1:), layout(3), layout(2), done, rests(:n))
      if (n == last - first + 1) then
        w(first:last) = number_of(symbol_of_code(codes(first:last)), rests(:n))
      else
        call spread_rests(codes(first:last), rests, w(first:last))
      end if
      done = done + n
    end do
    fault = RESTS_FINE
    if (layout(1) == ZEROS_ARE_SIGNS) call take_signs(body(:at), codes, w, fault)
  end subroutine join_block

  !> How many codes are not of symbol 0.
  pure function count_others(codes) result(others)
    integer(i8), intent(in), contiguous :: codes(:)
    integer(i64) :: others, i
    integer(i32) :: part

    part = 0    ! of a block there are few enough
    do i = 1, size(codes, kind=i64)
      part = part + merge(1, 0, codes(i) /= CODE_OF_0)
    end do
    others = part
  end function count_others

  !> Rests of some numbers, after those that are done: bytes of planes, or 0.
  pure subroutine take_planes(body, kept_planes, kept, done, rests)
    integer(i8), intent(in), contiguous :: body(:)
    integer(i64), intent(in) :: kept_planes, kept, done
    integer(ik), intent(out), contiguous :: rests(:)
    integer(i64) :: at, i
    integer(i32) :: plane

    at = done
    if (PLANES == 3 .and. kept_planes == 7) then    ! in one loop, for speed
      do i = 1, size(rests, kind=i64)
        rests(i) = ior(ior(iand(int(body(at + i), ik), BYTE), &
          shiftl(iand(int(body(at + kept + i), ik), BYTE), SECOND)), &
          shiftl(iand(int(body(at + 2*kept + i), ik), BYTE), THIRD))
      end do
      return
    end if
    rests = 0
    do plane = 0, LAST_PLANE
      if (.not. btest(kept_planes, plane)) cycle
      do i = 1, size(rests, kind=i64)
        rests(i) = ior(rests(i), shiftl(iand(int(body(at + i), ik), BYTE), 8*plane))
      end do
      at = at + kept
    end do
  end subroutine take_planes

  !> Numbers of codes; rests are those of the codes that are not of symbol 0, whose numbers are 0.
  pure subroutine spread_rests(codes, rests, w)
    integer(i8), intent(in), contiguous :: codes(:)
    integer(ik), intent(in) :: rests(RUN + 1)
    integer(ik), intent(inout), contiguous :: w(:)
    integer(ik) :: symbol
    integer(i64) :: i, next
    integer(i32) :: kept

    next = 1
    do i = 1, size(codes, kind=i64)
      symbol = symbol_of_code(codes(i))
      kept = is_kept(symbol)
      w(i) = iand(number_of(symbol, rests(next)), int(-kept, ik))
      next = next + kept
    end do
  end subroutine spread_rests

  !> Give the numbers of symbol 0 their signs.
  pure subroutine take_signs(signs, codes, w, fault)
    integer(i8), intent(in), contiguous :: signs(:)
    integer(i8), intent(in), contiguous :: codes(:)
    integer(ik), intent(inout), contiguous :: w(:)
    integer(i32), intent(inout) :: fault
    integer(i64) :: i, done
    integer(i32) :: byte, left, counts

    done = 0
    byte = 0
    left = 0
    do i = 1, size(codes, kind=i64)
      if (left == 0 .and. done < size(signs, kind=i64)) then
        done = done + 1
        byte = iand(int(signs(done), i32), 255)
        left = 8
      end if
      counts = 1 - is_kept(symbol_of_code(codes(i)))
      w(i) = ior(w(i), shiftl(int(iand(byte, counts), ik), BITS - 1))
      byte = shiftr(byte, counts)
      left = left - counts
    end do
    if (byte /= 0) fault = RESTS_SIGNS
  end subroutine take_signs
end module fq_lossless_int8
