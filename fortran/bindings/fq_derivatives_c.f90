!> C boundary of `fq_derivatives`; `docs/boundary.md` says what all bindings have in common.
module fq_derivatives_c_real32
  use fq_arguments, only: is_given, status_of
  use fq_derivatives_real32, only: multiply_jacobian, smooth_status
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_model_real32, only: find_model, model
  use fq_status, only: FQ_NOT_FITTING, FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_jvp_network, fq_vjp_network

contains

  !> Tangents of outputs, the Jacobian at x times those of inputs: see `multiply_jacobian`.
  subroutine fq_jvp_network(samples, directions, k, n, bytes, x, v, memory, product, threads, &
    info) bind(c, name='fq_jvp_network_f32')
    integer(i64), intent(in), value :: samples           !! rows of x
    integer(i64), intent(in), value :: directions        !! tangents of a sample
    integer(i64), intent(in), value :: k, n              !! inputs and outputs
    integer(i64), intent(in), value :: bytes             !! length of the block
    real(wp), intent(in), optional :: x(k, samples)      !! inputs, `(samples, k)`
    !> Tangents of inputs, `(samples, directions, k)`.
    real(wp), intent(in), optional :: v(k, directions, samples)
    integer(i8), intent(in), optional, target :: memory(bytes)   !! from `fq_build_model`
    !> Tangents of outputs, `(samples, directions, n)`.
    real(wp), intent(inout), optional :: product(n, directions, samples)
    integer(i32), intent(in), value :: threads           !! threads to use, at least 1
    integer(i32), intent(out) :: info                    !! status code, FQ_NO_MEMORY among them
    type(model) :: network, none

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, samples])) return
    if (.not. is_given(present(v), [k, directions, samples])) return
    if (.not. is_given(present(memory), [bytes])) return
    if (.not. is_given(present(product), [n, directions, samples])) return
    info = status_of([samples, directions, k, n, bytes], bytes >= 1, threads >= 1)
    if (info == FQ_OK) call find_smooth_model(k, n, memory, network, info)
    if (info /= FQ_OK .or. samples == 0 .or. directions == 0) return
    call multiply_jacobian(network, none, x, v, product, threads, info)
  end subroutine fq_jvp_network

  !> Cotangents of inputs, the transposed Jacobian at x times those of outputs: see
  !> `multiply_jacobian`.
  subroutine fq_vjp_network(samples, directions, k, n, bytes, transposed_bytes, x, v, memory, &
    transposed_memory, product, threads, info) bind(c, name='fq_vjp_network_f32')
    integer(i64), intent(in), value :: samples           !! rows of x
    integer(i64), intent(in), value :: directions        !! cotangents of a sample
    integer(i64), intent(in), value :: k, n              !! inputs and outputs
    integer(i64), intent(in), value :: bytes             !! length of the block
    integer(i64), intent(in), value :: transposed_bytes  !! length of the other block
    real(wp), intent(in), optional :: x(k, samples)      !! inputs, `(samples, k)`
    !> Cotangents of outputs, `(samples, directions, n)`.
    real(wp), intent(in), optional :: v(n, directions, samples)
    integer(i8), intent(in), optional, target :: memory(bytes)   !! from `fq_build_model`
    !> The same of transposed weights, the last layer first.
    integer(i8), intent(in), optional, target :: transposed_memory(transposed_bytes)
    !> Cotangents of inputs, `(samples, directions, k)`.
    real(wp), intent(inout), optional :: product(k, directions, samples)
    integer(i32), intent(in), value :: threads           !! threads to use, at least 1
    integer(i32), intent(out) :: info                    !! status code, FQ_NO_MEMORY among them
    type(model) :: network, transposed
    integer :: count

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, samples])) return
    if (.not. is_given(present(v), [n, directions, samples])) return
    if (.not. is_given(present(memory), [bytes])) return
    if (.not. is_given(present(transposed_memory), [transposed_bytes])) return
    if (.not. is_given(present(product), [k, directions, samples])) return
    info = status_of([samples, directions, k, n, bytes, transposed_bytes], bytes >= 1 &
      .and. transposed_bytes >= 1, threads >= 1)
    if (info == FQ_OK) call find_smooth_model(k, n, memory, network, info)
    if (info == FQ_OK) call find_smooth_model(n, k, transposed_memory, transposed, info)
    if (info /= FQ_OK) return
    count = size(network%layers)
    info = FQ_NOT_FITTING
    if (size(transposed%layers) /= count) return
    if (any(transposed%layers%k /= network%layers(count:1:-1)%n)) return
    info = FQ_OK
    if (samples == 0 .or. directions == 0) return
    call multiply_jacobian(network, transposed, x, v, product, threads, info)
  end subroutine fq_vjp_network

  !> The model of a block, if it can be differentiated and has so many inputs and outputs.
  subroutine find_smooth_model(k, n, memory, network, info)
    integer(i64), intent(in) :: k, n                           !! inputs and outputs
    integer(i8), intent(in), target, contiguous :: memory(:)   !! the block
    type(model), intent(out) :: network                        !! what lies where
    integer(i32), intent(out) :: info                          !! status code

    call find_model(memory, network, info)
    if (info /= FQ_OK) return
    info = smooth_status(network)
    if (network%k /= k .or. network%n /= n) info = FQ_NOT_FITTING
  end subroutine find_smooth_model
end module fq_derivatives_c_real32
