!> C boundary of `linear`, which the table of formats (`fq_layer`) makes, and of models in memory.
!>
!> `docs/boundary.md` says what all bindings have in common.
!>
!> Python: `pyfq/products/linear.py`.  Reference: `pyfq/reference/products/linear.py`.
module fq_linear_c_real32
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: is_given, status_of
  use fq_chain, only: planned_ends
  use fq_codes_real32, only: code_rows
  use fq_epilogue_real32, only: epilogue
  use fq_extents, only: pieces
  use fq_gemm_int8, only: CODE_STEPS
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_layer_parts, only: layer_parts
  use fq_layer_real32, only: multiply_stored_rows
  use fq_model_real32, only: build_model, end_parts, find_model, find_only_layer, model, &
    model_batches, plan_model
  use fq_quantized_rows_real32, only: multiply_quantized
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_GIVEN, FQ_OK
  use fq_stored_layer, only: stored_layer
  implicit none (type, external)
  private
  public :: fq_build_model, fq_model_bytes, fq_model_formats, fq_multiply_codes, fq_multiply_layer

contains

  !> `y = activation(x w**T + bias)`, x quantized to 8 bits per row, w in rows of signed codes: see
  !> `code_rows` and `multiply_quantized`.
  subroutine fq_multiply_codes(m, n, k, ldw, groups, bias_cols, group_size, stride, x, w, scale, &
    zero_point, minimum, has_bias, bias, activation, slope, y, threads, info) bind(c, &
    name='fq_multiply_codes_f32')
    integer(i64), intent(in), value :: m, n, k          !! rows of x; outputs; inputs
    integer(i64), intent(in), value :: ldw              !! bytes of a row of w
    integer(i64), intent(in), value :: groups           !! `ceiling(k/group_size)`
    integer(i64), intent(in), value :: bias_cols        !! entries of bias: n, if there is one
    integer(i64), intent(in), value :: group_size       !! entries of a group, at least 1
    !> Codes from group to group, at least those of a group; of several groups a multiple of
    !> CODE_STEPS.
    integer(i64), intent(in), value :: stride
    real(wp), intent(in), optional :: x(k, m)           !! activations, `(m, k)`
    integer(i8), intent(in), optional, target :: w(ldw, n)       !! codes, `(n, ldw)`
    real(wp), intent(in), optional, target :: scale(groups, n)   !! steps of codes, `(n, groups)`
    integer(i32), intent(in), optional, target :: zero_point(groups, n)  !! codes of 0, as scale
    real(wp), intent(in), optional, target :: minimum(groups, n)  !! their values, as scale
    integer(i32), intent(in), value :: has_bias         !! 0: bias is not looked at
    real(wp), intent(in), optional, target :: bias(bias_cols)   !! added to each row of y, `(n)`
    integer(i32), intent(in), value :: activation       !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope                !! parameter of the activation
    real(wp), intent(out), optional :: y(n, m)          !! results, `(m, n)`
    integer(i32), intent(in), value :: threads          !! threads to use, at least 1
    integer(i32), intent(out) :: info  !! status code, FQ_NO_MEMORY and FQ_NOT_FINITE among them
    type(code_rows) :: weights
    real(wp), target :: none(1)  ! in place of a bias that is not looked at
    real(wp), pointer, contiguous :: added(:)

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, m])) return
    if (.not. is_given(present(scale), [groups, n])) return
    if (.not. is_given(present(minimum), [groups, n])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(w), [ldw, n])) return
    if (.not. is_given(present(zero_point), [groups, n])) return
    if (.not. is_given(present(y), [n, m])) return
    info = status_of([m, n, k, ldw, groups, bias_cols, group_size, stride], &
      (k == 0 .or. (groups == pieces(k, group_size) .and. stride >= min(group_size, k) .and. ldw &
        >= groups*stride .and. (groups == 1 .or. mod(stride, CODE_STEPS) == 0))) .and. (has_bias &
        == 0 .or. bias_cols == n), &
      is_activation(activation) .and. threads >= 1)
    if (info /= FQ_OK .or. min(m, n) == 0) return
    weights%group_size = group_size
    weights%group_stride = stride
    weights%codes => w
    weights%scale => scale
    weights%zero_point => zero_point
    weights%minimum => minimum
    added => none
    if (present(bias)) added => bias
    call multiply_quantized(weights, x, added, epilogue(has_bias /= 0, activation, slope), y, &
      threads, info)
  end subroutine fq_multiply_codes

  !> How long the block of a model is, and for how many samples it is the best: see `plan_model` and
  !> `model_batches`.
  subroutine fq_model_bytes(count, layers, ends, batch, bytes, least, most, info) &
    bind(c, name='fq_model_bytes_f32')
    integer(i64), intent(in), value :: count                     !! layers, at least 1
    type(layer_parts), intent(in), optional :: layers(count)     !! in order, `(count)`
    type(end_parts), intent(in), optional :: ends                !! what inputs and outputs pass
    integer(i64), intent(in), value :: batch   !! samples that come together, at least 1
    integer(i64), intent(out), optional :: bytes        !! of the block
    integer(i64), intent(out), optional :: least, most  !! samples that may come together as well
    integer(i32), intent(out) :: info          !! status code
    type(stored_layer), allocatable :: planned(:)
    type(planned_ends) :: places
    integer :: stat

    info = FQ_NOT_GIVEN
    if (.not. (present(bytes) .and. present(least) .and. present(most))) return
    bytes = 0
    least = 0
    most = 0
    if (.not. (is_given(present(layers), [count]) .and. present(ends))) return
    info = status_of([count, batch], count >= 1 .and. batch >= 1, .true.)
    if (info /= FQ_OK) return
    allocate (planned(count), stat=stat)
    info = FQ_NO_MEMORY
    if (stat /= 0) return
    call plan_model(layers, ends, batch, planned, places, bytes, info)
    if (info == FQ_OK) call model_batches(layers, batch, least, most)
  end subroutine fq_model_bytes

  !> In which format each layer of a block is: one of FORMAT_... of `fq_stored_layer`.
  subroutine fq_model_formats(bytes, count, memory, formats, info) &
    bind(c, name='fq_model_formats_f32')
    integer(i64), intent(in), value :: bytes              !! length of the block
    integer(i64), intent(in), value :: count              !! layers
    integer(i8), intent(in), optional, target :: memory(bytes)    !! from `fq_build_model`
    integer(i64), intent(out), optional :: formats(count) !! of each layer, `(count)`
    integer(i32), intent(out) :: info                     !! status code
    type(model) :: network

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(memory), [bytes])) return
    if (.not. is_given(present(formats), [count])) return
    info = status_of([bytes, count], bytes >= 1 .and. count >= 1, .true.)
    if (info == FQ_OK) call find_model(memory, network, info)
    if (info /= FQ_OK) return
    info = status_of([count], count == size(network%layers, kind=i64), .true.)
    if (info == FQ_OK) formats = network%layers%format
  end subroutine fq_model_formats

  !> Fill the block of a model, which starts a line of cache: see `build_model`.
  subroutine fq_build_model(count, bytes, layers, ends, batch, memory, threads, info) &
    bind(c, name='fq_build_model_f32')
    integer(i64), intent(in), value :: count                     !! layers, at least 1
    integer(i64), intent(in), value :: bytes                     !! as `fq_model_bytes` says
    type(layer_parts), intent(in), optional :: layers(count)     !! in order, `(count)`
    type(end_parts), intent(in), optional :: ends                !! what inputs and outputs pass
    integer(i64), intent(in), value :: batch   !! samples that come together, at least 1
    integer(i8), intent(inout), optional :: memory(bytes)        !! the block, `(bytes)`
    integer(i32), intent(in), value :: threads                   !! threads to use, at least 1
    integer(i32), intent(out) :: info                            !! status code

    info = FQ_NOT_GIVEN
    if (.not. (is_given(present(layers), [count]) .and. present(ends))) return
    if (.not. is_given(present(memory), [bytes])) return
    info = status_of([count, bytes, batch], count >= 1 .and. bytes >= 1 .and. batch >= 1, &
      threads >= 1)
    if (info /= FQ_OK) return
    call build_model(layers, ends, batch, memory, threads, info)
  end subroutine fq_build_model

  !> `y = activation(x w**T + bias)` with a layer in memory, in any format but that of inputs of a
  !> fixed scale: see `multiply_stored_rows`.
  subroutine fq_multiply_layer(m, n, k, bytes, bias_cols, x, memory, has_bias, bias, activation, &
    slope, y, threads, info) bind(c, name='fq_multiply_layer_f32')
    integer(i64), intent(in), value :: m, n, k         !! rows of x; outputs; inputs
    integer(i64), intent(in), value :: bytes           !! length of the block
    integer(i64), intent(in), value :: bias_cols       !! entries of bias: n, if there is one
    real(wp), intent(in), optional :: x(k, m)          !! inputs, `(m, k)`
    integer(i8), intent(in), optional, target :: memory(bytes)  !! of `fq_build_model`, one layer
    integer(i32), intent(in), value :: has_bias        !! 0: bias is not looked at
    real(wp), intent(in), optional, target :: bias(bias_cols)  !! added to each row of y, `(n)`
    integer(i32), intent(in), value :: activation      !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope               !! parameter of the activation
    real(wp), intent(out), optional :: y(n, m)         !! results, `(m, n)`
    integer(i32), intent(in), value :: threads         !! threads to use, at least 1
    integer(i32), intent(out) :: info  !! status code, FQ_NO_MEMORY and FQ_NOT_FINITE among them
    type(model) :: network
    real(wp), allocatable :: part(:, :)
    integer :: stat
    real(wp), target :: none(1)  ! in place of a bias that is not looked at
    real(wp), pointer, contiguous :: added(:)

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, m])) return
    if (.not. is_given(present(memory), [bytes])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(y), [n, m])) return
    info = status_of([m, n, k, bytes, bias_cols], bytes >= 1 .and. (has_bias == 0 &
      .or. bias_cols == n), is_activation(activation) .and. threads >= 1)
    if (info == FQ_OK) call find_only_layer(memory, k, n, network, info)
    if (info /= FQ_OK .or. m == 0) return
    associate (layer => network%layers(1))
      allocate (part(merge(layer%rows, 0_i64, layer%kept >= 0), m), stat=stat)
      info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
      if (info /= FQ_OK) return
      added => none
      if (present(bias)) added => bias
      call multiply_stored_rows(layer, network%memory, x, added, epilogue(has_bias /= 0, &
        activation, slope), y, part, threads, info)
    end associate
  end subroutine fq_multiply_layer
end module fq_linear_c_real32
