!> In which format weights are multiplied: by their form, by their shape, and by how many samples
!> come together.
module fq_format_choice_real32
  use fq_blocked_csr_real32, only: block_cols_of, FEW_LANES
  use fq_code_panels_real32, only: takes_code_panels
  use fq_gemm_int8, only: MAX_STEPS
  use fq_half, only: takes_half
  use fq_kinds, only: i64, sp, wp => sp
  use fq_layer_parts, only: FORM_ARRAY, FORM_CODEBOOK, FORM_HALF, FORM_NM, FORM_QUANTIZED, &
    FORM_ROWS, INPUTS_CODED, INPUTS_STATIC, is_there, layer_parts
  use fq_matmul_real32, only: FEW_DOTS
  use fq_nm24_int8_real32, only: takes_nm24_int8
  use fq_nonzeros_real32, only: count_nonzeros
  use fq_stored_layer, only: FORMAT_BLOCKED_CSR, FORMAT_CODE_PANELS, FORMAT_CODES, FORMAT_CSR, &
    FORMAT_DENSE, FORMAT_HALF, FORMAT_LEVEL_PANELS, FORMAT_NIBBLES, FORMAT_NM24, &
    FORMAT_NM24_INT8, FORMAT_PANELS, FORMAT_STATIC
  implicit none (type, external)
  private
  public :: find_batches, format_of

  ! Samples up to which codes of 4 bits, one scale a row, are multiplied faster by lanes than as
  ! bytes.
  integer(i64), parameter :: MOST_LANE_ROWS = 2
  ! Samples up to which tiles add in lanes, and read rows of weights as they are.
  integer(i64), parameter :: FEW_DENSE = 3
  ! Samples up to which 2:4 weights are spread in registers; for more they are blocked rows.
  integer(i64), parameter :: FEW_SPREAD = 24
  ! Products of two codes that float32 adds exactly: 1040 * 127 * 127 <= 2**24.
  integer(i64), parameter :: EXACT_COUNT = 1040

  ! Numbers of samples up to which any choice is one, in order.
  integer(i64), parameter :: LIMITS(6) = [1_i64, MOST_LANE_ROWS, FEW_DENSE, FEW_LANES, FEW_SPREAD, &
    huge(0_i64)]

contains

  !> For how many samples a layer is stored in the same way.
  subroutine find_batches(parts, batch, least, most)
    type(layer_parts), intent(in) :: parts       !! what it is made of; `parts_status` is FQ_OK
    integer(i64), intent(in) :: batch            !! samples that come together
    integer(i64), intent(out) :: least, most     !! and how many more and fewer may come
    integer :: first, last

    first = findloc(LIMITS >= batch, .true., 1)
    last = first
    do while (first > 1)
      if (.not. is_same(parts, LIMITS(first - 1), batch)) exit
      first = first - 1
    end do
    do while (last < size(LIMITS))
      if (.not. is_same(parts, LIMITS(last + 1), batch)) exit
      last = last + 1
    end do
    least = 1
    if (first > 1) least = LIMITS(first - 1) + 1
    most = LIMITS(last)
  end subroutine find_batches

  !> Whether a layer is stored in the same way for two numbers of samples.
  function is_same(parts, one, other) result(same)
    type(layer_parts), intent(in) :: parts
    integer(i64), intent(in) :: one, other
    logical :: same
    integer(i64) :: format, total, most

    format = format_of(parts, one)
    same = format == format_of(parts, other)
    if (.not. same .or. format /= FORMAT_BLOCKED_CSR) return
    call count_nonzeros(parts, total, most)
    same = block_cols_of(parts, total, one) == block_cols_of(parts, total, other)
  end function is_same

  !> The format of a layer.
  function format_of(parts, batch) result(format)
    type(layer_parts), intent(in) :: parts   !! what it is made of; `parts_status` is FQ_OK
    integer(i64), intent(in) :: batch        !! samples that come together
    integer(i64) :: format

    select case (parts%form)
    case (FORM_ARRAY, FORM_HALF, FORM_CODEBOOK)
      format = format_of_reals(parts)
    case (FORM_QUANTIZED)
      if (parts%inputs == INPUTS_STATIC) then
        format = FORMAT_STATIC
      else if (parts%inputs == INPUTS_CODED) then
        format = format_of_codes(parts, batch)
      else
        format = format_of_reals(parts)
      end if
    case default
      format = format_of_sparse(parts, batch)
    end select
  end function format_of

  !> The format of weights that are multiplied as the reals that they stand for.
  function format_of_reals(parts) result(format)
    type(layer_parts), intent(in) :: parts
    integer(i64) :: format

    format = FORMAT_PANELS
    if (parts%n <= FEW_DOTS) then
      format = FORMAT_DENSE
    else if (parts%form == FORM_HALF) then
      if (takes_half(parts)) format = FORMAT_HALF
    else if (parts%form == FORM_CODEBOOK) then
      if (parts%bits <= 4 .and. parts%tables == 1) format = FORMAT_LEVEL_PANELS
    else if (parts%form == FORM_QUANTIZED) then
      if (takes_code_panels(parts)) format = FORMAT_CODE_PANELS
    end if
  end function format_of_reals

  !> The format of codes that meet codes of inputs.
  pure function format_of_codes(parts, batch) result(format)
    type(layer_parts), intent(in) :: parts
    integer(i64), intent(in) :: batch
    integer(i64) :: format

    format = FORMAT_CODES
    if (parts%bits <= 4 .and. parts%k <= MAX_STEPS .and. (parts%group_size < parts%k &
      .or. batch <= MOST_LANE_ROWS)) format = FORMAT_NIBBLES
  end function format_of_codes

  !> The format of weights whose zeros are left out.
  function format_of_sparse(parts, batch) result(format)
    type(layer_parts), intent(in) :: parts
    integer(i64), intent(in) :: batch
    integer(i64) :: format, total, most
    logical :: is_coded, is_nm24

    is_coded = parts%inputs == INPUTS_CODED
    if (parts%form == FORM_ROWS .and. is_there(parts%rows)) then
      format = merge(FORMAT_DENSE, FORMAT_PANELS, batch <= FEW_DENSE)
      if (is_coded) format = FORMAT_CODES
      return
    end if
    is_nm24 = parts%form == FORM_NM .and. parts%nm_n == 2 .and. parts%nm_m == 4
    if (is_nm24 .and. is_coded .and. takes_nm24_int8(parts%k)) then
      format = FORMAT_NM24_INT8
      return
    else if (is_nm24 .and. .not. is_coded .and. batch <= FEW_SPREAD) then
      format = FORMAT_NM24
      return
    end if
    format = merge(FORMAT_CSR, FORMAT_BLOCKED_CSR, batch == 1)
    if (.not. is_coded .or. wp /= sp) return
    call count_nonzeros(parts, total, most)
    if (most > EXACT_COUNT) format = FORMAT_CODES
  end function format_of_sparse
end module fq_format_choice_real32
