!> Tables of the entropy coder: frequencies from counts, and what coder and decoder look up.
!>
!> Python: `pyfq/arrays/entropy.py`.  Reference: `pyfq/reference/arrays/entropy.py`.
module fq_entropy_tables
  use fq_kinds, only: i16, i32, i64
  use fq_precondition, only: CHECKED, require
  implicit none (type, external)
  private
  public :: are_frequencies, decoding_table, encoding_table, normalize_counts

  integer(i32), parameter, public :: SLOT_BITS = 12
  integer(i32), parameter, public :: SLOTS = 4096    !! what the frequencies of a table add up to
  integer(i32), parameter, public :: SYMBOLS = 256
  integer(i32), parameter :: CENTRE = 128            !! symbol of the number 0
  !> Bits of an encoder's state, whose quotients reciprocals give exactly.
  integer(i32), parameter :: STATE_BITS = 31

  !> What the encoder knows of a symbol.
  type, public :: coded_symbol
    integer(i64) :: reciprocal = 0   !! `ceiling(2**shift/frequency)`
    integer(i32) :: shift = 0        !! a quotient is the product with it, shifted by this
    integer(i32) :: limit = 0        !! a state from here on gives a word away first
    integer(i32) :: start = 0        !! first slot
    integer(i32) :: others = 0       !! slots of other symbols
  end type coded_symbol

contains

  !> Frequencies of each table, in proportion to counts: Webster's method, at least 1 of what
  !> occurs.
  !>
  !> Quotas \( 4096\,c/\sum c \) are rounded, then units are given to the largest
  !> \( c/(2f+1) \), or taken from the smallest \( c/(2f-1) \), until the sum is 4096; of equals
  !> the lowest symbol is first.  What occurs alone has 4095, and a neighbour 1.
  !>
  !> *Preconditions*: counts of a table are at least 0, and their sum is less than 2**48.
  pure subroutine normalize_counts(counts, frequencies)
    integer(i64), intent(in), contiguous :: counts(:, :)        !! occurrences, `(256, tables)`
    integer(i32), intent(out), contiguous :: frequencies(:, :)  !! their slots, `(256, tables)`
    integer(i64) :: k

    if (CHECKED) then
      call require(all(counts >= 0) .and. all(sum(counts, 1) < 2_i64**48), &
        'normalize_counts: 0 <= counts, sum(counts) < 2**48')
    end if
    do k = 1, size(counts, 2, kind=i64)
      if (count(counts(:, k) > 0) < 2) then
        call give_to_one(counts(:, k), frequencies(:, k))
      else
        call apportion(counts(:, k), frequencies(:, k))
      end if
    end do
  end subroutine normalize_counts

  !> Frequencies of a table of one symbol; of none, that of 0.
  pure subroutine give_to_one(counts, frequencies)
    integer(i64), intent(in) :: counts(0:SYMBOLS - 1)
    integer(i32), intent(out) :: frequencies(0:SYMBOLS - 1)
    integer(i32) :: symbol, one

    one = CENTRE
    do symbol = 0, SYMBOLS - 1
      if (counts(symbol) > 0) one = symbol
    end do
    frequencies = 0
    frequencies(one) = SLOTS - 1
    frequencies(merge(one + 1, one - 1, one < CENTRE)) = 1
  end subroutine give_to_one

  !> Frequencies of a table of several symbols.
  pure subroutine apportion(counts, frequencies)
    integer(i64), intent(in) :: counts(0:SYMBOLS - 1)
    integer(i32), intent(out) :: frequencies(0:SYMBOLS - 1)
    integer(i64) :: total
    integer(i32) :: symbol, chosen, left, unit

    total = sum(counts)
    do symbol = 0, SYMBOLS - 1
      frequencies(symbol) = int((2*SLOTS*counts(symbol) + total)/(2*total), i32)
      if (counts(symbol) > 0) frequencies(symbol) = max(frequencies(symbol), 1)
    end do
    left = SLOTS - sum(frequencies)
    unit = sign(1, left)
    do while (left /= 0)
      chosen = -1
      do symbol = 0, SYMBOLS - 1
        if (counts(symbol) == 0 .or. frequencies(symbol) + unit < 1) cycle
        if (chosen < 0) then
          chosen = symbol
        else if (unit*(counts(symbol)*(2*frequencies(chosen) + unit) &
          - counts(chosen)*(2*frequencies(symbol) + unit)) > 0) then
          chosen = symbol
        end if
      end do
      frequencies(chosen) = frequencies(chosen) + unit
      left = left - unit
    end do
  end subroutine apportion

  !> Whether all are frequencies of a table: from 0, less than 4096, and 4096 together.
  pure function are_frequencies(frequencies) result(are)
    integer(i32), intent(in), contiguous :: frequencies(:, :)  !! slots, `(256, tables)`
    logical :: are
    integer(i64) :: k

    are = .true.
    do k = 1, size(frequencies, 2, kind=i64)
      are = are .and. all(frequencies(:, k) >= 0) .and. all(frequencies(:, k) < SLOTS)
      if (are) are = sum(frequencies(:, k)) == SLOTS
    end do
  end function are_frequencies

  !> For each slot the number of its symbol, the frequency of the symbol, and the place among the
  !> slots of the symbol, from 0.
  pure subroutine decoding_table(frequencies, numbers, shares)
    integer(i32), intent(in) :: frequencies(0:SYMBOLS - 1)  !! slots of each symbol
    integer(i32), intent(out) :: numbers(0:SLOTS - 1)       !! numbers, -128 ... 127
    integer(i16), intent(out) :: shares(2, 0:SLOTS - 1)     !! frequency and place
    integer(i32) :: symbol, place, start

    start = 0
    do symbol = 0, SYMBOLS - 1
      do place = 0, frequencies(symbol) - 1
        numbers(start + place) = symbol - CENTRE
        shares(:, start + place) = int([frequencies(symbol), place], i16)
      end do
      start = start + frequencies(symbol)
    end do
  end subroutine decoding_table

  !> What the encoder knows of each symbol.
  !>
  !> A quotient \( \lfloor x/f \rfloor \) of \( x < 2^{31} \) is the product with
  !> \( \lceil 2^s/f \rceil \), shifted by \( s = 31 + \lceil \log_2 f \rceil \) (Granlund and
  !> Montgomery 1994).
  pure subroutine encoding_table(frequencies, table)
    integer(i32), intent(in) :: frequencies(0:SYMBOLS - 1)    !! slots of each symbol
    type(coded_symbol), intent(out) :: table(0:SYMBOLS - 1)   !! entries
    integer(i32) :: symbol, start, f

    start = 0
    do symbol = 0, SYMBOLS - 1
      f = frequencies(symbol)
      table(symbol)%start = start
      table(symbol)%others = SLOTS - f
      table(symbol)%limit = shiftl(f, STATE_BITS - SLOT_BITS)
      if (f > 0) then
        table(symbol)%shift = STATE_BITS + bit_size(f) - leadz(f - 1)
        table(symbol)%reciprocal = (shiftl(1_i64, table(symbol)%shift) + f - 1)/f
      end if
      start = start + f
    end do
  end subroutine encoding_table
end module fq_entropy_tables
