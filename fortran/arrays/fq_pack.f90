!> Codes of 1 ... 16 bits in dense bytes.
!>
!> Python: `pyfq/arrays/pack.py`.  Reference: `pyfq/reference/arrays/pack.py`.
module fq_pack_int8
  use fq_extents, only: packed_bytes
  use fq_kinds, only: i8, i32, i64, ik => i8
  use fq_pack_bits, only: pack_run, unpack_run
  use fq_precondition, only: CHECKED, require
  use fq_work_size, only: SMALL_WORK
  implicit none (type, external)
  private
  public :: pack, unpack

  integer(i64), parameter :: TILE = 4096           ! codes of a task; a multiple of 8 ends on a byte

contains

  !> Bytes that hold `codes + offset` densely, each row from its own first byte, zeros behind the
  !> last code.
  !>
  !> *Preconditions*: `1 <= bits <= 16`; `row_bytes >= ceiling(cols*bits/8)`.
  subroutine pack(codes, bits, offset, packed, threads)
    integer(ik), intent(in), contiguous :: codes(:, :)    !! codes, `(cols, rows)`
    integer(i32), intent(in) :: bits                      !! bits of a code, `1 ... 16`
    integer(i32), intent(in) :: offset                    !! added to each code before it is packed
    integer(i8), intent(out), contiguous :: packed(:, :)  !! bytes, `(row_bytes, rows)`
    integer(i32), intent(in) :: threads                   !! threads to use, at least 1
    integer(i32) :: tile_codes(TILE)
    integer(i64) :: k, r, tiles, first, last, cols

    if (CHECKED) then
      call require(bits >= 1 .and. bits <= 16, 'pack: 1 <= bits <= 16')
      call require(size(packed, 1, kind=i64) >= packed_bytes(size(codes, 1, kind=i64), &
        int(bits, i64)), 'pack: row_bytes >= ceiling(cols*bits/8)')
    end if
    cols = size(codes, 1, kind=i64)
    tiles = (cols + TILE - 1)/TILE
    !$omp parallel do default(none) private(r, first, last, tile_codes) &
    !$omp shared(codes, bits, offset, packed, tiles, cols) &
    !$omp schedule(static) num_threads(threads) if(size(codes, kind=i64) > SMALL_WORK)
    do k = 0, tiles*size(codes, 2, kind=i64) - 1
      r = k/tiles + 1
      first = mod(k, tiles)*TILE + 1
      last = min(first + TILE - 1, cols)
      tile_codes(1:last - first + 1) = int(codes(first:last, r), i32) + offset
      call pack_run(tile_codes(1:last - first + 1), bits, &
        packed((first - 1)*bits/8 + 1:(last*bits + 7)/8, r))
      if (last == cols) packed((cols*bits + 7)/8 + 1:, r) = 0
    end do
  end subroutine pack

  !> The codes that `pack` packed.
  !>
  !> *Preconditions*: `1 <= bits <= 16`; `row_bytes >= ceiling(cols*bits/8)`.
  subroutine unpack(packed, bits, signed, offset, codes, threads)
    integer(i8), intent(in), contiguous :: packed(:, :)  !! bytes, `(row_bytes, rows)`
    integer(i32), intent(in) :: bits                     !! bits of a code, `1 ... 16`
    logical, intent(in) :: signed                        !! codes are two's complement
    integer(i32), intent(in) :: offset                   !! subtracted from each code
    integer(ik), intent(out), contiguous :: codes(:, :)  !! codes, `(cols, rows)`
    integer(i32), intent(in) :: threads                  !! threads to use, at least 1
    integer(i32) :: tile_codes(TILE)
    integer(i64) :: k, r, tiles, first, last, cols

    if (CHECKED) then
      call require(bits >= 1 .and. bits <= 16, 'unpack: 1 <= bits <= 16')
      call require(size(packed, 1, kind=i64) >= packed_bytes(size(codes, 1, kind=i64), &
        int(bits, i64)), 'unpack: row_bytes >= ceiling(cols*bits/8)')
    end if
    cols = size(codes, 1, kind=i64)
    tiles = (cols + TILE - 1)/TILE
    !$omp parallel do default(none) private(r, first, last, tile_codes) &
    !$omp shared(packed, bits, signed, offset, codes, tiles, cols) &
    !$omp schedule(static) num_threads(threads) if(size(codes, kind=i64) > SMALL_WORK)
    do k = 0, tiles*size(codes, 2, kind=i64) - 1
      r = k/tiles + 1
      first = mod(k, tiles)*TILE + 1
      last = min(first + TILE - 1, cols)
      call unpack_run(packed((first - 1)*bits/8 + 1:(last*bits + 7)/8, r), bits, signed, &
        tile_codes(1:last - first + 1))
      codes(first:last, r) = int(tile_codes(1:last - first + 1) - offset, ik)
    end do
  end subroutine unpack

end module fq_pack_int8
