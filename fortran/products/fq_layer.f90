!> One layer of a network: the table of formats, and who multiplies by the weights of each.
module fq_layer_real32
  use fq_activation_kind, only: ACT_NONE
  use fq_epilogue_real32, only: epilogue
  use fq_code_panels_real32, only: multiply_code_panels_layer
  use fq_half, only: half_epilogue => epilogue, multiply_half_layer
  use fq_kinds, only: i8, i16, i32, i64, sp, wp => sp
  use fq_level_panels_real32, only: multiply_level_panels_layer
  use fq_linear_real32, only: linear_codes, linear_nibbles, quantize_int8
  use fq_matmul_real32, only: multiply_dense_layer
  use fq_nibbles_real32, only: PANEL_ROWS
  use fq_sparse_real32, only: sparse_codes, sparse_pairs, sparse_row, sparse_scatter, sparse_stream
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_KNOWN, FQ_OK
  use fq_stored_layer, only: FORMAT_BLOCKED_CSR, FORMAT_CODE_PANELS, FORMAT_CODES, FORMAT_CSR, &
    FORMAT_DENSE, FORMAT_HALF, FORMAT_LEVEL_PANELS, FORMAT_NIBBLES, FORMAT_NM24, FORMAT_NM24_INT8, &
    FORMAT_PANELS, stored_layer
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
    real(wp), intent(in) :: slope                             !! of ACT_LEAKY_RELU
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

    after = epilogue(layer%bias >= 0, int(layer%activation, i32), slope)
    call c_f_pointer(c_loc(memory(max(layer%bias, 0_i64) + 1)), bias, [layer%n])
    if (layer%kept < 0) then
      call multiply_layer(layer, memory, x, bias, after, y, threads, info)
    else
      call c_f_pointer(c_loc(memory(layer%kept + 1)), kept, [layer%rows])
      call multiply_layer(layer, memory, x, bias, epilogue(.false., ACT_NONE, slope), part, &
        threads, info)
      call sparse_scatter(kept, part, after%has_bias, bias, after%activation, slope, y, threads)
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

  !> Codes of weights, each group with its scale; inputs become codes, too.
  subroutine multiply_codes_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    real(wp), intent(in), contiguous :: x(:, :), bias(:)
    type(epilogue), intent(in) :: after
    real(wp), intent(inout), contiguous :: y(:, :)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    integer(i8), pointer, contiguous :: codes(:, :)
    real(wp), pointer, contiguous :: scale(:, :), minimum(:, :)
    integer(i32), pointer, contiguous :: zero_point(:, :)

    call c_f_pointer(c_loc(memory(layer%weights + 1)), codes, [layer%row_steps, layer%rows])
    call c_f_pointer(c_loc(memory(layer%scale + 1)), scale, [layer%groups, layer%rows])
    call c_f_pointer(c_loc(memory(layer%zero_point + 1)), zero_point, [layer%groups, layer%rows])
    call c_f_pointer(c_loc(memory(layer%minimum + 1)), minimum, [layer%groups, layer%rows])
    call linear_codes(x, layer%group_size, layer%group_stride, codes, scale, zero_point, minimum, &
      after%has_bias, bias, after%activation, after%slope, y, threads, info)
  end subroutine multiply_codes_layer

  !> Panels of 4-bit codes; inputs become codes, too.
  subroutine multiply_nibbles_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    real(wp), intent(in), contiguous :: x(:, :), bias(:)
    type(epilogue), intent(in) :: after
    real(wp), intent(inout), contiguous :: y(:, :)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    integer(i16), pointer, contiguous :: words(:, :, :)
    real(wp), pointer, contiguous :: scale(:, :, :), minimum(:, :, :)
    integer(i8), pointer, contiguous :: zero_point(:, :, :)
    integer(i64) :: width, panels

    width = PANEL_ROWS
    panels = (layer%rows + width - 1)/width
    call c_f_pointer(c_loc(memory(layer%weights + 1)), words, [width/4, layer%k, panels])
    call c_f_pointer(c_loc(memory(layer%scale + 1)), scale, [width, layer%groups, panels])
    call c_f_pointer(c_loc(memory(layer%zero_point + 1)), zero_point, [width, layer%groups, panels])
    call c_f_pointer(c_loc(memory(merge(layer%minimum, layer%scale, layer%minimum >= 0) + 1)), &
      minimum, [width, layer%groups, panels])
    call linear_nibbles(layer%rows, x, layer%group_size, words, scale, zero_point, &
      layer%minimum >= 0, minimum, after%has_bias, bias, after%activation, after%slope, y, &
      threads, info)
  end subroutine multiply_nibbles_layer

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

  !> Nonzero weights and their columns, by rows.
  subroutine multiply_csr_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    real(wp), intent(in), target, contiguous :: x(:, :)
    real(wp), intent(in), contiguous :: bias(:)
    type(epilogue), intent(in) :: after
    real(wp), intent(inout), contiguous :: y(:, :)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    real(wp), allocatable, target :: coded(:, :)
    real(wp), allocatable :: step(:)
    real(wp), pointer, contiguous :: inputs(:, :), values(:), scale(:)
    integer(i64), pointer, contiguous :: starts(:)
    integer(i32), pointer, contiguous :: indices(:)

    call code_inputs(layer, x, coded, step, threads, info)
    if (info /= FQ_OK) return
    inputs => x
    if (layer%coded_inputs /= 0) inputs => coded
    call c_f_pointer(c_loc(memory(layer%starts + 1)), starts, [layer%rows + 1])
    call c_f_pointer(c_loc(memory(layer%weights + 1)), values, [starts(layer%rows + 1)])
    call c_f_pointer(c_loc(memory(layer%indices + 1)), indices, [starts(layer%rows + 1)])
    call c_f_pointer(c_loc(memory(max(layer%scale, 0_i64) + 1)), scale, [layer%rows])
    call sparse_row(inputs, starts, indices, values, layer%coded_inputs /= 0, scale, step, &
      after%has_bias, bias, after%activation, after%slope, y, threads)
  end subroutine multiply_csr_layer

  !> The same, by blocks of columns that rows share.
  subroutine multiply_blocked_csr_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    real(wp), intent(in), target, contiguous :: x(:, :)
    real(wp), intent(in), contiguous :: bias(:)
    type(epilogue), intent(in) :: after
    real(wp), intent(inout), contiguous :: y(:, :)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    real(wp), allocatable, target :: coded(:, :)
    real(wp), allocatable :: step(:)
    real(wp), pointer, contiguous :: inputs(:, :), values(:), scale(:)
    integer(i64), pointer, contiguous :: starts(:)
    integer(i16), pointer, contiguous :: cols(:)
    integer(i64) :: runs

    call code_inputs(layer, x, coded, step, threads, info)
    if (info /= FQ_OK) return
    inputs => x
    if (layer%coded_inputs /= 0) inputs => coded
    runs = layer%rows*((layer%k + layer%block_cols - 1)/layer%block_cols)
    call c_f_pointer(c_loc(memory(layer%starts + 1)), starts, [runs + 1])
    call c_f_pointer(c_loc(memory(layer%weights + 1)), values, [starts(runs + 1)])
    call c_f_pointer(c_loc(memory(layer%indices + 1)), cols, [starts(runs + 1)])
    call c_f_pointer(c_loc(memory(max(layer%scale, 0_i64) + 1)), scale, [layer%rows])
    call sparse_stream(inputs, layer%block_cols, starts, cols, values, layer%coded_inputs /= 0, &
      scale, step, after%has_bias, bias, after%activation, after%slope, y, threads, info)
  end subroutine multiply_blocked_csr_layer

  !> Inputs as 8-bit codes, held as reals, and their steps; nothing if the layer wants them as they
  !> are.
  subroutine code_inputs(layer, x, coded, step, threads, info)
    type(stored_layer), intent(in) :: layer
    real(wp), intent(in), contiguous :: x(:, :)
    real(wp), intent(out), allocatable :: coded(:, :), step(:)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    integer(i8), allocatable :: codes(:, :)
    real(wp), allocatable :: steps(:, :)
    integer(i64) :: samples
    integer :: stat

    samples = merge(size(x, 2, kind=i64), 0_i64, layer%coded_inputs /= 0)
    allocate (coded(size(x, 1, kind=i64), samples), stat=stat)
    if (stat == 0) allocate (step(size(x, 2, kind=i64)), stat=stat)
    if (stat == 0) allocate (steps(1, samples), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK .or. samples == 0) return
    call quantize_int8(x, codes, steps, threads, info)
    if (info /= FQ_OK) return
    coded(:, :) = codes
    step(:) = steps(1, :)
  end subroutine code_inputs

  !> Two weights of each four, and their positions.
  subroutine multiply_nm24_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    real(wp), intent(in), contiguous :: x(:, :), bias(:)
    type(epilogue), intent(in) :: after
    real(wp), intent(inout), contiguous :: y(:, :)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    real(wp), pointer, contiguous :: values(:, :)
    integer(i32), pointer, contiguous :: positions(:, :)

    call c_f_pointer(c_loc(memory(layer%weights + 1)), values, [32*layer%groups, layer%panels])
    call c_f_pointer(c_loc(memory(layer%positions + 1)), positions, [2*layer%groups, layer%panels])
    call sparse_pairs(x, layer%groups, values, positions, after%has_bias, bias, after%activation, &
      after%slope, y, threads, info)
  end subroutine multiply_nm24_layer

  !> The same with codes of weights; inputs become codes, too.
  subroutine multiply_nm24_int8_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    real(wp), intent(in), contiguous :: x(:, :), bias(:)
    type(epilogue), intent(in) :: after
    real(wp), intent(inout), contiguous :: y(:, :)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    integer(i8), pointer, contiguous :: codes(:, :)
    integer(i32), pointer, contiguous :: sums(:)
    real(wp), pointer, contiguous :: scale(:)

    call c_f_pointer(c_loc(memory(layer%weights + 1)), codes, [5*layer%run_bytes, layer%rows])
    call c_f_pointer(c_loc(memory(layer%code_sums + 1)), sums, [layer%rows])
    call c_f_pointer(c_loc(memory(layer%scale + 1)), scale, [layer%rows])
    call sparse_codes(x, layer%run_bytes, codes, sums, scale, after%has_bias, bias, &
      after%activation, after%slope, y, threads, info)
  end subroutine multiply_nm24_int8_layer
end module fq_layer_real32
