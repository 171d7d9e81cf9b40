!> A layer as it is in a file: the form of its weights, and where each of its arrays is.
!> Mirrored in `pyfq/formats/layer_parts.py`.
module fq_layer_parts
  use fq_activation_kind, only: is_activation
  use fq_extents, only: packed_bytes, pieces
  use fq_kinds, only: i32, i64
  use fq_status, only: FQ_NOT_FITTING, FQ_NOT_GIVEN, FQ_NOT_KNOWN, FQ_OK
  use, intrinsic :: iso_c_binding, only: c_associated, c_double, c_ptr, c_null_ptr
  implicit none (type, external)
  private
  public :: entries_of, is_there, nm_values, parts_status, place_bits, row_scales

  !> In what form weights are: reals; 2-byte floats; uniform codes; codes of a table's levels;
  !> compressed rows; at most n of every m neighbours; whole rows.
  integer(i64), parameter, public :: FORM_ARRAY = 1, FORM_HALF = 2, FORM_QUANTIZED = 3, &
    FORM_CODEBOOK = 4, FORM_CSR = 5, FORM_NM = 6, FORM_ROWS = 7

  !> What becomes of inputs: they stay reals, become 8-bit codes sample by sample, or 8-bit codes of
  !> a fixed scale.
  integer(i64), parameter, public :: INPUTS_REAL = 0, INPUTS_CODED = 1, INPUTS_STATIC = 2

  !> Inputs of a STATIC layer, at most: sums of products of codes fit 32 bits, 33025*255**2 < 2**31.
  integer(i64), parameter :: MOST_INPUTS = 33025

  !> An array of the caller.
  type, bind(c), public :: span
    type(c_ptr) :: start = c_null_ptr  !! null: there is none
    integer(i64) :: bytes = 0          !! how long it is
  end type span

  !> A layer.  In NumPy a structured array, all components of 8 bytes.
  type, bind(c), public :: layer_parts
    integer(i64) :: form          !! one of FORM_...
    integer(i64) :: n             !! outputs
    integer(i64) :: k             !! inputs
    integer(i64) :: inputs        !! one of INPUTS_...
    integer(i64) :: activation    !! one of ACT_...
    real(c_double) :: slope       !! parameter of the activation
    integer(i64) :: bits          !! of a code, `1 ... 16`; 0: values are reals
    integer(i64) :: is_signed     !! 1: codes of QUANTIZED are two's complement
    integer(i64) :: group_size    !! weights of a row that share a scale, of QUANTIZED and CODEBOOK
    integer(i64) :: tables        !! of levels of CODEBOOK: one for all rows, or one a row
    integer(i64) :: float_format  !! one of HALF_..., of HALF
    integer(i64) :: nm_n, nm_m    !! values of a group, and entries of a group, of NM
    integer(i64) :: input_zero    !! code of 0 of STATIC inputs, -1 if they are signed
    type(span) :: bias            !! `(n)` reals
    type(span) :: values          !! reals, 2-byte floats, packed codes, or int8
    type(span) :: scale           !! one for all, or one for each row or group
    type(span) :: zero_point      !! int32, as scale
    type(span) :: minimum         !! as scale
    type(span) :: levels          !! `(tables, levels)`, of CODEBOOK
    type(span) :: starts          !! `indptr` of CSR, int64
    type(span) :: indices         !! columns of CSR, int32
    type(span) :: positions       !! of NM, packed
    type(span) :: rows            !! that are kept, of ROWS, int64
    type(span) :: input_scale     !! step between codes of STATIC inputs, one real
  end type layer_parts

