!> Where an array meets a line of cache: vectors that cross lines cost twice.
module fq_align
  use fq_kinds, only: i64
  use, intrinsic :: iso_c_binding, only: c_intptr_t, c_loc
  implicit none (type, external)
  private
  public :: aligned_start, whole_lines

  integer(c_intptr_t), parameter :: LINE_BYTES = 64

contains

  !> Bytes of the lines of cache that so many bytes fill, from the start of a line on.
  pure function whole_lines(bytes) result(filled)
    integer(i64), intent(in) :: bytes   !! bytes, at least 0
    integer(i64) :: filled

    filled = bytes + modulo(-bytes, int(LINE_BYTES, i64))
  end function whole_lines

  !> Index of the first entry of an array that starts a line of cache.
  function aligned_start(x, entry_bits) result(start)
    type(*), intent(in), target :: x(*)   !! the array, of any type
    integer, intent(in) :: entry_bits     !! `storage_size` of an entry, that of a divisor of a line
    integer(i64) :: start

    start = modulo(-transfer(c_loc(x), 0_c_intptr_t), LINE_BYTES)/(entry_bits/8) + 1
  end function aligned_start
end module fq_align
