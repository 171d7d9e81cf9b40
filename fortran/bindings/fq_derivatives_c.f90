!> C boundary of `fq_derivatives`; `docs/boundary.md` says what all bindings have in common.
module fq_derivatives_c_real32
  use fq_arguments, only: is_given, status_of
  use fq_derivatives_real32, only: chain, chain_status, multiply_jacobian
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_plan, only: planned_ends
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  use fq_stored_layer, only: stored_layer
  implicit none (type, external)
  private
  public :: fq_jvp_network, fq_vjp_network

contains

  !> Tangents of outputs, the Jacobian at x times those of inputs: see `multiply_jacobian`.
  subroutine fq_jvp_network(samples, directions, k, n, count, bytes, x, v, layers, slopes, memory, &
    ends, product, threads, info) bind(c, name='fq_jvp_network_f32')
    integer(i64), intent(in), value :: samples           !! rows of x
    integer(i64), intent(in), value :: directions        !! tangents of a sample
    integer(i64), intent(in), value :: k, n              !! inputs and outputs
    integer(i64), intent(in), value :: count             !! layers, at least 1
    integer(i64), intent(in), value :: bytes             !! length of the memory
    real(wp), intent(in), optional :: x(k, samples)      !! inputs, `(samples, k)`
    !> Tangents of inputs, `(samples, directions, k)`.
    real(wp), intent(in), optional :: v(k, directions, samples)
    type(stored_layer), intent(in), optional, target :: layers(count)   !! in order, `(count)`
    real(wp), intent(in), optional, target :: slopes(count)  !! of activations, `(count)`
    integer(i8), intent(in), optional, target :: memory(bytes)  !! arrays of layers, on a line
    type(planned_ends), intent(in), optional :: ends     !! what inputs and outputs pass
    !> Tangents of outputs, `(samples, directions, n)`.
    real(wp), intent(inout), optional :: product(n, directions, samples)
    integer(i32), intent(in), value :: threads           !! threads to use, at least 1
    integer(i32), intent(out) :: info                    !! status code, FQ_NO_MEMORY among them
    type(chain) :: network, none

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, samples])) return
    if (.not. is_given(present(v), [k, directions, samples])) return
    if (.not. is_given(present(slopes), [count])) return
    if (.not. is_given(present(layers), [count])) return
    if (.not. is_given(present(memory), [bytes])) return
    if (.not. is_given(present(product), [n, directions, samples])) return
    if (.not. present(ends)) return
    info = status_of([samples, directions, k, n, count, bytes], count >= 1 .and. bytes >= 1, &
      threads >= 1)
    if (info /= FQ_OK) return
    network = chain(layers, slopes, memory, ends)
    info = chain_status(k, n, network)
    if (info /= FQ_OK .or. samples == 0 .or. directions == 0) return
    call multiply_jacobian(network, none, x, v, product, threads, info)
  end subroutine fq_jvp_network

  !> Cotangents of inputs, the transposed Jacobian at x times those of outputs: see
  !> `multiply_jacobian`.
  subroutine fq_vjp_network(samples, directions, k, n, count, bytes, transposed_bytes, x, v, &
    layers, slopes, memory, ends, transposed_layers, transposed_memory, product, threads, info) &
    bind(c, name='fq_vjp_network_f32')
    integer(i64), intent(in), value :: samples           !! rows of x
    integer(i64), intent(in), value :: directions        !! cotangents of a sample
    integer(i64), intent(in), value :: k, n              !! inputs and outputs
    integer(i64), intent(in), value :: count             !! layers, at least 1
    integer(i64), intent(in), value :: bytes             !! length of the memory
    integer(i64), intent(in), value :: transposed_bytes  !! length of transposed_memory
    real(wp), intent(in), optional :: x(k, samples)      !! inputs, `(samples, k)`
    !> Cotangents of outputs, `(samples, directions, n)`.
    real(wp), intent(in), optional :: v(n, directions, samples)
    type(stored_layer), intent(in), optional, target :: layers(count)   !! in order, `(count)`
    real(wp), intent(in), optional, target :: slopes(count)  !! of activations, `(count)`
    integer(i8), intent(in), optional, target :: memory(bytes)  !! arrays of layers, on a line
    type(planned_ends), intent(in), optional :: ends     !! what inputs and outputs pass
    !> With transposed weights, the last layer first, `(count)`.
    type(stored_layer), intent(in), optional, target :: transposed_layers(count)
    !> Arrays of the transposed layers, on a line.
    integer(i8), intent(in), optional, target :: transposed_memory(transposed_bytes)
    !> Cotangents of inputs, `(samples, directions, k)`.
    real(wp), intent(inout), optional :: product(k, directions, samples)
    integer(i32), intent(in), value :: threads           !! threads to use, at least 1
    integer(i32), intent(out) :: info                    !! status code, FQ_NO_MEMORY among them
    type(chain) :: network, transposed

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, samples])) return
    if (.not. is_given(present(v), [n, directions, samples])) return
    if (.not. is_given(present(slopes), [count])) return
    if (.not. is_given(present(layers), [count])) return
    if (.not. is_given(present(memory), [bytes])) return
    if (.not. is_given(present(transposed_layers), [count])) return
    if (.not. is_given(present(transposed_memory), [transposed_bytes])) return
    if (.not. is_given(present(product), [k, directions, samples])) return
    if (.not. present(ends)) return
    info = status_of([samples, directions, k, n, count, bytes, transposed_bytes], &
      count >= 1 .and. bytes >= 1 .and. transposed_bytes >= 1, threads >= 1)
    if (info /= FQ_OK) return
    network = chain(layers, slopes, memory, ends)
    transposed = chain(transposed_layers, slopes, transposed_memory)
    info = chain_status(k, n, network)
    if (info == FQ_OK) info = chain_status(n, k, transposed)
    if (info == FQ_OK) info = status_of([count], all(transposed_layers%k == layers(count:1:-1)%n), &
      .true.)
    if (info /= FQ_OK .or. samples == 0 .or. directions == 0) return
    call multiply_jacobian(network, transposed, x, v, product, threads, info)
  end subroutine fq_vjp_network
end module fq_derivatives_c_real32
