!> Samples on their way through layers whose inputs are codes of a fixed scale.
!>
!> Exact, as are these layers: all that becomes of a sample is what the reference computes.
module fq_forward_static_real32
  use fq_activation_kind, only: ACT_SOFTMAX
  use fq_activation_real32, only: activate_row
  use fq_align, only: aligned_start
  use fq_chain, only: planned_ends
  use fq_ends_real32, only: denormalize
  use fq_gemm_int8, only: CODE_KIND, CODE_ROWS, CODE_STEPS, padded_steps
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_precondition, only: CHECKED, require
  use fq_static_real32, only: multiply_static_layer, quantize_inputs
  use fq_status, only: FQ_OK
  use fq_stored_layer, only: FORMAT_STATIC, stored_layer
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: CODE_KIND, pass_static_samples, static_scratch

contains

  !> Codes of scratch that so many samples want.
  pure function static_scratch(layers, samples) result(codes)
    type(stored_layer), intent(in), contiguous :: layers(:)    !! the layers, in order
    integer(i64), intent(in) :: samples                        !! a multiple of CODE_ROWS
    integer(i64) :: codes

    codes = 2*widest_row(layers)*samples + CODE_STEPS
  end function static_scratch

  !> The most codes of a row that enters a layer.
  pure function widest_row(layers) result(codes)
    type(stored_layer), intent(in), contiguous :: layers(:)
    integer(i64) :: codes, l

    codes = 0
    do l = 1, size(layers, kind=i64)
      codes = max(codes, padded_steps(layers(l)%k))
    end do
  end function widest_row

  !> Some samples through all layers, from one part of the scratch to the other.
  !>
  !> *Preconditions*: all layers are FORMAT_STATIC; only the last is softmax; there is scratch for
  !> the samples, rounded up to a multiple of CODE_ROWS.
  subroutine pass_static_samples(x, layers, memory, ends, y, scratch, threads, info)
    real(wp), intent(in), contiguous :: x(:, :)                !! inputs, `(k, m)`
    type(stored_layer), intent(in), contiguous :: layers(:)    !! the layers, in order
    integer(i8), intent(in), target, contiguous :: memory(:)   !! arrays of the layers, on a line
    type(planned_ends), intent(in) :: ends                     !! what inputs and outputs pass
    real(wp), intent(inout), contiguous :: y(:, :)             !! outputs, `(n, m)`
    integer(CODE_KIND), intent(inout), contiguous :: scratch(:)  !! see `static_scratch`
    integer(i32), intent(in) :: threads                        !! threads to use, at least 1
    integer(i32), intent(out) :: info                          !! status code
    real(wp), pointer, contiguous :: mean(:), scale(:)
    integer(i64) :: start, part, m, l, from, to, i, count

    if (CHECKED) then
      call require(all(layers%format == FORMAT_STATIC), &
        'pass_static_samples: all layers are FORMAT_STATIC')
      call require(all(layers(:size(layers) - 1)%activation /= ACT_SOFTMAX), &
        'pass_static_samples: only the last layer is softmax')
      call require(size(scratch, kind=i64) >= static_scratch(layers, (size(x, 2, kind=i64) &
        + CODE_ROWS - 1)/CODE_ROWS*CODE_ROWS), 'pass_static_samples: scratch for whole tiles')
    end if
    m = size(x, 2, kind=i64)
    part = (size(scratch, kind=i64) - CODE_STEPS)/2
    start = aligned_start(scratch, storage_size(scratch))
    from = start
    to = start + part
    call c_f_pointer(c_loc(memory(max(ends%input_mean, 0_i64) + 1)), mean, [size(x, 1)])
    call c_f_pointer(c_loc(memory(max(ends%input_scale, 0_i64) + 1)), scale, [size(x, 1)])
    call quantize_inputs(layers(1), memory, ends%input_mean >= 0, mean, scale, m, x, &
      scratch(from:), info)
    if (info /= FQ_OK) return
    count = size(layers, kind=i64)
    do l = 1, count - 1
      call multiply_static_layer(layers(l), memory, m, scratch(from:), layers(l + 1), &
        scratch(to:), .false., y, threads)
      from = to
      to = merge(start, start + part, to > start)
    end do
    call multiply_static_layer(layers(count), memory, m, scratch(from:), &
      layers(count), scratch(to:), .true., y, threads)
    if (layers(count)%activation == ACT_SOFTMAX) then
      do i = 1, m
        call activate_row(ACT_SOFTMAX, 0.0_wp, y(:, i))
      end do
    end if
    if (ends%output_mean >= 0) call denormalize(memory, ends, y)
  end subroutine pass_static_samples
end module fq_forward_static_real32