contains

  pure function is_there(array) result(there)
    type(span), intent(in) :: array   !! an array of the caller
    logical :: there

    there = array%bytes > 0 .and. c_associated(array%start)
  end function is_there

  !> Entries of an array; -1 if bytes are left over, or its pointer is null.
  pure function entries_of(array, entry_bytes) result(entries)
    type(span), intent(in) :: array           !! an array of the caller
    integer(i64), intent(in) :: entry_bytes   !! bytes of an entry
    integer(i64) :: entries

    entries = -1
    if (array%bytes < 0 .or. mod(array%bytes, entry_bytes) /= 0) return
    if (array%bytes > 0 .and. .not. c_associated(array%start)) return
    entries = array%bytes/entry_bytes
  end function entries_of

  !> Rows that scales are of: those that are kept, or all.
  pure function row_scales(parts) result(rows)
    type(layer_parts), intent(in) :: parts   !! a layer
    integer(i64) :: rows

    rows = parts%n
    if (parts%form == FORM_ROWS) rows = entries_of(parts%rows, 8_i64)
  end function row_scales

  !> Values of a row of NM.
  pure function nm_values(parts) result(values)
    type(layer_parts), intent(in) :: parts   !! a layer of FORM_NM
    integer(i64) :: values

    values = pieces(parts%k, parts%nm_m)*parts%nm_n
  end function nm_values

  !> Bits of a place in a group of m entries.
  pure function place_bits(m) result(bits)
    integer(i64), intent(in) :: m   !! entries of a group, at least 2
    integer(i32) :: bits

    bits = int(bit_size(m) - leadz(m - 1), i32)
  end function place_bits

  !> What is wrong with the numbers of a layer and the lengths of its arrays, FQ_OK if nothing is.
  pure function parts_status(parts, real_bytes) result(info)
    type(layer_parts), intent(in) :: parts   !! a layer
    integer(i64), intent(in) :: real_bytes   !! bytes of a real, 4 or 8
    integer(i32) :: info
    logical :: known

    known = parts%form >= FORM_ARRAY .and. parts%form <= FORM_ROWS &
      .and. parts%inputs >= INPUTS_REAL .and. parts%inputs <= INPUTS_STATIC &
      .and. parts%activation == int(parts%activation, i32) &
      .and. is_activation(int(parts%activation, i32)) .and. is_coding_known(parts, real_bytes)
    info = merge(FQ_OK, FQ_NOT_KNOWN, known)
    if (.not. known) return
    if (.not. are_given(parts)) info = FQ_NOT_GIVEN
    if (parts%n < 1 .or. parts%k < 1) then
      info = FQ_NOT_FITTING
    else if (parts%n > shiftr(huge(parts%n), 6)/parts%k) then
      info = FQ_NOT_FITTING
    else if (info == FQ_OK) then
      if (.not. (are_values_fitting(parts, real_bytes) .and. are_scales_fitting(parts, &
        real_bytes))) info = FQ_NOT_FITTING
    end if
  end function parts_status

  !> Whether the numbers that say what codes are, and what inputs become, go with the form.
  pure function is_coding_known(parts, real_bytes) result(known)
    type(layer_parts), intent(in) :: parts
    integer(i64), intent(in) :: real_bytes
    logical :: known

    select case (parts%form)
    case (FORM_ARRAY)
      known = parts%bits == 0
    case (FORM_HALF)
      known = parts%bits == 0 .and. real_bytes == 4 .and. parts%float_format >= 1 &
        .and. parts%float_format <= 2
    case (FORM_QUANTIZED)
      known = parts%bits >= 1 .and. parts%bits <= 16 .and. parts%group_size >= 1
    case (FORM_CODEBOOK)
      known = parts%bits >= 1 .and. parts%bits <= 8 .and. parts%group_size >= 1 &
        .and. (parts%tables == 1 .or. parts%tables == parts%n)
    case (FORM_NM)
      known = parts%nm_m >= 2 .and. parts%nm_m <= 16 .and. parts%nm_n >= 1 .and. parts%nm_n &
        <= parts%nm_m .and. (parts%bits == 0 .or. parts%bits == 8)
    case default
      known = parts%bits == 0 .or. parts%bits == 8
    end select
    if (parts%inputs /= INPUTS_REAL) known = known .and. parts%form /= FORM_CODEBOOK &
      .and. parts%bits >= 1 .and. parts%bits <= 8
    if (parts%inputs == INPUTS_STATIC) known = known .and. parts%form == FORM_QUANTIZED &
      .and. parts%input_zero >= -1 .and. parts%input_zero <= 255
  end function is_coding_known

  !> Whether each array that says how long it is is there.
  pure function are_given(parts) result(given)
    type(layer_parts), intent(in) :: parts
    logical :: given

    given = all([entries_of(parts%bias, 1_i64), entries_of(parts%values, 1_i64), &
      entries_of(parts%scale, 1_i64), entries_of(parts%zero_point, 1_i64), &
      entries_of(parts%minimum, 1_i64), entries_of(parts%levels, 1_i64), &
      entries_of(parts%starts, 1_i64), entries_of(parts%indices, 1_i64), &
      entries_of(parts%positions, 1_i64), entries_of(parts%rows, 1_i64), &
      entries_of(parts%input_scale, 1_i64)] >= 0)
  end function are_given

  !> Whether values, and what says where they are, are as long as the form wants them.
  pure function are_values_fitting(parts, real_bytes) result(fit)
    type(layer_parts), intent(in) :: parts
    integer(i64), intent(in) :: real_bytes
    logical :: fit
    integer(i64) :: value_bytes, count

    value_bytes = merge(real_bytes, 1_i64, parts%bits == 0)
    select case (parts%form)
    case (FORM_ARRAY)
      fit = parts%values%bytes == parts%n*parts%k*real_bytes
    case (FORM_HALF)
      fit = parts%values%bytes == parts%n*parts%k*2
    case (FORM_QUANTIZED, FORM_CODEBOOK)
      fit = parts%values%bytes == parts%n*packed_bytes(parts%k, parts%bits)
    case (FORM_CSR)
      count = entries_of(parts%indices, 4_i64)
      fit = count >= 0 .and. entries_of(parts%starts, 8_i64) == parts%n + 1 &
        .and. parts%values%bytes == count*value_bytes .and. parts%k <= huge(0_i32)
    case (FORM_NM)
      fit = parts%values%bytes == parts%n*nm_values(parts)*value_bytes .and. parts%positions%bytes &
        == parts%n*packed_bytes(nm_values(parts), int(place_bits(parts%nm_m), i64)) &
        .and. parts%k <= huge(0_i32)
    case default
      count = entries_of(parts%rows, 8_i64)
      fit = count >= 0 .and. count <= parts%n .and. parts%values%bytes == count*parts%k*value_bytes
    end select
    fit = fit .and. (parts%bias%bytes == 0 .or. parts%bias%bytes == parts%n*real_bytes)
  end function are_values_fitting

  !> Whether scales, zero points, minima and levels are as many as the form wants.
  pure function are_scales_fitting(parts, real_bytes) result(fit)
    type(layer_parts), intent(in) :: parts
    integer(i64), intent(in) :: real_bytes
    logical :: fit
    integer(i64) :: scales, groups, levels

    scales = entries_of(parts%scale, real_bytes)
    groups = 1
    if (any(parts%form == [FORM_QUANTIZED, FORM_CODEBOOK])) groups = pieces(parts%k, &
      parts%group_size)
    fit = scales == 1 .or. scales == row_scales(parts)*groups
    if (parts%form == FORM_CODEBOOK) then
      levels = entries_of(parts%levels, real_bytes)
      fit = (fit .or. scales == 0) .and. levels >= 1
      if (fit) fit = mod(levels, parts%tables) == 0 .and. levels/parts%tables <= 2**parts%bits
    else if (parts%bits == 0) then
      fit = scales == 0
    end if
    fit = fit .and. (parts%zero_point%bytes == 0 .or. entries_of(parts%zero_point, 4_i64) &
      == scales) .and. (parts%minimum%bytes == 0 .or. parts%minimum%bytes == parts%scale%bytes)
    if (parts%inputs == INPUTS_STATIC) fit = fit .and. groups == 1 .and. parts%k <= MOST_INPUTS &
      .and. parts%minimum%bytes == 0 .and. parts%input_scale%bytes == real_bytes
  end function are_scales_fitting
end module fq_layer_parts
