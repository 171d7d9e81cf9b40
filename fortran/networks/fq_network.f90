!> A network's forward pass in one call.
!>
!> Python: `pyfq/network.py`.  Reference: `pyfq/reference/network.py`.
module fq_network_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_NONE
  use fq_align, only: aligned_start
  use fq_blocked_csr_real32, only: multiply_blocked_csr_layer
  use fq_codes_real32, only: multiply_codes_layer
  use fq_csr_real32, only: multiply_csr_layer
  use fq_epilogue_real32, only: epilogue
  use fq_forward_static_real32, only: forward_codes
  use fq_gemm_real32, only: LANES, LINE
  use fq_kept_rows_real32, only: scatter_rows
  use fq_kinds, only: i8, i32, i64, sp, wp => sp
  use fq_matmul_real32, only: B_PACKED, B_TRANSPOSED, matmul_blocked, matmul_codes, &
    matmul_levels
  use fq_mixed, only: HALF_LANES, multiply_half
  use fq_nibbles_real32, only: multiply_nibbles_layer
  use fq_nm24_int8_real32, only: multiply_nm24_int8_layer
  use fq_nm24_real32, only: multiply_nm24_layer
  use fq_plan, only: plan_status, planned_ends
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FITTING, FQ_NOT_KNOWN, FQ_OK
  use fq_stored_layer, only: FORMAT_BLOCKED_CSR, FORMAT_CODE_PANELS, FORMAT_CODES, FORMAT_CSR, &
    FORMAT_DENSE, FORMAT_HALF, FORMAT_LEVEL_PANELS, FORMAT_NIBBLES, FORMAT_NM24, FORMAT_NM24_INT8, &
    FORMAT_PANELS, FORMAT_STATIC, stored_layer
  use fq_work_size, only: SMALL_PRODUCT
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: forward_network

  ! Samples that pass through all layers together: their activations stay in L2.
  integer(i64), parameter :: MOST_SAMPLES = 240
  ! Samples that are worth a thread of their own; and what their number is a multiple of, that of
  ! the rows of any tile.
  integer(i64), parameter :: FEW_SAMPLES = 8, SAMPLE_STEP = 12

