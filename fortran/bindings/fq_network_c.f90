!> C boundary of `fq_network`; `docs/boundary.md` says what all bindings have in common.
module fq_network_c_real32
  use fq_arguments, only: is_given, status_of
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_model_real32, only: find_model, model
  use fq_network_real32, only: count_outside, forward_network
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_count_outside, fq_forward_network

contains

  !> Outputs of a network: see `forward_network`.
  subroutine fq_forward_network(samples, k, n, bytes, x, memory, y, threads, info) &
    bind(c, name='fq_forward_network_f32')
    integer(i64), intent(in), value :: samples          !! rows of x and of y
    integer(i64), intent(in), value :: k, n             !! inputs and outputs
    integer(i64), intent(in), value :: bytes            !! length of the block
    real(wp), intent(in), optional :: x(k, samples)     !! inputs, `(samples, k)`
    integer(i8), intent(in), optional, target :: memory(bytes)  !! from `fq_build_model`
    real(wp), intent(inout), optional :: y(n, samples)  !! outputs, `(samples, n)`
    integer(i32), intent(in), value :: threads          !! threads to use, at least 1
    integer(i32), intent(out) :: info  !! status code, FQ_NO_MEMORY and FQ_NOT_FINITE among them
    type(model) :: network

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, samples])) return
    if (.not. is_given(present(memory), [bytes])) return
    if (.not. is_given(present(y), [n, samples])) return
    info = status_of([samples, k, n, bytes], bytes >= 1, threads >= 1)
    if (info /= FQ_OK) return
    call find_model(memory, network, info)
    if (info /= FQ_OK) return
    info = status_of([samples], network%k == k .and. network%n == n, .true.)
    if (info /= FQ_OK .or. samples == 0) return
    call forward_network(network, x, y, threads, info)
  end subroutine fq_forward_network

  !> Inputs of each sample beyond their bounds: see `count_outside`.
  subroutine fq_count_outside(samples, k, x, least, largest, counts, threads, info) &
    bind(c, name='fq_count_outside_f32')
    integer(i64), intent(in), value :: samples, k      !! extents of x
    real(wp), intent(in), optional :: x(k, samples)    !! inputs, `(samples, k)`
    real(wp), intent(in), optional :: least(k)         !! the least of each input, `(k)`
    real(wp), intent(in), optional :: largest(k)       !! the largest of each input, `(k)`
    integer(i64), intent(out), optional :: counts(samples)  !! of each sample, `(samples)`
    integer(i32), intent(in), value :: threads         !! threads to use, at least 1
    integer(i32), intent(out) :: info                  !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, samples])) return
    if (.not. is_given(present(least), [k])) return
    if (.not. is_given(present(largest), [k])) return
    if (.not. is_given(present(counts), [samples])) return
    info = status_of([samples, k], .true., threads >= 1)
    if (info /= FQ_OK .or. samples == 0) return
    call count_outside(samples, k, x, least, largest, counts, threads)
  end subroutine fq_count_outside
end module fq_network_c_real32
