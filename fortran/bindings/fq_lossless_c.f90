!> C boundary of `fq_lossless`; `docs/boundary.md` says what all bindings have in common.
module fq_lossless_c_int8
  use fq_arguments, only: is_given, status_of
  use fq_extents, only: pieces
  use fq_kinds, only: i8, i32, i64, ik => i8
  use fq_lossless_int8, only: BLOCK, join_numbers, place_rests, split_symbols, ZEROS_ARE_SIGNS, &
    ZEROS_KEPT
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_join_numbers, fq_place_rests, fq_split_symbols

contains

  !> Codes of symbols, and what the rests of each block are: see `split_symbols`.
  subroutine fq_split_symbols(n, blocks, w, codes, found, threads, info) &
    bind(c, name='fq_split_symbols_i8')
    integer(i64), intent(in), value :: n                   !! how many numbers
    integer(i64), intent(in), value :: blocks              !! `ceiling(n/65536)`
    integer(ik), intent(in), optional :: w(n)              !! bits of the numbers, `(n)`
    integer(i8), intent(out), optional :: codes(n)         !! codes, `(n)`
    !> For each block how many numbers have symbol 0, bits that rests of these have, and bits that
    !> some rest has, `(blocks, 3)`.
    integer(i64), intent(out), optional :: found(3, blocks)
    integer(i32), intent(in), value :: threads             !! threads to use, at least 1
    integer(i32), intent(out) :: info                      !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w) .and. present(codes), [n])) return
    if (.not. is_given(present(found), [blocks])) return
    info = status_of([n, blocks], blocks == pieces(n, BLOCK), threads >= 1)
    if (info /= FQ_OK .or. n == 0) return
    call split_symbols(w, codes, found, threads)
  end subroutine fq_split_symbols

  !> Write the rests of each block where `places` says: see `place_rests`.
  subroutine fq_place_rests(n, blocks, length, w, places, body, checksums, threads, info) &
    bind(c, name='fq_place_rests_i8')
    integer(i64), intent(in), value :: n                   !! how many numbers
    integer(i64), intent(in), value :: blocks              !! `ceiling(n/65536)`
    integer(i64), intent(in), value :: length              !! bytes of the stream
    integer(ik), intent(in), optional :: w(n)              !! bits of the numbers, `(n)`
    !> Bytes before each block, its bytes, which rests are left out (0 none, 1 those of +0, 2 those
    !> of +0 and -0), numbers whose rests are kept, a bit for each plane that is, `(blocks, 5)`.
    integer(i64), intent(in), optional :: places(5, blocks)
    integer(i8), intent(inout), optional :: body(length)   !! the stream, `(length)`
    integer(i32), intent(out), optional :: checksums(blocks)  !! CRC-32 of each block, `(blocks)`
    integer(i32), intent(in), value :: threads             !! threads to use, at least 1
    integer(i32), intent(out) :: info                      !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [n])) return
    if (.not. is_given(present(places) .and. present(checksums), [blocks])) return
    if (.not. is_given(present(body), [length])) return
    info = status_of([n, blocks, length], blocks == pieces(n, BLOCK), threads >= 1)
    if (info /= FQ_OK .or. n == 0) return
    info = status_of([n], are_rests(places, n, length), .true.)
    if (info /= FQ_OK) return
    call place_rests(w, places, body, checksums, threads)
  end subroutine fq_place_rests

  !> Numbers from codes of symbols and rests: see `join_numbers`.
  subroutine fq_join_numbers(n, blocks, length, codes, places, body, checksums, w, faults, &
    threads, info) bind(c, name='fq_join_numbers_i8')
    integer(i64), intent(in), value :: n                   !! how many numbers
    integer(i64), intent(in), value :: blocks              !! `ceiling(n/65536)`
    integer(i64), intent(in), value :: length              !! bytes of the stream
    integer(i8), intent(in), optional :: codes(n)          !! codes, `(n)`
    integer(i64), intent(in), optional :: places(5, blocks)  !! as `fq_place_rests` takes them
    integer(i8), intent(in), optional :: body(length)      !! the stream, `(length)`
    integer(i32), intent(in), optional :: checksums(blocks)  !! CRC-32 of each block, `(blocks)`
    integer(ik), intent(inout), optional :: w(n)           !! bits of the numbers, `(n)`
    !> What is wrong with each block: 0 nothing, 1 its checksum, 2 the number of its rests, 3 bits
    !> beyond its signs, `(blocks)`.
    integer(i32), intent(out), optional :: faults(blocks)
    integer(i32), intent(in), value :: threads             !! threads to use, at least 1
    integer(i32), intent(out) :: info                      !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(codes) .and. present(w), [n])) return
    if (.not. is_given(present(places) .and. present(checksums), [blocks])) return
    if (.not. is_given(present(faults), [blocks])) return
    if (.not. is_given(present(body), [length])) return
    info = status_of([n, blocks, length], blocks == pieces(n, BLOCK), threads >= 1)
    if (info /= FQ_OK .or. n == 0) return
    info = status_of([n], are_rests(places, n, length), .true.)
    if (info /= FQ_OK) return
    call join_numbers(codes, places, body, checksums, w, faults, threads)
  end subroutine fq_join_numbers

  !> Whether all blocks lie within a stream and have as many bytes as they must.
  pure function are_rests(places, n, length) result(are)
    integer(i64), intent(in) :: places(:, :)  !! of each block
    integer(i64), intent(in) :: n             !! how many numbers
    integer(i64), intent(in) :: length        !! bytes of the stream
    logical :: are
    integer(i64) :: b, numbers, bytes

    are = .true.
    do b = 1, size(places, 2, kind=i64)
      numbers = min(BLOCK, n - (b - 1)*BLOCK)
      associate (first => places(1, b), left_out => places(3, b), kept => places(4, b), &
        planes => places(5, b))
        are = are .and. left_out >= ZEROS_KEPT .and. left_out <= ZEROS_ARE_SIGNS &
          .and. kept >= 0 .and. kept <= numbers .and. planes >= 0 &
          .and. planes < shiftl(1_i64, bit_size(1_ik)/8 - 1) &
          .and. (left_out /= ZEROS_KEPT .or. kept == numbers) .and. first >= 0 .and. first <= length
        if (.not. are) return
        bytes = popcnt(planes)*kept
        if (left_out == ZEROS_ARE_SIGNS) bytes = bytes + (numbers - kept + 7)/8
        are = places(2, b) == bytes .and. bytes <= length - first
      end associate
    end do
  end function are_rests
end module fq_lossless_c_int8