contains

  !> `y = output_scale*network((x - input_mean)/input_scale) + output_mean`.
  !>
  !> Threads share the samples; where those are few, the outputs of each layer.  The outputs of a
  !> sample have the same bits in any company.
  subroutine forward_network(samples, k, x, layers, slopes, memory, ends, n, y, threads, info)
    integer(i64), intent(in) :: samples, k, n                  !! samples, inputs and outputs
    real(wp), intent(in) :: x(k, samples)                      !! inputs, `(k, samples)`
    type(stored_layer), intent(in), contiguous :: layers(:)    !! the layers, in order
    real(wp), intent(in), contiguous :: slopes(:)              !! of ACT_LEAKY_RELU, `(layers)`
    integer(i8), intent(in), target, contiguous :: memory(:)   !! arrays of the layers, on a line
    type(planned_ends), intent(in) :: ends                     !! what inputs and outputs pass
    real(wp), intent(out) :: y(n, samples)                     !! outputs, `(n, samples)`
    integer(i32), intent(in) :: threads                        !! threads to use, at least 1
    integer(i32), intent(out) :: info                          !! status code
    real(wp), allocatable :: space(:, :)
    integer(i64) :: share, width, room, first, last
    integer(i32) :: team, inner, state
    integer :: t, stat

    info = plan_status(k, n, layers, size(memory, kind=i64), ends)
    if (samples < 0 .or. size(slopes, kind=i64) /= size(layers, kind=i64)) info = FQ_NOT_FITTING
    if (threads < 1) info = FQ_NOT_KNOWN
    if (info /= FQ_OK .or. samples == 0) return
    if (layers(1)%format == FORMAT_STATIC) then
      call forward_codes(samples, k, x, layers, slopes, memory, ends, n, y, threads, info)
      return
    end if
    team = merge(threads, 1_i32, samples*sum(layers%rows*layers%k) > SMALL_PRODUCT)
    inner = 1
    ! Pairs sum in an order that depends on how many samples come together.
    if (samples < FEW_SAMPLES*team .or. any(layers%format == FORMAT_NM24)) then
      inner = team
      team = 1
    end if
    share = (samples + team - 1)/team
    share = min(MOST_SAMPLES, (share + SAMPLE_STEP - 1)/SAMPLE_STEP*SAMPLE_STEP, samples)
    width = max(k, maxval(layers%n))
    room = (width*share + LINE - 1)/LINE*LINE
    allocate (space(3*room + LINE, team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    if (team == 1) then
      do first = 1, samples, share
        last = min(first + share - 1, samples)
        call pass_samples(last - first + 1, k, x(1, first), layers, slopes, memory, ends, n, &
          y(1, first), room, space, inner, info)
      end do
      return
    end if
    !$omp parallel do default(none) private(last, t, state) num_threads(team) schedule(dynamic) &
    !$omp reduction(max: info) shared(k, x, layers, slopes, memory, ends, n, y, samples, share, &
    !$omp   room, space, inner)
    do first = 1, samples, share
      t = 1
      !$ t = omp_get_thread_num() + 1
      last = min(first + share - 1, samples)
      state = FQ_OK
      call pass_samples(last - first + 1, k, x(1, first), layers, slopes, memory, ends, n, &
        y(1, first), room, space(1, t), inner, state)
      info = max(info, state)
    end do
  end subroutine forward_network

  !> Some samples through all layers, from one part of the workspace to another.
  subroutine pass_samples(m, k, x, layers, slopes, memory, ends, n, y, room, space, threads, info)
    integer(i64), intent(in) :: m, k, n, room
    real(wp), intent(in) :: x(k, m)
    type(stored_layer), intent(in), contiguous :: layers(:)
    real(wp), intent(in), contiguous :: slopes(:)
    integer(i8), intent(in), target, contiguous :: memory(:)
    type(planned_ends), intent(in) :: ends
    real(wp), intent(inout) :: y(n, m), space(*)
    integer(i32), intent(in) :: threads
    integer(i32), intent(inout) :: info
    integer(i64) :: start, l, from, to
    logical :: is_first, is_last

    start = aligned_start(space, storage_size(space))
    from = start
    to = start + room
    if (ends%input_mean >= 0) call take_off(k, m, x, memory, ends, space(from))
    do l = 1, size(layers, kind=i64)
      is_first = l == 1 .and. ends%input_mean < 0
      is_last = l == size(layers, kind=i64)
      if (is_first .and. is_last) then
        call apply_layer(layers(l), slopes(l), memory, m, x, y, space(start + 2*room), threads, &
          info)
      else if (is_first) then
        call apply_layer(layers(l), slopes(l), memory, m, x, space(to), space(start + 2*room), &
          threads, info)
      else if (is_last) then
        call apply_layer(layers(l), slopes(l), memory, m, space(from), y, space(start + 2*room), &
          threads, info)
      else
        call apply_layer(layers(l), slopes(l), memory, m, space(from), space(to), &
          space(start + 2*room), threads, info)
      end if
      if (info /= FQ_OK) return
      to = merge(start, start + room, to > start)
      from = merge(start, start + room, to > start)
    end do
    if (ends%output_mean >= 0) call put_back(n, m, memory, ends, y)
  end subroutine pass_samples

  !> `(x - mean)/scale`.
  subroutine take_off(k, m, x, memory, ends, scaled)
    integer(i64), intent(in) :: k, m
    real(wp), intent(in) :: x(k, m)
    integer(i8), intent(in), target, contiguous :: memory(:)
    type(planned_ends), intent(in) :: ends
    real(wp), intent(inout) :: scaled(k, m)
    real(wp), pointer, contiguous :: mean(:), scale(:)
    integer(i64) :: i

    call c_f_pointer(c_loc(memory(ends%input_mean + 1)), mean, [k])
    call c_f_pointer(c_loc(memory(ends%input_scale + 1)), scale, [k])
    do i = 1, m
      scaled(:, i) = (x(:, i) - mean)/scale
    end do
  end subroutine take_off

  !> `scale*y + mean`, in place.
  subroutine put_back(n, m, memory, ends, y)
    integer(i64), intent(in) :: n, m
    integer(i8), intent(in), target, contiguous :: memory(:)
    type(planned_ends), intent(in) :: ends
    real(wp), intent(inout) :: y(n, m)
    real(wp), pointer, contiguous :: mean(:), scale(:)
    integer(i64) :: i

    call c_f_pointer(c_loc(memory(ends%output_mean + 1)), mean, [n])
    call c_f_pointer(c_loc(memory(ends%output_scale + 1)), scale, [n])
    do i = 1, m
      y(:, i) = scale*y(:, i) + mean
    end do
  end subroutine put_back

  !> `y = activation(x w**T + bias)`, where rows of w that are not stored are zeros.
  subroutine apply_layer(layer, slope, memory, m, x, y, part, threads, info)
    type(stored_layer), intent(in) :: layer
    real(wp), intent(in) :: slope
    integer(i8), intent(in), target, contiguous :: memory(:)
    integer(i64), intent(in) :: m
    real(wp), intent(in) :: x(layer%k, m)
    real(wp), intent(inout) :: y(layer%n, m), part(layer%rows, m)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    real(wp), pointer, contiguous :: bias(:)
    integer(i64), pointer, contiguous :: kept(:)
    integer(i32) :: activation

    activation = int(layer%activation, i32)
    call c_f_pointer(c_loc(memory(max(layer%bias, 0_i64) + 1)), bias, [layer%n])
    if (layer%kept < 0) then
      call multiply(layer, memory, x, layer%bias >= 0, bias, activation, slope, y, threads, info)
    else
      call c_f_pointer(c_loc(memory(layer%kept + 1)), kept, [layer%rows])
      call multiply(layer, memory, x, .false., bias, ACT_NONE, slope, part, threads, info)
      call scatter_rows(kept, part, bias, epilogue(layer%bias >= 0, activation, slope), y, threads)
    end if
  end subroutine apply_layer

  !> The same for the rows that are stored.
  subroutine multiply(layer, memory, x, has_bias, bias, activation, slope, y, threads, info)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    real(wp), intent(in), contiguous :: x(:, :), bias(:)
    logical, intent(in) :: has_bias
    integer(i32), intent(in) :: activation, threads
    real(wp), intent(in) :: slope
    real(wp), intent(inout), contiguous :: y(:, :)
    integer(i32), intent(out) :: info
    type(epilogue) :: after

    after = epilogue(has_bias, activation, slope)
    select case (layer%format)
    case (FORMAT_DENSE, FORMAT_PANELS)
      call multiply_reals(layer, memory, x, has_bias, bias, activation, slope, y, threads, info)
    case (FORMAT_CODES)
      call multiply_codes_layer(layer, memory, x, bias, after, y, threads, info)
    case (FORMAT_NIBBLES)
      call multiply_nibbles_layer(layer, memory, x, bias, after, y, threads, info)
    case (FORMAT_CODE_PANELS)
      call multiply_panels(layer, memory, x, has_bias, bias, activation, slope, y, threads, info)
    case (FORMAT_HALF)
      call multiply_words(layer, memory, x, has_bias, activation, slope, y, threads, info)
    case (FORMAT_LEVEL_PANELS)
      call multiply_levels(layer, memory, x, has_bias, bias, activation, slope, y, threads, info)
    case (FORMAT_CSR)
      call multiply_csr_layer(layer, memory, x, bias, after, y, threads, info)
    case (FORMAT_BLOCKED_CSR)
      call multiply_blocked_csr_layer(layer, memory, x, bias, after, y, threads, info)
    case (FORMAT_NM24)
      call multiply_nm24_layer(layer, memory, x, bias, after, y, threads, info)
    case (FORMAT_NM24_INT8)
      call multiply_nm24_int8_layer(layer, memory, x, bias, after, y, threads, info)
    case default
      info = FQ_NOT_KNOWN
    end select
  end subroutine multiply

  subroutine multiply_reals(layer, memory, x, has_bias, bias, activation, slope, y, threads, info)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    real(wp), intent(in), contiguous :: x(:, :), bias(:)
    logical, intent(in) :: has_bias
    integer(i32), intent(in) :: activation, threads
    real(wp), intent(in) :: slope
    real(wp), intent(inout), contiguous :: y(:, :)
    integer(i32), intent(out) :: info
    real(wp), pointer, contiguous :: w(:, :)
    logical :: is_packed

    is_packed = layer%format == FORMAT_PANELS
    call c_f_pointer(c_loc(memory(layer%weights + 1)), w, [merge(int(LANES, i64), layer%k, &
      is_packed), layer%vectors])
    call matmul_blocked(size(x, 2, kind=i64), layer%rows, layer%k, layer%k, x, .false., &
      size(w, 1, kind=i64), w, merge(B_PACKED, B_TRANSPOSED, is_packed), has_bias, bias, &
      activation, slope, y, threads, info)
  end subroutine multiply_reals

  subroutine multiply_panels(layer, memory, x, has_bias, bias, activation, slope, y, threads, info)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    real(wp), intent(in), contiguous :: x(:, :), bias(:)
    logical, intent(in) :: has_bias
    integer(i32), intent(in) :: activation, threads
    real(wp), intent(in) :: slope
    real(wp), intent(inout), contiguous :: y(:, :)
    integer(i32), intent(out) :: info
    integer(i8), pointer, contiguous :: codes(:, :, :), zero_point(:, :, :)
    real(wp), pointer, contiguous :: scale(:, :, :), minimum(:, :, :)
    integer(i64) :: width, panels

    width = LANES
    panels = (layer%rows + width - 1)/width
    call c_f_pointer(c_loc(memory(layer%weights + 1)), codes, [width, layer%row_steps, panels])
    call c_f_pointer(c_loc(memory(layer%scale + 1)), scale, [width, layer%groups, panels])
    call c_f_pointer(c_loc(memory(layer%zero_point + 1)), zero_point, [width, layer%groups, panels])
    call c_f_pointer(c_loc(memory(merge(layer%minimum, layer%scale, layer%minimum >= 0) + 1)), &
      minimum, [width, layer%groups, panels])
    call matmul_codes(layer%rows, x, layer%group_size, layer%two_per_byte /= 0, codes, scale, &
      zero_point, layer%minimum >= 0, minimum, has_bias, bias, activation, slope, y, threads, info)
  end subroutine multiply_panels

  subroutine multiply_levels(layer, memory, x, has_bias, bias, activation, slope, y, threads, info)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    real(wp), intent(in), contiguous :: x(:, :), bias(:)
    logical, intent(in) :: has_bias
    integer(i32), intent(in) :: activation, threads
    real(wp), intent(in) :: slope
    real(wp), intent(inout), contiguous :: y(:, :)
    integer(i32), intent(out) :: info
    integer(i8), pointer, contiguous :: codes(:, :, :)
    real(wp), pointer, contiguous :: pairs(:, :), scale(:, :, :)
    integer(i64) :: width, panels

    width = LANES
    panels = (layer%rows + width - 1)/width
    call c_f_pointer(c_loc(memory(layer%weights + 1)), codes, [width/2, layer%k, panels])
    call c_f_pointer(c_loc(memory(layer%levels + 1)), pairs, [2, 256])
    call c_f_pointer(c_loc(memory(layer%scale + 1)), scale, [width, layer%groups, panels])
    call matmul_levels(layer%rows, x, layer%group_size, codes, pairs, scale, has_bias, bias, &
      activation, slope, y, threads, info)
  end subroutine multiply_levels

  !> Weights of 2 bytes, which only networks of float32 have: what is here real(sp) is real(wp).
  subroutine multiply_words(layer, memory, x, has_bias, activation, slope, y, threads, info)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    real(wp), intent(in), target, contiguous :: x(:, :)
    logical, intent(in) :: has_bias
    integer(i32), intent(in) :: activation, threads
    real(wp), intent(in) :: slope
    real(wp), intent(inout), target, contiguous :: y(:, :)
    integer(i32), intent(out) :: info
    integer(i32), pointer, contiguous :: words(:, :, :)
    real(sp), pointer, contiguous :: inputs(:, :), outputs(:, :), bias(:)
    integer(i64) :: width, panels

    width = HALF_LANES
    panels = (layer%rows + width - 1)/width
    call c_f_pointer(c_loc(memory(layer%weights + 1)), words, [width, layer%row_steps, panels])
    call c_f_pointer(c_loc(memory(max(layer%bias, 0_i64) + 1)), bias, [layer%n])
    call c_f_pointer(c_loc(x), inputs, shape(x))
    call c_f_pointer(c_loc(y), outputs, shape(y))
    call multiply_half(layer%rows, inputs, int(layer%float_format, i32), words, has_bias, bias, &
      activation, real(slope, sp), outputs, threads, info)
  end subroutine multiply_words

end module fq_network_real32
