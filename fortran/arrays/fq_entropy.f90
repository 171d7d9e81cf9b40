!> Entropy coding of integer codes: interleaved range asymmetric numeral systems in blocks of rows.
!>
!> A state is \( 2^{15} \le x < 2^{31} \).  A symbol of frequency f whose slots begin at s takes it
!> to \( 4096 \lfloor x/f \rfloor + s + x \bmod f \), after a word of 16 bits has left it if that
!> would be too large; decoding goes the way back (Duda 2013, arXiv 1311.2540).
!>
!> Python: `pyfq/arrays/entropy.py`.  Reference: `pyfq/reference/arrays/entropy.py`.
module fq_entropy_int8
  use fq_entropy_tables, only: coded_symbol, decoding_table, encoding_table, SLOT_BITS, SLOTS, &
    SYMBOLS
  use fq_kinds, only: i8, i16, i32, i64, ik => i8
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_work_size, only: SMALL_RANKING, SMALL_WORK
  implicit none (type, external)
  private
  public :: count_symbols, decode_blocks, encode_blocks, place_blocks, sum_magnitudes

  integer(i32), parameter :: LANES = 8                !! states of a block
  integer(i64), parameter :: STATE_WORDS = 2*LANES    !! words that they fill
  integer(i64), parameter :: LOWEST = 32768           !! least state, where an encoder begins
  integer(i32), parameter :: STATE_BITS = 31
  integer(i32), parameter :: WORD_BITS = 16
  integer(i64), parameter :: LOW_WORD = 65535         !! bits of a word
  integer(i64), parameter :: RUN = 512                !! codes that are decoded at a time, and words

  !> What the decoder knows of a class: of each slot, those of the second union after the first's.
  type :: class_table
    integer(ik) :: codes(0:2*SLOTS - 1) = 0         !! the symbol's code
    integer(i16) :: shares(2, 0:2*SLOTS - 1) = 0    !! the symbol's frequency, and the place in it
    logical :: has_escapes = .false.                !! whether there are symbols of escapes
  end type class_table

  !> A state of the decoder and that of the trellis, times 4.  gfortran would make vectors of eight
  !> neighbours, only to take them apart at each step; with gaps between them it does not.
  type :: lane_state
    integer(i64) :: x = 0
    integer(i32) :: t = 0
  end type lane_state

  !> What is wrong with a block, as far as that is.
  integer(i32), parameter, public :: BLOCK_FINE = 0
  integer(i32), parameter, public :: BLOCK_STATE = 1    !! a state is out of range
  integer(i32), parameter, public :: BLOCK_WORDS = 2    !! words are left over, or too few
  integer(i32), parameter, public :: BLOCK_END = 3      !! states do not end where encoders begin
  integer(i32), parameter, public :: BLOCK_ESCAPES = 4  !! escapes are left over, or too few
  integer(i32), parameter, public :: BLOCK_ESCAPE = 5   !! an escape is none, or beyond the codes

