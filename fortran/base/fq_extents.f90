!> How many parts, groups and bytes a row has.
module fq_extents
  use fq_kinds, only: i64
  implicit none (type, external)
  private
  public :: groups_of, packed_bytes, pieces

contains

  !> Parts of `length` entries, the last of which may be short; -1 if there are no such parts.
  pure function pieces(n, length) result(parts)
    integer(i64), intent(in) :: n, length
    integer(i64) :: parts

    parts = -1
    if (length < 1) return
    parts = n/length + merge(1, 0, mod(n, length) > 0)
  end function pieces

  !> Groups of a row: of an empty one there is one, empty, too.
  pure function groups_of(cols, group_size) result(groups)
    integer(i64), intent(in) :: cols, group_size
    integer(i64) :: groups

    groups = pieces(cols, group_size)
    if (groups == 0) groups = 1
  end function groups_of

  !> Bytes of a row of packed codes; -1 for codes of no bits or of more than 16.
  pure function packed_bytes(cols, bits) result(bytes)
    integer(i64), intent(in) :: cols, bits
    integer(i64) :: bytes

    bytes = -1
    if (bits < 1 .or. bits > 16) return
    bytes = cols/8*bits + (mod(cols, 8_i64)*bits + 7)/8
  end function packed_bytes
end module fq_extents
