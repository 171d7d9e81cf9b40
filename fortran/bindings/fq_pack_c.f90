!> C boundary of `fq_pack`; `docs/boundary.md` says what all bindings have in common.
module fq_pack_c_int8
  use fq_arguments, only: is_given, status_of
  use fq_extents, only: packed_bytes
  use fq_kinds, only: i8, i32, i64, ik => i8
  use fq_pack_int8, only: pack, unpack
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_pack, fq_unpack

contains

  !> Bytes that hold `codes + offset` densely: see `pack`; without codes, zeros.
  subroutine fq_pack(rows, cols, row_bytes, codes, bits, offset, packed, threads, info) &
    bind(c, name='fq_pack_i8')
    integer(i64), intent(in), value :: rows, cols                   !! extents of codes
    integer(i64), intent(in), value :: row_bytes          !! at least `ceiling(cols*bits/8)`
    integer(ik), intent(in), optional :: codes(cols, rows)          !! codes, `(rows, cols)`
    integer(i32), intent(in), value :: bits                         !! bits of a code, `1 ... 16`
    integer(i32), intent(in), value :: offset                       !! added before it is packed
    integer(i8), intent(out), optional :: packed(row_bytes, rows)   !! bytes, `(rows, row_bytes)`
    integer(i32), intent(in), value :: threads                      !! threads to use, at least 1
    integer(i32), intent(out) :: info                               !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(codes), [cols, rows])) return
    if (.not. is_given(present(packed), [row_bytes, rows])) return
    info = status_of([rows, cols, row_bytes], &
      row_bytes >= packed_bytes(cols, int(bits, i64)), &
      bits >= 1 .and. bits <= 16 .and. threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols) == 0) then
      packed = 0
      return
    end if
    call pack(codes, bits, offset, packed, threads)
  end subroutine fq_pack

  !> The codes that `fq_pack` packed.
  subroutine fq_unpack(rows, cols, row_bytes, packed, bits, signed, offset, codes, threads, info) &
    bind(c, name='fq_unpack_i8')
    integer(i64), intent(in), value :: rows, cols                   !! extents of codes
    integer(i64), intent(in), value :: row_bytes          !! at least `ceiling(cols*bits/8)`
    integer(i8), intent(in), optional :: packed(row_bytes, rows)    !! bytes, `(rows, row_bytes)`
    integer(i32), intent(in), value :: bits                         !! bits of a code, `1 ... 16`
    integer(i32), intent(in), value :: signed  !! 0: unsigned codes; else two's complement
    integer(i32), intent(in), value :: offset                       !! subtracted from each code
    integer(ik), intent(out), optional :: codes(cols, rows)         !! codes, `(rows, cols)`
    integer(i32), intent(in), value :: threads                      !! threads to use, at least 1
    integer(i32), intent(out) :: info                               !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(packed), [row_bytes, rows])) return
    if (.not. is_given(present(codes), [cols, rows])) return
    info = status_of([rows, cols, row_bytes], &
      row_bytes >= packed_bytes(cols, int(bits, i64)), &
      bits >= 1 .and. bits <= 16 .and. threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols) == 0) return
    call unpack(packed, bits, signed /= 0, offset, codes, threads)
  end subroutine fq_unpack
end module fq_pack_c_int8
