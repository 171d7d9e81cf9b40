!> Products with the Jacobian of a network: tangents of inputs pushed forward, cotangents of outputs
!> pulled back.
!>
!> Python: `pyfq/networks/derivatives.py`.  Reference: `pyfq/reference/networks/derivatives.py`.
module fq_derivatives_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_derivative_real32, only: differentiate
  use fq_activation_kind, only: ACT_NONE, ACT_SOFTMAX
  use fq_activation_real32, only: activate_row
  use fq_align, only: aligned_start
  use fq_ends_real32, only: normalize, scale_by_end
  use fq_gemm_real32, only: LINE
  use fq_kinds, only: i32, i64, wp => sp
  use fq_layer_real32, only: apply_layer
  use fq_model_real32, only: model
  use fq_precondition, only: CHECKED, require
  use fq_sample_share, only: share_samples
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_KNOWN, FQ_OK
  use fq_stored_layer, only: stored_layer, takes_codes
  implicit none (type, external)
  private
  public :: multiply_jacobian, smooth_status

  !> Where the arrays of samples that pass together start in their scratch.
  type :: scratch_map
    integer(i64) :: from, to  !! what enters and what leaves a layer
    integer(i64) :: part      !! scratch of a layer
    integer(i64) :: factors   !! derivatives of activations, all layers of a sample together
    integer(i64) :: entries   !! of all
  end type scratch_map