contains

  !> Sum of the magnitudes of each row.
  subroutine sum_magnitudes(codes, sums, threads)
    integer(ik), intent(in), contiguous :: codes(:, :)  !! codes, `(cols, rows)`
    integer(i64), intent(out), contiguous :: sums(:)    !! sums, `(rows)`
    integer(i32), intent(in) :: threads                 !! threads to use, at least 1
    integer(i64) :: r

    !$omp parallel do default(none) shared(codes, sums) schedule(static) num_threads(threads) &
    !$omp if(size(codes, kind=i64) > SMALL_WORK)
    do r = 1, size(codes, 2, kind=i64)
      sums(r) = magnitude_of(codes(:, r))
    end do
  end subroutine sum_magnitudes

  !> Sum of magnitudes, in runs whose sums fit 32 bits.
  pure function magnitude_of(codes) result(total)
    integer(ik), intent(in), contiguous :: codes(:)
    integer(i64), parameter :: FITTING = 16384
    integer(i64) :: total, first, i
    integer(i32) :: part

    total = 0
    do first = 1, size(codes, kind=i64), FITTING
      part = 0
      do i = first, min(first + FITTING - 1, size(codes, kind=i64))
        part = part + abs(int(codes(i), i32))
      end do
      total = total + part
    end do
  end function magnitude_of

  !> How often each symbol occurs in each union and class of rows.
  subroutine count_symbols(codes, row_classes, counts, threads, info)
    integer(ik), intent(in), contiguous :: codes(:, :)     !! codes, `(cols, rows)`
    integer(i8), intent(in), contiguous :: row_classes(:)  !! class of each row, from 0, `(rows)`
    integer(i64), intent(out), contiguous :: counts(:, :)  !! of unions one after the other,
                                                           !! `(256*unions, classes)`
    integer(i32), intent(in) :: threads                    !! threads to use, at least 1
    integer(i32), intent(out) :: info                      !! status code
    integer(i64), allocatable :: partial(:, :, :, :)
    integer(i64) :: rows, r
    integer(i32) :: t, team, turn, stat

    info = FQ_OK
    rows = size(codes, 2, kind=i64)
    team = int(min(int(threads, i64), rows, size(codes, kind=i64)/SMALL_WORK + 1), i32)
    allocate (partial(size(counts, 1), 2, size(counts, 2), team), stat=stat)
    if (stat /= 0) then
      info = FQ_NO_MEMORY
      return
    end if
    !$omp parallel do default(none) private(r) shared(codes, row_classes, partial, rows, team) &
    !$omp schedule(static, 1) num_threads(team)
    do t = 1, team
      partial(:, :, :, t) = 0
      do r = rows*(t - 1)/team + 1, rows*t/team
        call count_row_symbols(codes(:, r), partial(:, :, row_classes(r) + 1, t))
      end do
    end do
    counts = 0
    do t = 1, team
      do turn = 1, 2
        counts = counts + partial(:, turn, :, t)
      end do
    end do
  end subroutine count_symbols

  !> Add how often each symbol occurs in a row, to two tables in turn: neighbours are often equal.
  pure subroutine count_row_symbols(codes, counts)
    integer(ik), intent(in), contiguous :: codes(:)
    integer(i64), intent(inout), contiguous :: counts(:, :)
    integer(i64) :: i, n
    integer(i32) :: halved, place

    halved = merge(1, 0, size(counts, 1) > SYMBOLS)
    n = size(codes, kind=i64)
    do i = 2, n, 2
      place = place_of(int(codes(i - 1), i32), halved) + 1
      counts(place, 1) = counts(place, 1) + 1
      place = place_of(int(codes(i), i32), halved) + 1
      counts(place, 2) = counts(place, 2) + 1
    end do
    if (mod(n, 2_i64) == 1) then
      place = place_of(int(codes(n), i32), halved) + 1
      counts(place, 1) = counts(place, 1) + 1
    end if
  end subroutine count_row_symbols

  !> Symbol of a code, and 256 more in the second union.
  pure elemental function place_of(code, halved) result(place)
    integer(i32), intent(in) :: code
    integer(i32), intent(in) :: halved  !! 1 with a trellis, where codes are `2q + u`; else 0
    integer(i32) :: place

    place = SYMBOLS*iand(code, halved) + symbol_of(shifta(code, halved))
  end function place_of

  !> Words and last states of each block, and how many escapes it has.
  !>
  !> The words of a block are as many as `sizes` says; they end where its codes would, if `words`
  !> were codes.
  subroutine encode_blocks(codes, row_classes, frequencies, trellis, block_rows, words, states, &
    sizes, misfits, threads, info)
    integer(ik), intent(in), contiguous :: codes(:, :)         !! codes, `(cols, rows)`
    integer(i8), intent(in), contiguous :: row_classes(:)      !! class of each row from 0, `(rows)`
    integer(i32), intent(in), contiguous :: frequencies(:, :, :)  !! `(256, unions, classes)`
    integer(i32), intent(in) :: trellis                        !! states of the trellis: 1, 4, 8
    integer(i64), intent(in) :: block_rows                     !! rows of a block
    integer(i16), intent(inout), contiguous :: words(:)        !! words, `(cols*rows)`
    integer(i32), intent(out), contiguous :: states(:, :)      !! states, `(8, blocks)`
    integer(i64), intent(out), contiguous :: sizes(:, :)       !! words, escapes, `(2, blocks)`
    integer(i64), intent(out), contiguous :: misfits(:)        !! first code of a block that is no
                                                               !! step of the trellis, else 0,
                                                               !! `(blocks)`
    integer(i32), intent(in) :: threads                        !! threads to use, at least 1
    integer(i32), intent(out) :: info                          !! status code
    type(coded_symbol), allocatable :: tables(:, :, :)
    integer(i64) :: cols, b, k, first, last
    integer(i32) :: u, stat

    info = FQ_OK
    allocate (tables(SYMBOLS, size(frequencies, 2), size(frequencies, 3)), stat=stat)
    if (stat /= 0) then
      info = FQ_NO_MEMORY
      return
    end if
    do k = 1, size(frequencies, 3, kind=i64)
      do u = 1, int(size(frequencies, 2), i32)
        call encoding_table(frequencies(:, u, k), tables(:, u, k))
      end do
    end do
    cols = size(codes, 1, kind=i64)
    !$omp parallel do default(none) private(first, last) schedule(dynamic) num_threads(threads) &
    !$omp shared(codes, row_classes, tables, trellis, block_rows, words, states, sizes, misfits, &
    !$omp cols) if(size(codes, kind=i64) > SMALL_RANKING)
    do b = 1, size(sizes, 2, kind=i64)
      first = (b - 1)*block_rows + 1
      last = min(b*block_rows, size(codes, 2, kind=i64))
      misfits(b) = 0
      if (trellis > 1) misfits(b) = first_misfit(codes(:, first:last), trellis - 1)
      call encode_block(codes(:, first:last), row_classes(first:last), tables, &
        words((first - 1)*cols + 1:last*cols), states(:, b), sizes(:, b))
    end do
  end subroutine encode_blocks

  !> The first code, from 1, whose parity is not the union of its lane's state; 0 if there is none.
  pure function first_misfit(codes, last_state) result(first)
    integer(ik), intent(in), contiguous :: codes(:, :)
    integer(i32), intent(in) :: last_state
    integer(i64) :: first, r, i, cols, lane
    integer(i32) :: t(LANES), before(LANES), wrong(LANES), code

    first = 0
    cols = size(codes, 1, kind=i64)
    t = 0
    do r = 1, size(codes, 2, kind=i64)
      before = t
      wrong = 0
      do i = 0, cols - LANES, LANES
        do lane = 1, LANES
          code = int(codes(i + lane, r), i32)
          wrong(lane) = ior(wrong(lane), ieor(code, t(lane)))
          t(lane) = next_state(t(lane), shifta(code, 1), last_state)
        end do
      end do
      do i = cols/LANES*LANES + 1, cols
        lane = mod(i - 1, int(LANES, i64)) + 1
        code = int(codes(i, r), i32)
        wrong(lane) = ior(wrong(lane), ieor(code, t(lane)))
        t(lane) = next_state(t(lane), shifta(code, 1), last_state)
      end do
      if (any(iand(wrong, 1) == 1)) then
        first = (r - 1)*cols + misfit_of_row(codes(:, r), last_state, before)
        return
      end if
    end do
  end function first_misfit

  !> `first_misfit` of a row that has one, from the states before it.
  pure function misfit_of_row(codes, last_state, before) result(first)
    integer(ik), intent(in), contiguous :: codes(:)
    integer(i32), intent(in) :: last_state, before(LANES)
    integer(i64) :: first, lane
    integer(i32) :: t(LANES), code

    t = before
    do first = 1, size(codes, kind=i64)
      lane = mod(first - 1, int(LANES, i64)) + 1
      code = int(codes(first), i32)
      if (iand(ieor(code, t(lane)), 1) == 1) return
      t(lane) = next_state(t(lane), shifta(code, 1), last_state)
    end do
  end function misfit_of_row

  !> `encode_blocks` of one block: from its last code to its first.
  pure subroutine encode_block(codes, row_classes, tables, words, states, sizes)
    integer(ik), intent(in), contiguous :: codes(:, :)
    integer(i8), intent(in), contiguous :: row_classes(:)
    type(coded_symbol), intent(in), contiguous :: tables(:, :, :)
    integer(i16), intent(inout), contiguous :: words(:)
    integer(i32), intent(out), contiguous :: states(:)
    integer(i64), intent(out) :: sizes(2)
    integer(i64) :: r, next, escapes
    integer(i32) :: halved

    halved = int(size(tables, 2), i32) - 1
    states = int(LOWEST, i32)
    next = size(words, kind=i64)
    escapes = 0
    do r = size(codes, 2, kind=i64), 1, -1
      associate (table => tables(:, :, row_classes(r) + 1))
        call encode_row_symbols(codes(:, r), halved, table, words, states, next)
        if (any(table(1, :)%others < SLOTS) .or. any(table(SYMBOLS, :)%others < SLOTS)) then
          escapes = escapes + count_escapes(codes(:, r), halved)
        end if
      end associate
    end do
    sizes = [size(words, kind=i64) - next, escapes]
  end subroutine encode_block

  !> How many codes of a row have no symbol of their own.
  pure function count_escapes(codes, halved) result(escapes)
    integer(ik), intent(in), contiguous :: codes(:)
    integer(i32), intent(in) :: halved
    integer(i64) :: escapes, i
    integer(i32) :: q

    escapes = 0
    do i = 1, size(codes, kind=i64)
      q = shifta(int(codes(i), i32), halved)
      escapes = escapes + merge(0, 1, q >= -127 .and. q <= 126)
    end do
  end function count_escapes

  !> Encode a row, from its last code to its first.
  pure subroutine encode_row_symbols(codes, halved, table, words, states, next)
    integer(ik), intent(in), contiguous :: codes(:)
    integer(i32), intent(in) :: halved
    type(coded_symbol), intent(in) :: table(0:SYMBOLS*(1 + halved) - 1)
    integer(i16), intent(inout), contiguous :: words(:)
    integer(i32), intent(inout) :: states(LANES)
    integer(i64), intent(inout) :: next
    integer(i32) :: x(LANES)
    integer(i64) :: i, p, whole
    integer(i32) :: lane

    x = states
    p = next
    whole = size(codes, kind=i64)/LANES*LANES
    do lane = int(size(codes, kind=i64) - whole, i32), 1, -1
      call put(table(place_of(int(codes(whole + lane), i32), halved)), x(lane), words, p)
    end do
    do i = whole - LANES, 0, -LANES
      !gcc$ unroll 8
      do lane = LANES, 1, -1
        call put(table(place_of(int(codes(i + lane), i32), halved)), x(lane), words, p)
      end do
    end do
    states = x
    next = p
  end subroutine encode_row_symbols

  !> Take a symbol into a state; a word that leaves it goes to `words(next)`.
  pure subroutine put(symbol, x, words, next)
    type(coded_symbol), intent(in) :: symbol
    integer(i32), intent(inout) :: x
    integer(i16), intent(inout), contiguous :: words(:)
    integer(i64), intent(inout) :: next
    integer(i32) :: y, full

    ! A code gives at most one word: there is room for this one, whether it counts or not.
    words(next) = int(iand(int(x, i64), LOW_WORD), i16)
    full = 1 - shiftr(x - symbol%limit, STATE_BITS)    ! a branch would be missed
    next = next - full
    y = shiftr(x, WORD_BITS*full)
    x = y + symbol%start + symbol%others*int(shiftr(y*symbol%reciprocal, symbol%shift), i32)
  end subroutine put

  !> Write each block where `places` says: states, words, escapes, and zeros up to 4 bytes.
  subroutine place_blocks(codes, words, states, places, trellis, block_rows, body, threads)
    integer(ik), intent(in), contiguous :: codes(:, :)     !! codes, `(cols, rows)`
    integer(i16), intent(in), contiguous :: words(:)       !! words, as `encode_blocks` leaves them
    integer(i32), intent(in), contiguous :: states(:, :)   !! states, `(8, blocks)`
    integer(i64), intent(in), contiguous :: places(:, :)    !! words before a block, its words, its
                                                           !! escapes, `(3, blocks)`
    integer(i32), intent(in) :: trellis                    !! states of the trellis: 1, 4, 8
    integer(i64), intent(in) :: block_rows                 !! rows of a block
    integer(i16), intent(inout), contiguous :: body(:)     !! the stream as words
    integer(i32), intent(in) :: threads                    !! threads to use, at least 1
    integer(i64) :: b, at, last, n, cols

    cols = size(codes, 1, kind=i64)
    !$omp parallel do default(none) private(at, last, n) schedule(static) num_threads(threads) &
    !$omp shared(codes, words, states, places, trellis, block_rows, body, cols) &
    !$omp if(size(codes, kind=i64) > SMALL_WORK)
    do b = 1, size(places, 2, kind=i64)
      at = places(1, b)
      n = places(2, b)
      last = min(b*block_rows, size(codes, 2, kind=i64))
      body(at + 1:at + STATE_WORDS:2) = int(iand(int(states(:, b), i64), LOW_WORD), i16)
      body(at + 2:at + STATE_WORDS:2) = int(shiftr(states(:, b), WORD_BITS), i16)
      at = at + STATE_WORDS
      body(at + 1:at + n) = words(last*cols - n + 1:last*cols)
      at = at + n
      n = places(3, b)
      if (n > 0) then
        call collect_escapes(codes(:, (b - 1)*block_rows + 1:last), merge(1, 0, trellis > 1), &
          body(at + 1:at + n))
      end if
      if (mod(at + n, 2_i64) == 1) body(at + n + 1) = 0
    end do
  end subroutine place_blocks

  !> The numbers of codes that have no symbol of their own, as many as there is room for.
  pure subroutine collect_escapes(codes, halved, escapes)
    integer(ik), intent(in), contiguous :: codes(:, :)
    integer(i32), intent(in) :: halved
    integer(i16), intent(out), contiguous :: escapes(:)
    integer(i64) :: r, i, n
    integer(i32) :: q

    escapes = 0
    n = 0
    do r = 1, size(codes, 2, kind=i64)
      do i = 1, size(codes, 1, kind=i64)
        q = shifta(int(codes(i, r), i32), halved)
        if (q >= -127 .and. q <= 126) cycle
        if (n == size(escapes, kind=i64)) return
        n = n + 1
        escapes(n) = int(q, i16)
      end do
    end do
  end subroutine collect_escapes

  !> Codes of the rows from `skipped` on; whatever the words hold, no other memory is touched.
  subroutine decode_blocks(body, places, row_classes, frequencies, trellis, block_rows, skipped, &
    codes, faults, threads, info)
    integer(i16), intent(in), contiguous :: body(:)         !! the stream as words
    integer(i64), intent(in), contiguous :: places(:, :)     !! words before a block, its words, its
                                                            !! escapes, `(3, blocks)`
    integer(i8), intent(in), contiguous :: row_classes(:)   !! class of each row of these, from 0
    integer(i32), intent(in), contiguous :: frequencies(:, :, :)  !! `(256, unions, classes)`
    integer(i32), intent(in) :: trellis                     !! states of the trellis: 1, 4, 8
    integer(i64), intent(in) :: block_rows                  !! rows of a block
    integer(i64), intent(in) :: skipped                     !! rows before those that are wanted
    integer(ik), intent(inout), contiguous :: codes(:, :)   !! codes of those, `(cols, wanted)`
    integer(i32), intent(out), contiguous :: faults(:)      !! what is wrong with each block
    integer(i32), intent(in) :: threads                     !! threads to use, at least 1
    integer(i32), intent(out) :: info                       !! status code
    type(class_table), allocatable :: tables(:)
    integer(i64) :: b, k
    integer(i32) :: stat

    info = FQ_OK
    allocate (tables(size(frequencies, 3)), stat=stat)
    if (stat /= 0) then
      info = FQ_NO_MEMORY
      return
    end if
    do k = 1, size(tables, kind=i64)
      call tabulate(frequencies(:, :, k), tables(k))
    end do
    !$omp parallel do default(none) schedule(dynamic) num_threads(threads) reduction(max: info) &
    !$omp shared(body, places, row_classes, tables, trellis, block_rows, skipped, codes, faults) &
    !$omp if(size(row_classes, kind=i64)*size(codes, 1, kind=i64) > SMALL_RANKING)
    do b = 1, size(places, 2, kind=i64)
      call decode_block(body(places(1, b) + 1:places(1, b) + STATE_WORDS + places(2, b) &
        + places(3, b)), places(3, b), row_classes((b - 1)*block_rows + 1:min(b*block_rows, &
        size(row_classes, kind=i64))), tables, trellis, skipped - (b - 1)*block_rows, codes, &
        faults(b), info)
    end do
  end subroutine decode_blocks

  !> Fill the table of a class.
  pure subroutine tabulate(frequencies, table)
    integer(i32), intent(in), contiguous :: frequencies(:, :)
    type(class_table), intent(inout) :: table
    integer(i32) :: numbers(SLOTS), halved, u, last

    halved = int(size(frequencies, 2), i32) - 1
    do u = 0, halved
      last = (u + 1)*SLOTS
      call decoding_table(frequencies(:, u + 1), numbers, table%shares(:, last - SLOTS:last - 1))
      table%codes(last - SLOTS:last - 1) = int(shiftl(numbers, halved) + u, ik)
    end do
    table%has_escapes = any(frequencies(1, :) > 0) .or. any(frequencies(SYMBOLS, :) > 0)
  end subroutine tabulate

  !> `decode_blocks` of one block.
  pure subroutine decode_block(block, escapes, row_classes, tables, trellis, skipped, codes, &
    fault, info)
    integer(i16), intent(in), contiguous :: block(:)
    integer(i64), intent(in) :: escapes, skipped
    integer(i8), intent(in), contiguous :: row_classes(:)
    type(class_table), intent(in), contiguous :: tables(:)
    integer(i32), intent(in) :: trellis
    integer(ik), intent(inout), contiguous :: codes(:, :)
    integer(i32), intent(out) :: fault
    integer(i32), intent(inout) :: info
    integer(ik), allocatable :: spare(:)
    type(lane_state) :: states(LANES)
    integer(i64) :: r, next, used, last
    integer(i32) :: stat

    fault = BLOCK_FINE
    states%x = ior(iand(int(block(1:STATE_WORDS:2), i64), LOW_WORD), &
      shiftl(int(block(2:STATE_WORDS:2), i64), WORD_BITS))
    if (any(states%x < LOWEST)) then
      fault = BLOCK_STATE
      return
    end if
    last = size(block, kind=i64) - escapes
    next = STATE_WORDS + 1
    used = 0
    do r = 1, size(row_classes, kind=i64)
      associate (table => tables(row_classes(r) + 1))
        if (r > skipped .and. r - skipped <= size(codes, 2, kind=i64)) then
          call decode_row_symbols(block(:last), table, trellis, codes(:, r - skipped), states, next)
          if (table%has_escapes) then
            call take_escapes(block(last + 1:), trellis, codes(:, r - skipped), used, fault)
          end if
        else
          if (.not. allocated(spare)) then
            allocate (spare(size(codes, 1)), stat=stat)
            if (stat /= 0) then
              info = FQ_NO_MEMORY
              return
            end if
          end if
          call decode_row_symbols(block(:last), table, trellis, spare, states, next)
          if (table%has_escapes) call take_escapes(block(last + 1:), trellis, spare, used, fault)
        end if
      end associate
      if (fault /= BLOCK_FINE) return
    end do
    if (used /= escapes) fault = BLOCK_ESCAPES
    if (any(states%x /= LOWEST)) fault = BLOCK_END
    if (next /= last + 1) fault = BLOCK_WORDS
  end subroutine decode_block

  !> Decode a row from the words from `next` on; past the last they are 0.
  pure subroutine decode_row_symbols(words, table, trellis, codes, states, next)
    integer(i16), intent(in), contiguous :: words(:)
    type(class_table), intent(in) :: table
    integer(i32), intent(in) :: trellis
    integer(ik), intent(inout), contiguous :: codes(:)
    type(lane_state), intent(inout) :: states(LANES)
    integer(i64), intent(inout) :: next
    integer(i16) :: rest(RUN)
    integer(i64) :: first, last, left, n

    do first = 1, size(codes, kind=i64), RUN
      last = min(first + RUN - 1, size(codes, kind=i64))
      left = max(size(words, kind=i64) - next + 1, 0_i64)
      if (left > last - first) then    ! a code takes at most one word
        call decode_run_symbols(words(next:), table, trellis, codes(first:last), states, n)
      else
        rest(:left) = words(next:next + left - 1)
        rest(left + 1:) = 0
        call decode_run_symbols(rest, table, trellis, codes(first:last), states, n)
      end if
      next = next + n
    end do
  end subroutine decode_row_symbols

  !> Decode as many codes as there are words at least; `used` words are.
  pure subroutine decode_run_symbols(words, table, trellis, codes, states, used)
    integer(i16), intent(in), contiguous :: words(:)
    type(class_table), intent(in) :: table
    integer(i32), intent(in) :: trellis
    integer(ik), intent(inout), contiguous :: codes(:)
    type(lane_state), intent(inout) :: states(LANES)
    integer(i64), intent(out) :: used

    if (trellis == 1) then
      call decode_plain(words, table, codes, states, used)
    else
      call decode_path(words, table, trellis, codes, states, used)
    end if
  end subroutine decode_run_symbols

  !> `decode_run_symbols` without a trellis.
  pure subroutine decode_plain(words, table, codes, states, used)
    integer(i16), intent(in), contiguous :: words(:)
    type(class_table), intent(in) :: table
    integer(ik), intent(inout), contiguous :: codes(:)
    type(lane_state), intent(inout) :: states(LANES)
    integer(i64), intent(out) :: used
    integer(i64) :: i, whole
    integer(i32) :: lane

    used = 0
    whole = size(codes, kind=i64)/LANES*LANES
    do i = 0, whole - LANES, LANES
      !gcc$ unroll 8
      do lane = 1, LANES
        call decode_code(words, table, codes(i + lane), states(lane)%x, used)
      end do
    end do
    do lane = 1, int(size(codes, kind=i64) - whole, i32)
      call decode_code(words, table, codes(whole + lane), states(lane)%x, used)
    end do
  end subroutine decode_plain

  !> `decode_run_symbols` along the path of a trellis.
  pure subroutine decode_path(words, table, trellis, codes, states, used)
    integer(i16), intent(in), contiguous :: words(:)
    type(class_table), intent(in) :: table
    integer(i32), intent(in) :: trellis
    integer(ik), intent(inout), contiguous :: codes(:)
    type(lane_state), intent(inout) :: states(LANES)
    integer(i64), intent(out) :: used
    integer(i64) :: i, whole, after
    integer(i32) :: lane

    after = 0
    do lane = 0, trellis - 1
      after = ior(after, shiftl(int(next_state(lane, 0, trellis - 1), i64), 2 + 4*lane))
    end do
    used = 0
    whole = size(codes, kind=i64)/LANES*LANES
    do i = 0, whole - LANES, LANES
      !gcc$ unroll 8
      do lane = 1, LANES
        call decode_step(words, table, after, codes(i + lane), states(lane), used)
      end do
    end do
    do lane = 1, int(size(codes, kind=i64) - whole, i32)
      call decode_step(words, table, after, codes(whole + lane), states(lane), used)
    end do
  end subroutine decode_path

  !> Decode a code.
  pure subroutine decode_code(words, table, code, x, used)
    integer(i16), intent(in), contiguous :: words(:)
    type(class_table), intent(in) :: table
    integer(ik), intent(inout) :: code
    integer(i64), intent(inout) :: x, used
    integer(i64) :: slot

    slot = iand(x, SLOTS - 1_i64)
    code = table%codes(slot)
    call get(table%shares(:, slot), words, x, used)
  end subroutine decode_code

  !> Decode a code, and go on to the next state of the trellis.
  !>
  !> Bits `t ... t + 3` of `after` are the state after t and an even number, times 4 as t is; after
  !> an odd number it is that with the bit of the union flipped.
  pure subroutine decode_step(words, table, after, code, state, used)
    integer(i16), intent(in), contiguous :: words(:)
    type(class_table), intent(in) :: table
    integer(i64), intent(in) :: after
    integer(ik), intent(inout) :: code
    type(lane_state), intent(inout) :: state
    integer(i64), intent(inout) :: used
    integer(i64) :: slot

    slot = ior(iand(state%x, SLOTS - 1_i64), int(iand(state%t, 4), i64)*(SLOTS/4))
    code = table%codes(slot)
    state%t = ieor(iand(int(shiftr(after, state%t), i32), 28), 2*iand(int(code, i32), 2))
    call get(table%shares(:, slot), words, state%x, used)
  end subroutine decode_step

  !> Take a symbol out of a state, and the next word into it if it is then too small.
  !>
  !> No branch, which would be missed.
  pure subroutine get(share, words, x, used)
    integer(i16), intent(in) :: share(2)
    integer(i16), intent(in), contiguous :: words(:)
    integer(i64), intent(inout) :: x, used
    integer(i64) :: y, refilled, small

    y = int(share(1)*int(shiftr(x, SLOT_BITS), i32), i64) + share(2)
    refilled = ior(shiftl(y, WORD_BITS), iand(int(words(used + 1), i64), LOW_WORD))
    small = shifta(y - LOWEST, 63)    ! all bits if it is, else none
    used = used - small
    x = ieor(y, iand(ieor(y, refilled), small))
  end subroutine get

  !> Put escapes where the row has codes that stand for them.
  pure subroutine take_escapes(escapes, trellis, codes, used, fault)
    integer(i16), intent(in), contiguous :: escapes(:)
    integer(i32), intent(in) :: trellis
    integer(ik), intent(inout), contiguous :: codes(:)
    integer(i64), intent(inout) :: used
    integer(i32), intent(inout) :: fault
    integer(i64) :: i
    integer(i32) :: q, halved, code

    halved = merge(1, 0, trellis > 1)
    if (count_escapes(codes, halved) == 0) return
    do i = 1, size(codes, kind=i64)
      q = shifta(int(codes(i), i32), halved)
      if (q >= -127 .and. q <= 126) cycle
      if (used == size(escapes, kind=i64)) then
        fault = BLOCK_ESCAPES
        return
      end if
      used = used + 1
      q = int(escapes(used), i32)
      code = shiftl(q, halved) + iand(int(codes(i), i32), halved)
      if (symbol_of(q) /= symbol_of(shifta(int(codes(i), i32), halved)) &
        .or. code < -huge(codes) - 1 .or. code > huge(codes)) then
        fault = BLOCK_ESCAPE
        return
      end if
      codes(i) = int(code, ik)
    end do
  end subroutine take_escapes

  include 'fq_next_state.inc'
  include 'fq_symbol.inc'
end module fq_entropy_int8
