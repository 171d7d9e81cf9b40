!> What packers read of a layer's weights: codes and reals by rows, and parameters of groups.
module fq_weight_parts_real32
  use fq_codebook_real32, only: dequantize_codebook
  use fq_convert_int16, only: widen
  use fq_extents, only: packed_bytes, pieces
  use fq_kinds, only: i8, i16, i32, i64, sp, wp => sp
  use fq_layer_parts, only: FORM_CODEBOOK, FORM_HALF, FORM_QUANTIZED, FORM_ROWS, &
    is_there, layer_parts, row_scales, span
  use fq_pack_int8, only: unpack
  use fq_quantize_real32, only: dequantize
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: groups_of_row, group_of_row, nibble_offset, point_to_reals, read_codes, read_minima, &
    read_minima_by_panel, read_reals, read_scales, read_scales_by_panel, read_zeros, &
    read_zeros_by_panel, reals_at, row_scale, sign_offset

  integer(i64), parameter, public :: REAL_BYTES = storage_size(1.0_wp)/8

contains

  !> An array of reals of the caller.
  function reals_at(array) result(x)
    type(span), intent(in) :: array   !! where it is
    real(wp), pointer, contiguous :: x(:)

    call c_f_pointer(array%start, x, [array%bytes/REAL_BYTES])
  end function reals_at

  !> Groups of a row of weights.
  pure function groups_of_row(parts) result(groups)
    type(layer_parts), intent(in) :: parts   !! a layer
    integer(i64) :: groups

    groups = pieces(parts%k, group_of_row(parts))
  end function groups_of_row

  !> Weights of a group.
  pure function group_of_row(parts) result(entries)
    type(layer_parts), intent(in) :: parts   !! a layer
    integer(i64) :: entries

    entries = parts%k
    if (any(parts%form == [FORM_QUANTIZED, FORM_CODEBOOK])) entries = min(parts%k, parts%group_size)
  end function group_of_row

  !> What is subtracted from codes, and their zero points, so that they are signed bytes.
  pure function sign_offset(parts) result(offset)
    type(layer_parts), intent(in) :: parts   !! a layer
    integer(i32) :: offset

    offset = 0
    if (parts%form == FORM_QUANTIZED .and. parts%bits == 8 .and. parts%is_signed == 0) offset = 128
  end function sign_offset

  !> The same so that codes of at most 4 bits are `0 ... 15`.
  pure function nibble_offset(parts) result(offset)
    type(layer_parts), intent(in) :: parts   !! a layer
    integer(i32) :: offset

    offset = merge(-8, 0, parts%is_signed /= 0)
  end function nibble_offset

  !> Codes of QUANTIZED, CODEBOOK or ROWS as bytes, less an offset; of more than a byte they wrap.
  subroutine read_codes(parts, offset, codes, threads)
    type(layer_parts), intent(in) :: parts                !! codes of at most 8 bits
    integer(i32), intent(in) :: offset                    !! subtracted from each code
    integer(i8), intent(out), contiguous :: codes(:, :)   !! codes, `(k, n)`
    integer(i32), intent(in) :: threads                   !! threads to use, at least 1
    integer(i8), pointer, contiguous :: packed(:, :)

    call c_f_pointer(parts%values%start, packed, [packed_bytes(size(codes, 1, kind=i64), &
      parts%bits), size(codes, 2, kind=i64)])
    call unpack(packed, int(parts%bits, i32), parts%form == FORM_ROWS .or. parts%is_signed /= 0, &
      offset, codes, threads)
  end subroutine read_codes

  !> Rows of weights as reals, where they lie if they are reals, else in an array of their own.
  subroutine point_to_reals(parts, own, w, threads, info)
    type(layer_parts), intent(in) :: parts                    !! of ARRAY, HALF, QUANTIZED, ...
    real(wp), intent(out), allocatable, target :: own(:, :)   !! room, if it is needed
    real(wp), intent(out), pointer, contiguous :: w(:, :)     !! weights, `(k, rows)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! FQ_OK or FQ_NO_MEMORY
    integer :: stat

    info = FQ_OK
    if (parts%bits == 0 .and. parts%form /= FORM_HALF) then
      call c_f_pointer(parts%values%start, w, [parts%k, row_scales(parts)])
      return
    end if
    allocate (own(parts%k, row_scales(parts)), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    call read_reals(parts, own, threads, info)
    w => own
  end subroutine point_to_reals

  !> Rows of weights as the reals that they stand for; of ROWS those that are kept.
  subroutine read_reals(parts, w, threads, info)
    type(layer_parts), intent(in) :: parts                     !! ARRAY, HALF, QUANTIZED, CODEBOOK
    real(wp), intent(out), target, contiguous :: w(:, :)       !! weights, `(k, rows)`
    integer(i32), intent(in) :: threads                        !! threads to use, at least 1
    integer(i32), intent(out) :: info                          !! FQ_OK or FQ_NO_MEMORY
    real(wp), pointer, contiguous :: values(:, :)

    info = FQ_OK
    select case (parts%form)
    case (FORM_HALF)
      call widen_halves(parts, w, threads)
    case (FORM_QUANTIZED)
      call dequantize_parts(parts, w, threads, info)
    case (FORM_CODEBOOK)
      call dequantize_levels_parts(parts, w, threads, info)
    case default
      if (parts%bits /= 0) then
        call scale_codes(parts, w)
      else
        call c_f_pointer(parts%values%start, values, shape(w))
        w = values
      end if
    end select
  end subroutine read_reals

  !> Reals of 2-byte floats.  Where this is called real(sp) is real(wp).
  subroutine widen_halves(parts, w, threads)
    type(layer_parts), intent(in) :: parts
    real(wp), intent(out), target, contiguous :: w(:, :)
    integer(i32), intent(in) :: threads
    integer(i16), pointer, contiguous :: halves(:)
    real(sp), pointer, contiguous :: x(:)

    call c_f_pointer(parts%values%start, halves, [size(w)])
    call c_f_pointer(c_loc(w), x, [size(w)])
    call widen(halves, int(parts%float_format, i32), x, threads)
  end subroutine widen_halves

  subroutine dequantize_parts(parts, w, threads, info)
    type(layer_parts), intent(in) :: parts
    real(wp), intent(out), contiguous :: w(:, :)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    real(wp), allocatable :: scale(:, :), minimum(:, :)
    integer(i32), allocatable :: zero_point(:, :)
    integer(i8), pointer, contiguous :: packed(:, :)
    integer(i64) :: groups
    integer :: stat

    groups = groups_of_row(parts)
    allocate (scale(groups, parts%n), stat=stat)
    if (stat == 0) allocate (minimum(groups, parts%n), stat=stat)
    if (stat == 0) allocate (zero_point(groups, parts%n), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    call read_scales(parts, scale)
    call read_minima(parts, minimum)
    call read_zeros(parts, 0_i32, zero_point)
    call c_f_pointer(parts%values%start, packed, [packed_bytes(parts%k, parts%bits), parts%n])
    call dequantize(packed, int(parts%bits, i32), parts%is_signed /= 0, group_of_row(parts), &
      scale, zero_point, minimum, w, threads)
  end subroutine dequantize_parts

  subroutine dequantize_levels_parts(parts, w, threads, info)
    type(layer_parts), intent(in) :: parts
    real(wp), intent(out), contiguous :: w(:, :)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    real(wp), allocatable :: scale(:, :), all_levels(:, :)
    real(wp), pointer, contiguous :: levels(:, :)
    integer(i8), pointer, contiguous :: packed(:, :)
    integer :: stat

    allocate (scale(groups_of_row(parts), parts%n), stat=stat)
    if (stat == 0) allocate (all_levels(2**parts%bits, parts%tables), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    call read_scales(parts, scale)
    call c_f_pointer(parts%levels%start, levels, [parts%levels%bytes/REAL_BYTES/parts%tables, &
      parts%tables])
    all_levels = 0  ! for codes that are not there
    all_levels(:size(levels, 1), :) = levels
    call c_f_pointer(parts%values%start, packed, [packed_bytes(parts%k, parts%bits), parts%n])
    call dequantize_codebook(packed, int(parts%bits, i32), group_of_row(parts), all_levels, scale, &
      w, threads)
  end subroutine dequantize_levels_parts

  !> Codes of ROWS times their scales.
  subroutine scale_codes(parts, w)
    type(layer_parts), intent(in) :: parts
    real(wp), intent(out), contiguous :: w(:, :)
    integer(i8), pointer, contiguous :: codes(:, :)
    integer(i64) :: r

    call c_f_pointer(parts%values%start, codes, shape(w))
    do r = 1, size(w, 2, kind=i64)
      w(:, r) = real(codes(:, r), wp)*row_scale(parts, r)
    end do
  end subroutine scale_codes

  !> Scale of a row; 1 if there is none.
  function row_scale(parts, row) result(scale)
    type(layer_parts), intent(in) :: parts   !! a layer with at most one scale a row
    integer(i64), intent(in) :: row          !! number of the row, from 1
    real(wp) :: scale
    real(wp), pointer, contiguous :: scales(:)

    scale = 1
    if (.not. is_there(parts%scale)) return
    scales => reals_at(parts%scale)
    scale = scales(min(row, size(scales, kind=i64)))
  end function row_scale

  !> Scales of groups, by rows; ones if there are none.
  subroutine read_scales(parts, scale)
    type(layer_parts), intent(in) :: parts                  !! a layer
    real(wp), intent(out), contiguous :: scale(:, :)        !! `(groups, rows)`

    scale = 1
    if (is_there(parts%scale)) call spread_reals(parts%scale, scale)
  end subroutine read_scales

  !> Minima of groups, by rows; zeros if there are none.
  subroutine read_minima(parts, minimum)
    type(layer_parts), intent(in) :: parts                  !! a layer
    real(wp), intent(out), contiguous :: minimum(:, :)      !! `(groups, rows)`

    minimum = 0
    if (is_there(parts%minimum)) call spread_reals(parts%minimum, minimum)
  end subroutine read_minima

  subroutine spread_reals(array, x)
    type(span), intent(in) :: array
    real(wp), intent(out), contiguous :: x(:, :)
    real(wp), pointer, contiguous :: values(:), table(:, :)

    values => reals_at(array)
    if (size(values) == 1) then
      x = values(1)
    else
      table(1:size(x, 1, kind=i64), 1:size(x, 2, kind=i64)) => values
      x = table
    end if
  end subroutine spread_reals

  !> Zero points of groups less an offset, by rows.
  subroutine read_zeros(parts, offset, zero_point)
    type(layer_parts), intent(in) :: parts                       !! a layer
    integer(i32), intent(in) :: offset                           !! subtracted from each
    integer(i32), intent(out), contiguous :: zero_point(:, :)    !! `(groups, rows)`
    integer(i32), pointer, contiguous :: values(:), table(:, :)

    zero_point = -offset
    if (.not. is_there(parts%zero_point)) return
    call c_f_pointer(parts%zero_point%start, values, [parts%zero_point%bytes/4])
    if (size(values) == 1) then
      zero_point = values(1) - offset
    else
      table(1:size(zero_point, 1, kind=i64), 1:size(zero_point, 2, kind=i64)) => values
      zero_point = table - offset
    end if
  end subroutine read_zeros

  !> Scales of groups, a row a lane, zeros behind the rows.
  subroutine read_scales_by_panel(parts, scale)
    type(layer_parts), intent(in) :: parts                  !! a layer
    real(wp), intent(out), contiguous :: scale(:, :, :)     !! `(lanes, groups, panels)`

    if (is_there(parts%scale)) then
      call reals_by_panel(parts, parts%scale, scale)
    else
      scale = 1
      call clear_lanes(parts%n, scale)
    end if
  end subroutine read_scales_by_panel

  !> Minima of groups, a row a lane, zeros behind the rows.
  subroutine read_minima_by_panel(parts, minimum)
    type(layer_parts), intent(in) :: parts                  !! a layer
    real(wp), intent(out), contiguous :: minimum(:, :, :)   !! `(lanes, groups, panels)`

    call reals_by_panel(parts, parts%minimum, minimum)
  end subroutine read_minima_by_panel

  subroutine reals_by_panel(parts, array, x)
    type(layer_parts), intent(in) :: parts
    type(span), intent(in) :: array
    real(wp), intent(out), contiguous :: x(:, :, :)
    real(wp), pointer, contiguous :: values(:)
    integer(i64) :: r, g, groups

    values => reals_at(array)
    groups = size(x, 2, kind=i64)
    do r = 1, parts%n
      do g = 1, groups
        x(lane_of(r, size(x, 1, kind=i64)), g, panel_of(r, size(x, 1, kind=i64))) &
          = values(min((r - 1)*groups + g, size(values, kind=i64)))
      end do
    end do
    call clear_lanes(parts%n, x)
  end subroutine reals_by_panel

  !> Zeros in the lanes of the last panel that have no row.
  pure subroutine clear_lanes(n, x)
    integer(i64), intent(in) :: n
    real(wp), intent(inout), contiguous :: x(:, :, :)
    integer(i64) :: filled

    filled = n - (size(x, 3, kind=i64) - 1)*size(x, 1, kind=i64)
    x(filled + 1:, :, size(x, 3)) = 0
  end subroutine clear_lanes

  !> Zero points of groups less an offset as bytes, a row a lane, zeros behind the rows.
  subroutine read_zeros_by_panel(parts, offset, zero_point)
    type(layer_parts), intent(in) :: parts                       !! a layer
    integer(i32), intent(in) :: offset                           !! subtracted from each
    integer(i8), intent(out), contiguous :: zero_point(:, :, :)  !! `(lanes, groups, panels)`
    integer(i32), pointer, contiguous :: values(:)
    integer(i64) :: r, g, groups
    integer(i32) :: zero

    groups = size(zero_point, 2, kind=i64)
    values => null()
    if (is_there(parts%zero_point)) call c_f_pointer(parts%zero_point%start, values, &
      [parts%zero_point%bytes/4])
    zero_point(:, :, size(zero_point, 3)) = 0
    do r = 1, parts%n
      do g = 1, groups
        zero = 0
        if (associated(values)) zero = values(min((r - 1)*groups + g, size(values, kind=i64)))
        zero_point(lane_of(r, size(zero_point, 1, kind=i64)), g, panel_of(r, size(zero_point, 1, &
          kind=i64))) = int(zero - offset, i8)
      end do
    end do
  end subroutine read_zeros_by_panel

  pure function lane_of(row, lanes) result(lane)
    integer(i64), intent(in) :: row, lanes
    integer(i64) :: lane

    lane = mod(row - 1, lanes) + 1
  end function lane_of

  pure function panel_of(row, lanes) result(panel)
    integer(i64), intent(in) :: row, lanes
    integer(i64) :: panel

    panel = (row - 1)/lanes + 1
  end function panel_of
end module fq_weight_parts_real32
