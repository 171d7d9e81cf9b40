!> One layer of a network: the table of formats, and who multiplies by the weights of each.
module fq_layer_real32
  use fq_activation_kind, only: ACT_NONE
  use fq_blocked_csr_real32, only: multiply_blocked_csr_layer
  use fq_code_panels_real32, only: multiply_code_panels_layer
  use fq_codes_real32, only: multiply_codes_layer
  use fq_csr_real32, only: multiply_csr_layer
  use fq_epilogue_real32, only: epilogue
  use fq_half, only: half_epilogue => epilogue, multiply_half_layer
  use fq_kept_rows_real32, only: scatter_rows
  use fq_kinds, only: i8, i32, i64, sp, wp => sp
  use fq_level_panels_real32, only: multiply_level_panels_layer
  use fq_matmul_real32, only: multiply_dense_layer
  use fq_nibbles_real32, only: multiply_nibbles_layer
  use fq_nm24_int8_real32, only: multiply_nm24_int8_layer
  use fq_nm24_real32, only: multiply_nm24_layer
  use fq_precondition, only: CHECKED, require
  use fq_status, only: FQ_NOT_KNOWN
  use fq_stored_layer, only: are_inside, FORMAT_BLOCKED_CSR, FORMAT_CODE_PANELS, &
    FORMAT_CODES, FORMAT_CSR, FORMAT_DENSE, FORMAT_HALF, FORMAT_LEVEL_PANELS, FORMAT_NIBBLES, &
    FORMAT_NM24, FORMAT_NM24_INT8, FORMAT_PANELS, starts_of, stored_layer
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: apply_layer

contains

  !> `y = activation(x w**T + bias)`, where rows of w that are not stored are zeros.
  !>
  !> *Preconditions*: the arrays of the layer are in the memory as its format wants them.
  subroutine apply_layer(layer, slope, memory, m, x, y, part, threads, info)
    type(stored_layer), intent(in) :: layer                   !! not of FORMAT_STATIC
    real(wp), intent(in) :: slope                             !! parameter of the activation
    integer(i8), intent(in), target, contiguous :: memory(:)  !! arrays of the layers, on a line
    integer(i64), intent(in) :: m                             !! samples
    real(wp), intent(in) :: x(layer%k, m)                     !! inputs, `(k, m)`
    real(wp), intent(inout) :: y(layer%n, m)                  !! outputs, `(n, m)`
    real(wp), intent(inout) :: part(layer%rows, m)  !! scratch for the outputs of stored rows
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! status code
    real(wp), pointer, contiguous :: bias(:)
    integer(i64), pointer, contiguous :: kept(:)
    type(epilogue) :: after

    if (CHECKED) call require(layer%weights >= 0 .and. are_inside(starts_of(layer), size(memory, &
      kind=i64)), 'apply_layer: the arrays of the layer are in the memory')
    after = epilogue(layer%bias >= 0, int(layer%activation, i32), slope)
    call c_f_pointer(c_loc(memory(max(layer%bias, 0_i64) + 1)), bias, [layer%n])
    if (layer%kept < 0) then
      call multiply_layer(layer, memory, x, bias, after, y, threads, info)
    else
      call c_f_pointer(c_loc(memory(layer%kept + 1)), kept, [layer%rows])
      call multiply_layer(layer, memory, x, bias, epilogue(.false., ACT_NONE, slope), part, &
        threads, info)
      call scatter_rows(kept, part, bias, after, y, threads)
    end if
  end subroutine apply_layer

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