contains

  !> FQ_OK if a model can be differentiated: inputs of its layers do not become codes.
  pure function smooth_status(network) result(info)
    type(model), intent(in) :: network      !! the model
    integer(i32) :: info

    info = merge(FQ_NOT_KNOWN, FQ_OK, any(takes_codes(network%layers)))
  end function smooth_status

  !> `J v`, or `J**T v` if there are transposed layers, J the derivative of the outputs at x.
  !>
  !> Threads share the samples; where those are few, the outputs of each layer.
  !>
  !> *Preconditions*: `smooth_status` finds nothing wrong with the layers, nor with the transposed;
  !> there are products.
  subroutine multiply_jacobian(network, transposed, x, v, product, threads, info)
    type(model), intent(in) :: network     !! the layers
    type(model), intent(in) :: transposed  !! with transposed weights, last layer first, or none
    real(wp), intent(in), contiguous :: x(:, :)            !! inputs, `(k, samples)`
    real(wp), intent(in), contiguous :: v(:, :, :)         !! factors, `(., directions, samples)`
    real(wp), intent(inout), contiguous :: product(:, :, :)  !! products, `(., directions, samples)`
    integer(i32), intent(in) :: threads                    !! threads to use, at least 1
    integer(i32), intent(out) :: info                      !! status code
    real(wp), allocatable :: scratch(:, :)
    type(scratch_map) :: at
    integer(i64) :: share, first, last
    integer(i32) :: team, inner, state
    integer :: t, stat

    if (CHECKED) then
      call require(size(v, kind=i64) > 0, 'multiply_jacobian: there are products')
      call require(smooth_status(network) == FQ_OK, &
        'multiply_jacobian: layers can be differentiated')
      if (associated(transposed%layers)) call require(smooth_status(transposed) == FQ_OK, &
        'multiply_jacobian: transposed layers take no codes')
    end if
    info = FQ_OK
    call share_samples(size(x, 2, kind=i64), size(v, 2, kind=i64), network%layers, threads, team, &
      inner, share)
    at = map_scratch(network%layers, size(v, 2, kind=i64), share)
    allocate (scratch(at%entries, team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    if (team == 1) then  ! A team within another, even of one thread, would start threads anew.
      do first = 1, size(x, 2, kind=i64), share
        last = min(first + share - 1, size(x, 2, kind=i64))
        call multiply_samples(network, transposed, x(:, first:last), v(:, :, first:last), at, &
          product(:, :, first:last), scratch(:, 1), inner, state)
        info = max(info, state)
      end do
      return
    end if
    !$omp parallel do default(none) private(last, t, state) num_threads(team) schedule(dynamic) &
    !$omp   reduction(max: info) shared(network, transposed, x, v, product, share, scratch, at, &
    !$omp   inner)
    do first = 1, size(x, 2, kind=i64), share
      t = 1
      !$ t = omp_get_thread_num() + 1
      last = min(first + share - 1, size(x, 2, kind=i64))
      call multiply_samples(network, transposed, x(:, first:last), v(:, :, first:last), at, &
        product(:, :, first:last), scratch(:, t), inner, state)
      info = max(info, state)
    end do
  end subroutine multiply_jacobian

  !> Where arrays start in the scratch of so many samples.
  pure function map_scratch(layers, directions, samples) result(at)
    type(stored_layer), intent(in), contiguous :: layers(:)
    integer(i64), intent(in) :: directions, samples
    type(scratch_map) :: at
    integer(i64) :: part

    part = max(maxval(layers%k), maxval(layers%n))*directions*samples
    part = (part + LINE - 1)/LINE*LINE
    at%from = 0
    at%to = part
    at%part = 2*part
    at%factors = 3*part
    at%entries = 3*part + sum(layers%n)*samples + LINE
  end function map_scratch

  !> The products of samples that pass together.
  subroutine multiply_samples(network, transposed, x, v, given, product, scratch, threads, info)
    type(model), intent(in) :: network, transposed
    real(wp), intent(in), contiguous :: x(:, :), v(:, :, :)
    type(scratch_map), intent(in) :: given
    real(wp), intent(inout), contiguous :: product(:, :, :), scratch(:)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    type(scratch_map) :: at
    integer(i64) :: start

    start = aligned_start(scratch, storage_size(scratch))
    at = scratch_map(given%from + start, given%to + start, given%part + start, &
      given%factors + start, given%entries)
    call find_factors(network, x, at, scratch, threads, info)
    if (info /= FQ_OK) return
    if (associated(transposed%layers)) then
      call pull_back(network, transposed, v, at, product, scratch, threads, info)
    else
      call push_forward(network, v, at, product, scratch, threads, info)
    end if
  end subroutine multiply_samples

  !> Derivatives of all activations where the samples are; of softmax its values.
  subroutine find_factors(network, x, at, scratch, threads, info)
    type(model), intent(in) :: network
    real(wp), intent(in), contiguous :: x(:, :)
    type(scratch_map), intent(in) :: at
    real(wp), intent(inout), contiguous :: scratch(:)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    integer(i64) :: l, m, n, i, found, entries

    m = size(x, 2, kind=i64)
    entries = size(x, kind=i64)
    call normalize(x, network%memory, network%ends, scratch(at%from:))
    found = at%factors
    do l = 1, size(network%layers, kind=i64)
      n = network%layers(l)%n
      entries = n*m
      call apply_layer(without_activation(network%layers(l)), network%memory, m, &
        scratch(at%from:), scratch(at%to:), scratch(at%part:), threads, info)
      if (info /= FQ_OK) return
      scratch(at%from:at%from + entries - 1) = scratch(at%to:at%to + entries - 1)
      if (network%layers(l)%activation == ACT_SOFTMAX) then
        do i = 0, entries - 1, n
          call activate_row(ACT_SOFTMAX, 0.0_wp, scratch(at%from + i:at%from + i + n - 1))
        end do
        scratch(found:found + entries - 1) = scratch(at%from:at%from + entries - 1)
      else
        associate (activation => int(network%layers(l)%activation, i32), &
          slope => real(network%layers(l)%slope, wp))
          call activate_row(activation, slope, scratch(at%from:at%from + entries - 1))
          scratch(found:found + entries - 1) = 1
          call differentiate(activation, slope, entries, scratch(at%to:), scratch(at%from:), &
            scratch(found:))
        end associate
      end if
      found = found + entries
    end do
  end subroutine find_factors

  !> Tangents of inputs become those of outputs.
  subroutine push_forward(network, v, given, product, scratch, threads, info)
    type(model), intent(in) :: network
    real(wp), intent(in), contiguous :: v(:, :, :)
    type(scratch_map), intent(in) :: given
    real(wp), intent(inout), contiguous :: product(:, :, :), scratch(:)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    type(scratch_map) :: at
    integer(i64) :: l, n, rows, samples, found

    at = given
    samples = size(v, 3, kind=i64)
    rows = size(v, 2, kind=i64)*samples
    call scale_by_end(network%memory, network%ends%input_scale, .true., size(v, 1, kind=i64), &
      rows, v, scratch(at%from:))
    found = at%factors
    do l = 1, size(network%layers, kind=i64)
      n = network%layers(l)%n
      call apply_layer(without_bias(network%layers(l)), network%memory, rows, &
        scratch(at%from:), scratch(at%to:), scratch(at%part:), threads, info)
      if (info /= FQ_OK) return
      call multiply_factors(network%layers(l)%activation == ACT_SOFTMAX, n, &
        size(v, 2, kind=i64), samples, scratch(found:), scratch(at%to:))
      found = found + n*samples
      at = scratch_map(at%to, at%from, at%part, at%factors, at%entries)
    end do
    call scale_by_end(network%memory, network%ends%output_scale, .false., n, rows, &
      scratch(at%from:), product)
  end subroutine push_forward

  !> Cotangents of outputs become those of inputs.
  subroutine pull_back(network, transposed, v, given, product, scratch, threads, info)
    type(model), intent(in) :: network, transposed
    real(wp), intent(in), contiguous :: v(:, :, :)
    type(scratch_map), intent(in) :: given
    real(wp), intent(inout), contiguous :: product(:, :, :), scratch(:)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    type(scratch_map) :: at
    integer(i64) :: l, n, rows, samples, found, count

    at = given
    samples = size(v, 3, kind=i64)
    rows = size(v, 2, kind=i64)*samples
    call scale_by_end(network%memory, network%ends%output_scale, .false., size(v, 1, kind=i64), &
      rows, v, scratch(at%from:))
    count = size(network%layers, kind=i64)
    found = at%factors + sum(network%layers%n)*samples
    do l = count, 1, -1
      n = network%layers(l)%n
      found = found - n*samples
      call multiply_factors(network%layers(l)%activation == ACT_SOFTMAX, n, &
        size(v, 2, kind=i64), samples, scratch(found:), scratch(at%from:))
      call apply_layer(without_bias(transposed%layers(count - l + 1)), transposed%memory, &
        rows, scratch(at%from:), scratch(at%to:), scratch(at%part:), threads, info)
      if (info /= FQ_OK) return
      at = scratch_map(at%to, at%from, at%part, at%factors, at%entries)
    end do
    call scale_by_end(network%memory, network%ends%input_scale, .true., &
      size(product, 1, kind=i64), rows, scratch(at%from:), product)
  end subroutine pull_back

  !> A layer whose activation function is left out.
  pure function without_activation(layer) result(plain)
    type(stored_layer), intent(in) :: layer
    type(stored_layer) :: plain

    plain = layer
    plain%activation = ACT_NONE
  end function without_activation

  !> A layer whose bias is left out, too.
  pure function without_bias(layer) result(plain)
    type(stored_layer), intent(in) :: layer
    type(stored_layer) :: plain

    plain = without_activation(layer)
    plain%bias = -1
  end function without_bias

  !> Rows times the derivative of an activation function at their sample: a diagonal matrix, or
  !> `diag(y) - y y**T` with the values y of softmax.  Either is its own transpose.
  pure subroutine multiply_factors(is_softmax, n, directions, samples, factors, rows)
    logical, intent(in) :: is_softmax
    integer(i64), intent(in) :: n, directions, samples
    real(wp), intent(in) :: factors(n, samples)
    real(wp), intent(inout) :: rows(n, directions, samples)
    integer(i64) :: i, d

    do i = 1, samples
      do d = 1, directions
        if (is_softmax) rows(:, d, i) = rows(:, d, i) - sum(factors(:, i)*rows(:, d, i))
        rows(:, d, i) = factors(:, i)*rows(:, d, i)
      end do
    end do
  end subroutine multiply_factors
end module fq_derivatives_real32
