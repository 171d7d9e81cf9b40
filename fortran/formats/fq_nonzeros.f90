!> The nonzeros of sparse weights row by row, from compressed rows or from groups of neighbours.
module fq_nonzeros_real32
  use fq_extents, only: packed_bytes
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_layer_parts, only: FORM_CSR, FORM_NM, FORM_ROWS, layer_parts, nm_values, place_bits
  use fq_pack_bits, only: unpack_run
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FITTING, FQ_OK
  use fq_stored_layer, only: stored_layer
  use fq_weight_parts_real32, only: read_scales, reals_at, row_scale
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: count_nonzeros, places_status, read_dense_codes, read_nonzeros, read_position_bits, &
    read_row_values, store_scale

  !> Nonzeros of all rows.
  type, public :: nonzeros
    integer(i64), allocatable :: starts(:)  !! nonzeros before each row, and all, `(n + 1)`
    integer(i32), allocatable :: cols(:)    !! column of each, from 0, `(count)`
    real(wp), allocatable :: values(:)      !! values, or codes, `(count)`
  end type nonzeros

contains

  !> What is wrong with what says where values are, FQ_OK if columns ascend and rows do.
  function places_status(parts) result(info)
    type(layer_parts), intent(in) :: parts   !! of any form; lengths fit
    integer(i32) :: info

    select case (parts%form)
    case (FORM_CSR)
      info = merge(FQ_OK, FQ_NOT_FITTING, are_columns_ascending(parts))
    case (FORM_NM)
      info = merge(FQ_OK, FQ_NOT_FITTING, are_places_ascending(parts))
    case (FORM_ROWS)
      info = merge(FQ_OK, FQ_NOT_FITTING, are_rows_ascending(parts))
    case default
      info = FQ_OK
    end select
  end function places_status

  !> Whether the columns of a row ascend, and lie in the matrix.
  function are_columns_ascending(parts) result(ascend)
    type(layer_parts), intent(in) :: parts
    logical :: ascend
    integer(i64), pointer, contiguous :: starts(:)
    integer(i32), pointer, contiguous :: cols(:)
    integer(i64) :: r

    call c_f_pointer(parts%starts%start, starts, [parts%n + 1])
    ascend = starts(1) == 0 .and. starts(parts%n + 1) == parts%indices%bytes/4 &
      .and. all(starts(2:) >= starts(:parts%n))
    if (.not. ascend .or. parts%indices%bytes == 0) return
    call c_f_pointer(parts%indices%start, cols, [parts%indices%bytes/4])
    ascend = all(cols >= 0 .and. cols < parts%k)
    do r = 1, parts%n
      ascend = ascend .and. all(cols(starts(r) + 2:starts(r + 1)) > cols(starts(r) + 1:starts(r &
        + 1) - 1))
    end do
  end function are_columns_ascending

  !> Whether the rows that are kept ascend, and lie in the matrix.
  function are_rows_ascending(parts) result(ascend)
    type(layer_parts), intent(in) :: parts
    logical :: ascend
    integer(i64), pointer, contiguous :: rows(:)

    ascend = .true.
    if (parts%rows%bytes == 0) return
    call c_f_pointer(parts%rows%start, rows, [parts%rows%bytes/8])
    ascend = rows(1) >= 0 .and. rows(size(rows)) < parts%n .and. all(rows(2:) > rows(:size(rows) &
      - 1))
  end function are_rows_ascending

  !> Whether the places of a group ascend, below the end of the group.
  function are_places_ascending(parts) result(ascend)
    type(layer_parts), intent(in) :: parts
    logical :: ascend
    integer(i32) :: places(nm_values(parts))
    integer(i64) :: r, g

    ascend = .true.
    do r = 1, parts%n
      call read_places(parts, r, places)
      ascend = ascend .and. all(places < parts%nm_m)
      do g = 0, size(places) - 1, parts%nm_n
        ascend = ascend .and. all(places(g + 2:g + parts%nm_n) > places(g + 1:g + parts%nm_n - 1))
      end do
    end do
  end function are_places_ascending

  !> Places of the values of a row of NM in their groups.
  subroutine read_places(parts, row, places)
    type(layer_parts), intent(in) :: parts                  !! of FORM_NM
    integer(i64), intent(in) :: row                         !! number of the row, from 1
    integer(i32), intent(out), contiguous :: places(:)      !! `(values of a row)`, from 0
    integer(i8), pointer, contiguous :: packed(:, :)
    integer(i32) :: bits

    bits = place_bits(parts%nm_m)
    call c_f_pointer(parts%positions%start, packed, [packed_bytes(nm_values(parts), int(bits, &
      i64)), parts%n])
    call unpack_run(packed(:, row), bits, .false., places)
  end subroutine read_places

  !> How many nonzeros there are, and how many in a row at most.
  subroutine count_nonzeros(parts, total, most)
    type(layer_parts), intent(in) :: parts   !! of FORM_CSR, FORM_NM, or FORM_ROWS without a row
    integer(i64), intent(out) :: total       !! nonzeros; of CSR, stored values
    integer(i64), intent(out) :: most        !! of a row
    integer(i64), pointer, contiguous :: starts(:)
    real(wp) :: values(merge(nm_values(parts), 0_i64, parts%form == FORM_NM))
    integer(i32) :: cols(size(values))
    integer(i64) :: r, count

    total = 0
    most = 0
    if (parts%form == FORM_CSR) then
      call c_f_pointer(parts%starts%start, starts, [parts%n + 1])
      total = starts(parts%n + 1)
      most = maxval(starts(2:) - starts(:parts%n))
    else if (parts%form == FORM_NM) then
      do r = 1, parts%n
        call read_row_nonzeros(parts, r, count, cols, values)
        total = total + count
        most = max(most, count)
      end do
    end if
  end subroutine count_nonzeros

  !> The nonzeros of a row of NM.
  subroutine read_row_nonzeros(parts, row, count, cols, values)
    type(layer_parts), intent(in) :: parts
    integer(i64), intent(in) :: row
    integer(i64), intent(out) :: count
    integer(i32), intent(out), contiguous :: cols(:)
    real(wp), intent(out), contiguous :: values(:)
    integer(i32) :: places(size(values))
    real(wp) :: whole(size(values))
    integer(i64) :: i, col

    call read_places(parts, row, places)
    call read_row_values(parts, (row - 1)*size(values, kind=i64), whole)
    count = 0
    do i = 1, size(values, kind=i64)
      col = (i - 1)/parts%nm_n*parts%nm_m + places(i)
      if (abs(whole(i)) > 0 .and. col < parts%k) then
        count = count + 1
        cols(count) = int(col, i32)
        values(count) = whole(i)
      end if
    end do
  end subroutine read_row_nonzeros

  !> Stored values behind the first `before`, or codes as reals.
  subroutine read_row_values(parts, before, values)
    type(layer_parts), intent(in) :: parts              !! of FORM_CSR or FORM_NM
    integer(i64), intent(in) :: before                  !! values that are left out
    real(wp), intent(out), contiguous :: values(:)      !! values
    integer(i8), pointer, contiguous :: codes(:)
    real(wp), pointer, contiguous :: stored(:)

    if (parts%bits == 0) then
      stored => reals_at(parts%values)
      values = stored(before + 1:before + size(values))
    else
      call c_f_pointer(parts%values%start, codes, [parts%values%bytes])
      values = real(codes(before + 1:before + size(values)), wp)
    end if
  end subroutine read_row_values

  !> All nonzeros: values, or, of codes, either the codes or what they stand for.
  subroutine read_nonzeros(parts, as_codes, found, info)
    type(layer_parts), intent(in) :: parts    !! as `count_nonzeros` takes it
    logical, intent(in) :: as_codes           !! codes stay codes
    type(nonzeros), intent(out) :: found      !! what there is
    integer(i32), intent(out) :: info         !! FQ_OK or FQ_NO_MEMORY
    integer(i64) :: total, most, r, count
    integer :: stat

    call count_nonzeros(parts, total, most)
    allocate (found%starts(parts%n + 1), stat=stat)
    if (stat == 0) allocate (found%cols(total), stat=stat)
    if (stat == 0) allocate (found%values(total), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    found%starts = 0
    if (parts%form == FORM_CSR) then
      call read_compressed(parts, found)
    else if (parts%form == FORM_NM) then
      call read_groups(parts, found)
    end if
    if (as_codes .or. parts%bits == 0) return
    do r = 1, parts%n
      count = found%starts(r + 1)
      found%values(found%starts(r) + 1:count) = found%values(found%starts(r) + 1:count) &
        *row_scale(parts, r)
    end do
  end subroutine read_nonzeros

  subroutine read_compressed(parts, found)
    type(layer_parts), intent(in) :: parts
    type(nonzeros), intent(inout) :: found
    integer(i64), pointer, contiguous :: starts(:)
    integer(i32), pointer, contiguous :: cols(:)
    integer(i64) :: count

    call c_f_pointer(parts%starts%start, starts, [parts%n + 1])
    found%starts = starts
    count = starts(parts%n + 1)
    if (count == 0) return
    call c_f_pointer(parts%indices%start, cols, [count])
    found%cols(:count) = cols
    call read_row_values(parts, 0_i64, found%values(:count))
  end subroutine read_compressed

  subroutine read_groups(parts, found)
    type(layer_parts), intent(in) :: parts
    type(nonzeros), intent(inout) :: found
    integer(i32) :: cols(nm_values(parts))
    real(wp) :: values(nm_values(parts))
    integer(i64) :: r, count, before

    do r = 1, parts%n
      call read_row_nonzeros(parts, r, count, cols, values)
      before = found%starts(r)
      found%cols(before + 1:before + count) = cols(:count)
      found%values(before + 1:before + count) = values(:count)
      found%starts(r + 1) = before + count
    end do
  end subroutine read_groups

  !> Codes with their zeros, by rows.
  subroutine read_dense_codes(parts, codes, info)
    type(layer_parts), intent(in) :: parts                !! as `count_nonzeros` takes it
    integer(i8), intent(out), contiguous :: codes(:, :)   !! codes, `(k, n)`
    integer(i32), intent(out) :: info                     !! FQ_OK or FQ_NO_MEMORY
    type(nonzeros) :: found
    integer(i64) :: r, i

    call read_nonzeros(parts, .true., found, info)
    if (info /= FQ_OK) return
    codes = 0
    do r = 1, parts%n
      do i = found%starts(r) + 1, found%starts(r + 1)
        codes(found%cols(i) + 1, r) = int(found%values(i), i8)
      end do
    end do
  end subroutine read_dense_codes

  !> Scales of codes, one a row, if a layer has them.
  subroutine store_scale(parts, layer, memory)
    type(layer_parts), intent(in) :: parts                       !! what it is made of
    type(stored_layer), intent(in) :: layer                      !! where they go
    integer(i8), intent(inout), target, contiguous :: memory(:)  !! the memory
    real(wp), pointer, contiguous :: scale(:, :)

    if (layer%scale < 0) return
    call c_f_pointer(c_loc(memory(layer%scale + 1)), scale, [1_i64, layer%rows])
    call read_scales(parts, scale)
  end subroutine store_scale

  !> The four bits of each group of a row: where its two values lie.
  subroutine read_position_bits(parts, row, bits)
    type(layer_parts), intent(in) :: parts              !! 2:4 weights
    integer(i64), intent(in) :: row                     !! number of the row, from 1
    integer(i32), intent(out), contiguous :: bits(:)    !! `(groups)`
    integer(i32) :: places(2*size(bits))

    call read_places(parts, row, places)
    associate (first => places(1::2), second => places(2::2))
      bits = merge(1, 0, first == 0) + merge(2, 0, first == 1) + merge(4, 0, second == 3) &
        + merge(8, 0, second == 2)
    end associate
  end subroutine read_position_bits
end module fq_nonzeros_real32
