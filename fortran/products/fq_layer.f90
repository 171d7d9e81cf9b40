!> One layer of a network: the table of formats, who finds places for the arrays of each, who packs
!> them, and who multiplies by them.
module fq_layer_real32
  use fq_activation_kind, only: ACT_NONE
  use fq_blocked_csr_real32, only: multiply_blocked_csr_layer, pack_blocked_csr_layer, &
    plan_blocked_csr_layer
  use fq_code_panels_real32, only: multiply_code_panels_layer, pack_code_panels_layer, &
    plan_code_panels_layer
  use fq_codes_real32, only: multiply_codes_layer, pack_codes_layer, plan_codes_layer
  use fq_csr_real32, only: multiply_csr_layer, pack_csr_layer, plan_csr_layer
  use fq_dense_real32, only: pack_dense_layer, plan_dense_layer
  use fq_epilogue_real32, only: epilogue
  use fq_format_choice_real32, only: format_of
  use fq_half, only: half_epilogue => epilogue, multiply_half_layer, pack_half_layer, &
    plan_half_layer
  use fq_kept_rows_real32, only: scatter_rows
  use fq_kinds, only: i8, i32, i64, sp, wp => sp
  use fq_layer_parts, only: FORM_ROWS, is_there, layer_parts, parts_status, span
  use fq_level_panels_real32, only: multiply_level_panels_layer, pack_level_panels_layer, &
    plan_level_panels_layer
  use fq_matmul_real32, only: multiply_dense_layer
  use fq_nibbles_real32, only: multiply_nibbles_layer, pack_nibbles_layer, plan_nibbles_layer
  use fq_nm24_int8_real32, only: multiply_nm24_int8_layer, pack_nm24_int8_layer, &
    plan_nm24_int8_layer
  use fq_nm24_real32, only: multiply_nm24_layer, pack_nm24_layer, plan_nm24_layer
  use fq_nonzeros_real32, only: places_status
  use fq_precondition, only: CHECKED, require
  use fq_static_real32, only: pack_static_layer, plan_static_layer
  use fq_status, only: FQ_NOT_KNOWN, FQ_OK
  use fq_stored_layer, only: are_inside, FORMAT_BLOCKED_CSR, FORMAT_CODE_PANELS, &
    FORMAT_CODES, FORMAT_CSR, FORMAT_DENSE, FORMAT_HALF, FORMAT_LEVEL_PANELS, FORMAT_NIBBLES, &
    FORMAT_NM24, FORMAT_NM24_INT8, FORMAT_PANELS, FORMAT_STATIC, place, starts_of, stored_for, &
    stored_layer
  use fq_weight_parts_real32, only: REAL_BYTES
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: apply_layer, copy_array, multiply_stored_rows, pack_layer, plan_layer

