!> C boundary of `fq_entropy`; `docs/boundary.md` says what all bindings have in common.
!>
!> Words of 16 bits are in the byte order of the machine; those of a stream are little-endian.
module fq_entropy_c_int8
  use fq_arguments, only: is_given, status_of
  use fq_entropy_int8, only: count_symbols, decode_blocks, encode_blocks, place_blocks, &
    sum_magnitudes
  use fq_entropy_tables, only: are_frequencies, normalize_counts
  use fq_extents, only: pieces
  use fq_kinds, only: i8, i16, i32, i64, ik => i8
  use fq_status, only: FQ_NOT_GIVEN, FQ_NOT_KNOWN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_count_symbols, fq_decode_blocks, fq_encode_blocks, fq_normalize_counts, &
    fq_place_blocks, fq_sum_magnitudes

contains

  !> Sum of the magnitudes of each row.
  subroutine fq_sum_magnitudes(rows, cols, codes, sums, threads, info) &
    bind(c, name='fq_sum_magnitudes_i8')
    integer(i64), intent(in), value :: rows, cols           !! extents of codes
    integer(ik), intent(in), optional :: codes(cols, rows)  !! codes, `(rows, cols)`
    integer(i64), intent(out), optional :: sums(rows)       !! sums, `(rows)`
    integer(i32), intent(in), value :: threads              !! threads to use, at least 1
    integer(i32), intent(out) :: info                       !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(codes), [cols, rows])) return
    if (.not. is_given(present(sums), [rows])) return
    info = status_of([rows, cols], .true., threads >= 1)
    if (info /= FQ_OK .or. rows == 0) return
    if (cols == 0) then
      sums = 0
      return
    end if
    call sum_magnitudes(codes, sums, threads)
  end subroutine fq_sum_magnitudes

  !> How often each symbol occurs in each union and class of rows: see `count_symbols`.
  subroutine fq_count_symbols(rows, cols, classes, symbols, codes, row_classes, counts, threads, &
    info) bind(c, name='fq_count_symbols_i8')
    integer(i64), intent(in), value :: rows, cols           !! extents of codes
    integer(i64), intent(in), value :: classes              !! classes of rows, at least 1
    integer(i64), intent(in), value :: symbols              !! 256, or 512 with a trellis
    integer(ik), intent(in), optional :: codes(cols, rows)  !! codes, `(rows, cols)`
    integer(i8), intent(in), optional :: row_classes(rows)  !! class of each row, from 0, `(rows)`
    integer(i64), intent(out), optional :: counts(symbols, classes)  !! `(classes, symbols)`
    integer(i32), intent(in), value :: threads              !! threads to use, at least 1
    integer(i32), intent(out) :: info                       !! status code, FQ_NO_MEMORY too

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(codes), [cols, rows])) return
    if (.not. is_given(present(row_classes), [rows])) return
    if (.not. is_given(present(counts), [symbols, classes])) return
    info = status_of([rows, cols, classes], classes >= 1 .and. any(symbols == [256, 512]), &
      threads >= 1)
    if (info /= FQ_OK) return
    counts = 0
    if (min(rows, cols) == 0) return
    if (.not. are_classes(row_classes, classes)) then
      info = FQ_NOT_KNOWN
      return
    end if
    call count_symbols(codes, row_classes, counts, threads, info)
  end subroutine fq_count_symbols

  !> Frequencies of each table, in proportion to counts: see `normalize_counts`.
  subroutine fq_normalize_counts(tables, counts, frequencies, info) &
    bind(c, name='fq_normalize_counts_i8')
    integer(i64), intent(in), value :: tables                     !! how many tables
    integer(i64), intent(in), optional :: counts(256, tables)     !! occurrences, `(tables, 256)`
    integer(i32), intent(out), optional :: frequencies(256, tables)  !! slots, `(tables, 256)`
    integer(i32), intent(out) :: info                             !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(counts), [tables])) return
    if (.not. is_given(present(frequencies), [tables])) return
    info = status_of([tables], .true., .true.)
    if (info /= FQ_OK .or. tables == 0) return
    if (any(counts < 0 .or. counts >= 2_i64**40)) then
      info = FQ_NOT_KNOWN
      return
    end if
    call normalize_counts(counts, frequencies)
  end subroutine fq_normalize_counts

  !> Words and last states of each block: see `encode_blocks`.
  subroutine fq_encode_blocks(rows, cols, classes, unions, blocks, codes, row_classes, &
    frequencies, trellis, block_rows, words, states, sizes, misfits, threads, info) &
    bind(c, name='fq_encode_blocks_i8')
    integer(i64), intent(in), value :: rows, cols            !! extents of codes
    integer(i64), intent(in), value :: classes               !! classes of rows
    integer(i64), intent(in), value :: unions                !! 1, with a trellis 2
    integer(i64), intent(in), value :: blocks                !! `ceiling(rows/block_rows)`
    integer(ik), intent(in), optional :: codes(cols, rows)   !! codes, `(rows, cols)`
    integer(i8), intent(in), optional :: row_classes(rows)   !! class of each row, from 0, `(rows)`
    !> Slots of each symbol, 4096 together, `(classes, unions, 256)`.
    integer(i32), intent(in), optional :: frequencies(256, unions, classes)
    integer(i32), intent(in), value :: trellis               !! states of the trellis: 1, 4, 8
    integer(i64), intent(in), value :: block_rows            !! rows of a block, at least 1
    !> Words of each block, at the end of the place of its codes, `(rows*cols)`.
    integer(i16), intent(inout), optional :: words(rows*cols)
    integer(i32), intent(out), optional :: states(8, blocks)  !! last states, `(blocks, 8)`
    integer(i64), intent(out), optional :: sizes(2, blocks)  !! words and escapes, `(blocks, 2)`
    !> First code of each block, from 1, that is no step of the trellis, or 0, `(blocks)`.
    integer(i64), intent(out), optional :: misfits(blocks)
    integer(i32), intent(in), value :: threads               !! threads to use, at least 1
    integer(i32), intent(out) :: info                        !! status code, FQ_NO_MEMORY too

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(codes) .and. present(words), [cols, rows])) return
    if (.not. is_given(present(row_classes), [rows])) return
    if (.not. is_given(present(frequencies), [unions, classes])) return
    if (.not. is_given(present(states) .and. present(sizes), [blocks])) return
    if (.not. is_given(present(misfits), [blocks])) return
    info = status_of([rows, cols, classes, unions, blocks], blocks == pieces(rows, block_rows) &
      .and. unions == unions_of(trellis), unions_of(trellis) > 0 .and. threads >= 1)
    if (info /= FQ_OK .or. rows == 0) return
    if (cols == 0) then
      states = 0
      sizes = 0
      misfits = 0
      return
    end if
    info = status_of([classes], .true., classes >= 1)
    if (info /= FQ_OK) return
    if (.not. are_classes(row_classes, classes) .or. .not. are_frequency_tables(frequencies)) then
      info = FQ_NOT_KNOWN
      return
    end if
    call encode_blocks(codes, row_classes, frequencies, trellis, block_rows, words, states, sizes, &
      misfits, threads, info)
  end subroutine fq_encode_blocks

  !> Write each block where `places` says: see `place_blocks`.
  subroutine fq_place_blocks(rows, cols, blocks, length, codes, words, states, places, trellis, &
    block_rows, body, threads, info) bind(c, name='fq_place_blocks_i8')
    integer(i64), intent(in), value :: rows, cols            !! extents of codes
    integer(i64), intent(in), value :: blocks                !! `ceiling(rows/block_rows)`
    integer(i64), intent(in), value :: length                !! words of the stream
    integer(ik), intent(in), optional :: codes(cols, rows)   !! codes, `(rows, cols)`
    integer(i16), intent(in), optional :: words(rows*cols)   !! as `fq_encode_blocks` leaves them
    integer(i32), intent(in), optional :: states(8, blocks)  !! last states, `(blocks, 8)`
    !> Words before each block, its words, its escapes, `(blocks, 3)`.
    integer(i64), intent(in), optional :: places(3, blocks)
    integer(i32), intent(in), value :: trellis               !! states of the trellis: 1, 4, 8
    integer(i64), intent(in), value :: block_rows            !! rows of a block, at least 1
    integer(i16), intent(inout), optional :: body(length)    !! the stream, `(length)`
    integer(i32), intent(in), value :: threads               !! threads to use, at least 1
    integer(i32), intent(out) :: info                        !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(codes) .and. present(words), [cols, rows])) return
    if (.not. is_given(present(states) .and. present(places), [blocks])) return
    if (.not. is_given(present(body), [length])) return
    info = status_of([rows, cols, blocks, length], blocks == pieces(rows, block_rows), &
      unions_of(trellis) > 0 .and. threads >= 1)
    if (info /= FQ_OK .or. min(rows, cols) == 0) return
    info = status_of([length], are_places(places, length) .and. &
      all(places(2, :) <= min(block_rows, rows)*cols), .true.)
    if (info /= FQ_OK) return
    call place_blocks(codes, words, states, places, trellis, block_rows, body, threads)
  end subroutine fq_place_blocks

  !> Codes of the rows from `skipped` on: see `decode_blocks`.
  subroutine fq_decode_blocks(rows, cols, classes, unions, blocks, length, wanted, body, places, &
    row_classes, frequencies, trellis, block_rows, skipped, codes, faults, threads, info) &
    bind(c, name='fq_decode_blocks_i8')
    integer(i64), intent(in), value :: rows, cols            !! rows of all the blocks, and columns
    integer(i64), intent(in), value :: classes               !! classes of rows
    integer(i64), intent(in), value :: unions                !! 1, with a trellis 2
    integer(i64), intent(in), value :: blocks                !! `ceiling(rows/block_rows)`
    integer(i64), intent(in), value :: length                !! words of the stream
    integer(i64), intent(in), value :: wanted                !! rows of codes
    integer(i16), intent(in), optional :: body(length)       !! the stream, `(length)`
    !> Words before each block, its words, its escapes, `(blocks, 3)`.
    integer(i64), intent(in), optional :: places(3, blocks)
    integer(i8), intent(in), optional :: row_classes(rows)   !! class of each row, from 0, `(rows)`
    !> Slots of each symbol, 4096 together, `(classes, unions, 256)`.
    integer(i32), intent(in), optional :: frequencies(256, unions, classes)
    integer(i32), intent(in), value :: trellis               !! states of the trellis: 1, 4, 8
    integer(i64), intent(in), value :: block_rows            !! rows of a block, at least 1
    integer(i64), intent(in), value :: skipped               !! rows before those wanted
    integer(ik), intent(inout), optional :: codes(cols, wanted)  !! codes, `(wanted, cols)`
    !> What is wrong with each block: 0 nothing, 1 a state, 2 the number of words, 3 states at its
    !> end, 4 the number of escapes, 5 an escape, `(blocks)`.
    integer(i32), intent(out), optional :: faults(blocks)
    integer(i32), intent(in), value :: threads               !! threads to use, at least 1
    integer(i32), intent(out) :: info                        !! status code, FQ_NO_MEMORY too

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(body), [length])) return
    if (.not. is_given(present(places) .and. present(faults), [blocks])) return
    if (.not. is_given(present(row_classes), [rows])) return
    if (.not. is_given(present(frequencies), [unions, classes])) return
    if (.not. is_given(present(codes), [cols, wanted])) return
    info = status_of([rows, cols, classes, unions, blocks, length, wanted, skipped], &
      blocks == pieces(rows, block_rows) .and. unions == unions_of(trellis) &
      .and. wanted <= rows .and. skipped <= rows - wanted, &
      unions_of(trellis) > 0 .and. threads >= 1)
    if (info /= FQ_OK .or. rows == 0) return
    faults = 0
    if (min(cols, wanted) == 0) return
    info = status_of([length], are_places(places, length), classes >= 1)
    if (info /= FQ_OK) return
    if (.not. are_classes(row_classes, classes) .or. .not. are_frequency_tables(frequencies)) then
      info = FQ_NOT_KNOWN
      return
    end if
    call decode_blocks(body, places, row_classes, frequencies, trellis, block_rows, skipped, &
      codes, faults, threads, info)
  end subroutine fq_decode_blocks

  !> Tables of a class: with a trellis two; 0 if there is no trellis of so many states.
  pure function unions_of(trellis) result(unions)
    integer(i32), intent(in) :: trellis  !! states
    integer(i64) :: unions

    unions = 0
    if (trellis == 1) unions = 1
    if (trellis == 4 .or. trellis == 8) unions = 2
  end function unions_of

  !> Whether all are classes.
  pure function are_classes(row_classes, classes) result(are)
    integer(i8), intent(in) :: row_classes(:)  !! of each row
    integer(i64), intent(in) :: classes        !! how many there are
    logical :: are

    are = all(row_classes >= 0 .and. row_classes < classes)
  end function are_classes

  !> Whether all are tables of frequencies, of codes that their kind has.
  pure function are_frequency_tables(frequencies) result(are)
    integer(i32), intent(in), contiguous :: frequencies(:, :, :)  !! slots
    logical :: are
    integer(i64) :: k

    are = .true.
    do k = 1, size(frequencies, 3, kind=i64)
      are = are .and. are_frequencies(frequencies(:, :, k))
    end do
    ! With two unions the codes of 8 bits are -128 ... 127, and the numbers -64 ... 63.
    if (huge(1_ik) < 256 .and. size(frequencies, 2) == 2) then
      are = are .and. all(frequencies(:64, :, :) == 0) .and. all(frequencies(193:, :, :) == 0)
    end if
  end function are_frequency_tables

  !> Whether all blocks lie within a stream.
  pure function are_places(places, length) result(are)
    integer(i64), intent(in) :: places(:, :)  !! words before a block, its words, its escapes
    integer(i64), intent(in) :: length       !! words of the stream
    logical :: are
    integer(i64) :: b, used

    are = .true.
    do b = 1, size(places, 2, kind=i64)
      are = are .and. all(places(:, b) >= 0) .and. all(places(:, b) <= length)
      if (.not. are) return
      used = places(2, b) + places(3, b)
      are = places(1, b) + 16 + used + mod(used, 2_i64) <= length
    end do
  end function are_places
end module fq_entropy_c_int8