contains

  !> Find a place for each array of a layer.
  subroutine plan_layer(parts, batch, layer, used, info)
    type(layer_parts), intent(in) :: parts     !! what it is made of
    integer(i64), intent(in) :: batch          !! samples that come together, at least 1
    type(stored_layer), intent(out) :: layer   !! the layer
    integer(i64), intent(inout) :: used        !! bytes of the memory, a multiple of 64
    integer(i32), intent(out) :: info          !! what is wrong with the parts, FQ_OK if nothing is

    info = parts_status(parts, REAL_BYTES)
    if (info == FQ_OK) info = places_status(parts)
    if (info /= FQ_OK) return
    layer = stored_for(parts, format_of(parts, batch))
    if (is_there(parts%bias)) call place(parts%bias%bytes, used, layer%bias)
    if (parts%form == FORM_ROWS .and. is_there(parts%rows)) call place(parts%rows%bytes, used, &
      layer%kept)
    select case (layer%format)
    case (FORMAT_DENSE, FORMAT_PANELS)
      call plan_dense_layer(layer, used)
    case (FORMAT_CODES)
      call plan_codes_layer(parts, layer, used)
    case (FORMAT_NIBBLES)
      call plan_nibbles_layer(parts, layer, used)
    case (FORMAT_CODE_PANELS)
      call plan_code_panels_layer(parts, layer, used)
    case (FORMAT_CSR)
      call plan_csr_layer(parts, layer, used)
    case (FORMAT_BLOCKED_CSR)
      call plan_blocked_csr_layer(parts, batch, layer, used)
    case (FORMAT_NM24)
      call plan_nm24_layer(layer, used)
    case (FORMAT_NM24_INT8)
      call plan_nm24_int8_layer(layer, used)
    case (FORMAT_STATIC)
      call plan_static_layer(parts, layer, used)
    case (FORMAT_HALF)
      call plan_half_layer(parts, layer, used)
    case (FORMAT_LEVEL_PANELS)
      call plan_level_panels_layer(parts, layer, used)
    case default
      info = FQ_NOT_KNOWN
    end select
  end subroutine plan_layer

  !> Fill the arrays of a layer.
  subroutine pack_layer(parts, layer, memory, threads, info)
    type(layer_parts), intent(in) :: parts                       !! what it is made of
    type(stored_layer), intent(in) :: layer                      !! as `plan_layer` found it
    integer(i8), intent(inout), target, contiguous :: memory(:)  !! the memory, on a line
    integer(i32), intent(in) :: threads                          !! threads to use, at least 1
    integer(i32), intent(out) :: info                            !! FQ_OK or FQ_NO_MEMORY

    info = FQ_OK
    call copy_array(parts%bias, layer%bias, memory)
    call copy_array(parts%rows, layer%kept, memory)
    select case (layer%format)
    case (FORMAT_DENSE, FORMAT_PANELS)
      call pack_dense_layer(parts, layer, memory, threads, info)
    case (FORMAT_CODES)
      call pack_codes_layer(parts, layer, memory, threads, info)
    case (FORMAT_NIBBLES)
      call pack_nibbles_layer(parts, layer, memory, threads, info)
    case (FORMAT_CODE_PANELS)
      call pack_code_panels_layer(parts, layer, memory, threads, info)
    case (FORMAT_CSR)
      call pack_csr_layer(parts, layer, memory, info)
    case (FORMAT_BLOCKED_CSR)
      call pack_blocked_csr_layer(parts, layer, memory, info)
    case (FORMAT_NM24)
      call pack_nm24_layer(parts, layer, memory)
    case (FORMAT_NM24_INT8)
      call pack_nm24_int8_layer(parts, layer, memory)
    case (FORMAT_STATIC)
      call pack_static_layer(parts, layer, memory, threads, info)
    case (FORMAT_HALF)
      call pack_half_layer(parts, layer, memory, threads)
    case (FORMAT_LEVEL_PANELS)
      call pack_level_panels_layer(parts, layer, memory, threads, info)
    case default
      info = FQ_NOT_KNOWN
    end select
  end subroutine pack_layer

  !> Copy an array of the caller to its place, if there are both.
  subroutine copy_array(array, start, memory)
    type(span), intent(in) :: array                       !! the array
    integer(i64), intent(in) :: start   !! where it starts in the memory, -1 if it has no place
    integer(i8), intent(inout), contiguous :: memory(:)   !! the memory
    integer(i8), pointer, contiguous :: bytes(:)

    if (start < 0 .or. .not. is_there(array)) return
    call c_f_pointer(array%start, bytes, [array%bytes])
    memory(start + 1:start + array%bytes) = bytes
  end subroutine copy_array

  !> `y = activation(x w**T + bias)`, where rows of w that are not stored are zeros.
  subroutine apply_layer(layer, memory, m, x, y, part, threads, info)
    type(stored_layer), intent(in) :: layer                   !! not of FORMAT_STATIC
    integer(i8), intent(in), target, contiguous :: memory(:)  !! arrays of the layers, on a line
    integer(i64), intent(in) :: m                             !! samples
    real(wp), intent(in) :: x(layer%k, m)                     !! inputs, `(k, m)`
    real(wp), intent(inout) :: y(layer%n, m)                  !! outputs, `(n, m)`
    real(wp), intent(inout) :: part(layer%rows, m)  !! scratch for the outputs of stored rows
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! status code
    real(wp), pointer, contiguous :: bias(:)

    call c_f_pointer(c_loc(memory(max(layer%bias, 0_i64) + 1)), bias, [layer%n])
    call multiply_stored_rows(layer, memory, x, bias, epilogue(layer%bias >= 0, &
      int(layer%activation, i32), real(layer%slope, wp)), y, part, threads, info)
  end subroutine apply_layer

  !> The same with a bias and an activation of the caller.
  !>
  !> *Preconditions*: the arrays of the layer are in the memory as its format wants them.
  subroutine multiply_stored_rows(layer, memory, x, bias, after, y, part, threads, info)
    type(stored_layer), intent(in) :: layer                   !! not of FORMAT_STATIC
    integer(i8), intent(in), target, contiguous :: memory(:)  !! arrays of the layers, on a line
    real(wp), intent(in), contiguous :: x(:, :)               !! inputs, `(k, m)`
    real(wp), intent(in), contiguous :: bias(:)               !! added to each row, `(n)`
    type(epilogue), intent(in) :: after                       !! what is done to each sum
    real(wp), intent(inout), contiguous :: y(:, :)            !! outputs, `(n, m)`
    real(wp), intent(inout), contiguous :: part(:, :)  !! scratch for the outputs of stored rows
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! status code
    integer(i64), pointer, contiguous :: kept(:)

    if (CHECKED) call require(layer%weights >= 0 .and. are_inside(starts_of(layer), size(memory, &
      kind=i64)), 'multiply_stored_rows: the arrays of the layer are in the memory')
    if (layer%kept < 0) then
      call multiply_layer(layer, memory, x, bias, after, y, threads, info)
    else
      call c_f_pointer(c_loc(memory(layer%kept + 1)), kept, [layer%rows])
      call multiply_layer(layer, memory, x, bias, epilogue(.false., ACT_NONE, after%slope), part, &
        threads, info)
      call scatter_rows(kept, part, bias, after, y, threads)
    end if
  end subroutine multiply_stored_rows

  !> The same for the rows that are stored: the one table of formats.
  subroutine multiply_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    real(wp), intent(in), contiguous :: x(:, :), bias(:)
    type(epilogue), intent(in) :: after
    real(wp), intent(inout), contiguous :: y(:, :)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info

    select case (layer%format)
    case (FORMAT_DENSE, FORMAT_PANELS)
      call multiply_dense_layer(layer, memory, x, bias, after, y, threads, info)
    case (FORMAT_CODES)
      call multiply_codes_layer(layer, memory, x, bias, after, y, threads, info)
    case (FORMAT_NIBBLES)
      call multiply_nibbles_layer(layer, memory, x, bias, after, y, threads, info)
    case (FORMAT_CODE_PANELS)
      call multiply_code_panels_layer(layer, memory, x, bias, after, y, threads, info)
    case (FORMAT_CSR)
      call multiply_csr_layer(layer, memory, x, bias, after, y, threads, info)
    case (FORMAT_BLOCKED_CSR)
      call multiply_blocked_csr_layer(layer, memory, x, bias, after, y, threads, info)
    case (FORMAT_NM24)
      call multiply_nm24_layer(layer, memory, x, bias, after, y, threads, info)
    case (FORMAT_NM24_INT8)
      call multiply_nm24_int8_layer(layer, memory, x, bias, after, y, threads, info)
    case (FORMAT_HALF)
      info = FQ_NOT_KNOWN  ! of float64, which has no weights of 2 bytes
      if (wp == sp) call multiply_float32_layer(layer, memory, x, bias, after, y, threads, info)
    case (FORMAT_LEVEL_PANELS)
      call multiply_level_panels_layer(layer, memory, x, bias, after, y, threads, info)
    case default
      info = FQ_NOT_KNOWN
    end select
  end subroutine multiply_layer

  !> Panels of weights of 2 bytes.  Where this is called real(sp) is real(wp).
  subroutine multiply_float32_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    real(wp), intent(in), target, contiguous :: x(:, :)
    real(wp), intent(in), target, contiguous :: bias(:)
    type(epilogue), intent(in) :: after
    real(wp), intent(inout), target, contiguous :: y(:, :)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    real(sp), pointer, contiguous :: inputs(:, :), outputs(:, :), biases(:)

    call c_f_pointer(c_loc(bias), biases, shape(bias))
    call c_f_pointer(c_loc(x), inputs, shape(x))
    call c_f_pointer(c_loc(y), outputs, shape(y))
    call multiply_half_layer(layer, memory, inputs, biases, half_epilogue(after%has_bias, &
      after%activation, real(after%slope, sp)), outputs, threads, info)
  end subroutine multiply_float32_layer
end module fq_layer_real32
