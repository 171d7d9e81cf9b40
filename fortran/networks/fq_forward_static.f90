!> Layers whose inputs are codes of a fixed scale, one after the other: from codes to codes.
module fq_forward_static_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_NONE, ACT_RELU, ACT_SOFTMAX
  use fq_activation_real32, only: activate_row
  use fq_align, only: aligned_start
  use fq_gemm_int8, only: CODE_COLS, CODE_KIND, CODE_MASK, CODE_ROWS, CODE_SHIFT, CODE_STEPS, &
    multiply_codes, padded_steps
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_plan, only: planned_ends
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_stored_layer, only: stored_layer
  use fq_work_size, only: SMALL_PRODUCT
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: forward_codes

  ! Samples that pass through all layers together: their codes, and the weights, stay in L2.
  integer(i64), parameter :: MOST_SAMPLES = 240
  ! Samples that are worth a thread of their own; and what their number is a multiple of.
  integer(i64), parameter :: FEW_SAMPLES = 8, SAMPLE_STEP = 12
  ! Outputs whose sums are held at a time, in L1; a multiple of the columns of any tile.
  integer(i64), parameter :: MOST_COLS = 192, COL_STEP = 12

contains

  !> `y = output_scale*layers((x - input_mean)/input_scale) + output_mean`, where inputs of layers
  !> are codes, `q = saturate(round(x/step) + zero_point)`, ties to even.
  !>
  !> With c the codes of the weights, `t = activation(sum((q - zero_point)*(c - zero))*scale +
  !> bias)` is what becomes the codes of the next layer, in registers and L1, or is the output.  The
  !> sums are exact integers, the rest is done in the order written.
  !>
  !> *Preconditions*: all layers are FORMAT_STATIC; only the last is softmax; rows of weights are a
  !> multiple of CODE_COLS, zeros behind the n of the layer, and of `padded_steps(k)` codes.
  subroutine forward_codes(samples, k, x, layers, slopes, memory, ends, n, y, threads, info)
    integer(i64), intent(in) :: samples, k, n                  !! samples, inputs and outputs
    real(wp), intent(in) :: x(k, samples)                      !! inputs, `(k, samples)`
    type(stored_layer), intent(in), contiguous :: layers(:)    !! the layers, in order
    real(wp), intent(in), contiguous :: slopes(:)              !! of ACT_LEAKY_RELU, `(layers)`
    integer(i8), intent(in), target, contiguous :: memory(:)   !! arrays of the layers, on a line
    type(planned_ends), intent(in) :: ends                     !! what inputs and outputs pass
    real(wp), intent(out) :: y(n, samples)                     !! outputs, `(n, samples)`
    integer(i32), intent(in) :: threads                        !! threads to use, at least 1
    integer(i32), intent(out) :: info                          !! status code
    integer(CODE_KIND), allocatable :: space(:, :)
    integer(i64) :: share, room, first, last
    integer(i32) :: team, inner, state
    integer :: t, stat

    team = merge(threads, 1_i32, samples*sum(layers%n*layers%k) > SMALL_PRODUCT)
    inner = 1
    if (samples < FEW_SAMPLES*team) then
      inner = team
      team = 1
    end if
    share = (samples + team - 1)/team
    share = min(MOST_SAMPLES, (share + SAMPLE_STEP - 1)/SAMPLE_STEP*SAMPLE_STEP)
    room = widest(layers)*share
    allocate (space(2*room + CODE_STEPS, team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    if (team == 1) then  ! A team within another, even of one thread, would start threads anew.
      do first = 1, samples, share
        last = min(first + share - 1, samples)
        call pass_samples(last - first + 1, k, x(1, first), layers, slopes, memory, ends, n, &
          y(1, first), room, space, inner, state)
        info = max(info, state)
      end do
      return
    end if
    !$omp parallel do default(none) private(last, t, state) num_threads(team) schedule(dynamic) &
    !$omp reduction(max: info) shared(k, x, layers, slopes, memory, ends, n, y, samples, share, &
    !$omp   room, space)
    do first = 1, samples, share
      t = 1
      !$ t = omp_get_thread_num() + 1
      last = min(first + share - 1, samples)
      call pass_samples(last - first + 1, k, x(1, first), layers, slopes, memory, ends, n, &
        y(1, first), room, space(1, t), 1_i32, state)
      info = max(info, state)
    end do
  end subroutine forward_codes

  !> The most codes of a row that enters a layer.
  pure function widest(layers) result(codes)
    type(stored_layer), intent(in), contiguous :: layers(:)
    integer(i64) :: codes, l

    codes = 0
    do l = 1, size(layers, kind=i64)
      codes = max(codes, padded_steps(layers(l)%k))
    end do
  end function widest

  !> Some samples through all layers, from one part of the workspace to the other.
  subroutine pass_samples(m, k, x, layers, slopes, memory, ends, n, y, room, space, threads, info)
    integer(i64), intent(in) :: m, k, n, room
    real(wp), intent(in) :: x(k, m)
    type(stored_layer), intent(in), contiguous :: layers(:)
    real(wp), intent(in), contiguous :: slopes(:)
    integer(i8), intent(in), target, contiguous :: memory(:)
    type(planned_ends), intent(in) :: ends
    real(wp), intent(inout) :: y(n, m)
    integer(CODE_KIND), intent(inout) :: space(*)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    integer(i64) :: start, l, from, to, i, count

    start = aligned_start(space, storage_size(space))
    from = start
    to = start + room
    call code_inputs(m, layers(1), memory, ends, x, space(from), info)
    if (info /= FQ_OK) return
    count = size(layers, kind=i64)
    do l = 1, count - 1
      call apply_layer(layers(l), slopes(l), memory, m, space(from), layers(l + 1), space(to), &
        .false., y, threads)
      from = to
      to = merge(start, start + room, to > start)
    end do
    call apply_layer(layers(count), slopes(count), memory, m, space(from), layers(count), &
      space(to), .true., y, threads)
    do i = 1, m
      if (layers(count)%activation == ACT_SOFTMAX) call activate_row(ACT_SOFTMAX, slopes(count), &
        y(:, i))
      if (ends%output_mean >= 0) call put_back(n, memory, ends, y(1, i))
    end do
  end subroutine pass_samples

  !> Codes of inputs, `saturate(round(((x - mean)/scale)/step) + zero_point)`.
  subroutine code_inputs(m, layer, memory, ends, x, codes, info)
    integer(i64), intent(in) :: m
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    type(planned_ends), intent(in) :: ends
    real(wp), intent(in) :: x(layer%k, m)
    integer(CODE_KIND), intent(inout) :: codes(padded_steps(layer%k), m)
    integer(i32), intent(out) :: info
    real(wp), pointer, contiguous :: mean(:), scale(:)
    real(wp) :: values(MOST_COLS)
    integer(i64) :: i, first, last, finite

    call c_f_pointer(c_loc(memory(max(ends%input_mean, 0_i64) + 1)), mean, [layer%k])
    call c_f_pointer(c_loc(memory(max(ends%input_scale, 0_i64) + 1)), scale, [layer%k])
    finite = 0
    do i = 1, m
      do first = 1, layer%k, MOST_COLS
        last = min(first + MOST_COLS - 1, layer%k)
        values(:last - first + 1) = x(first:last, i)
        if (ends%input_mean >= 0) values(:last - first + 1) = (x(first:last, i) &
          - mean(first:last))/scale(first:last)
        finite = finite + count_finite(values(:last - first + 1))
        call store_codes(last - first + 1, values, layer, memory, .false., codes(first, i))
      end do
      codes(layer%k + 1:, i) = 0
    end do
    info = merge(FQ_OK, FQ_NOT_FINITE, finite == m*layer%k)
  end subroutine code_inputs

  !> A layer: to the codes that enter the next, or, if it is the last, to y without its softmax.
  subroutine apply_layer(layer, slope, memory, m, x, next, codes, is_last, y, threads)
    type(stored_layer), intent(in) :: layer, next
    real(wp), intent(in) :: slope
    integer(i8), intent(in), target, contiguous :: memory(:)
    integer(i64), intent(in) :: m
    integer(CODE_KIND), intent(in) :: x(padded_steps(layer%k), *)
    integer(CODE_KIND), intent(inout) :: codes(padded_steps(layer%n), *)
    logical, intent(in) :: is_last
    real(wp), intent(inout) :: y(layer%n, m)
    integer(i32), intent(in) :: threads
    integer(i8), pointer, contiguous :: w(:, :)
    integer(i32), pointer, contiguous :: code_sums(:), zero_point(:)
    real(wp), pointer, contiguous :: scale(:), bias(:)
    integer(i64) :: col, cols
    integer(i32) :: team

    call c_f_pointer(c_loc(memory(layer%weights + 1)), w, [padded_steps(layer%k), layer%rows])
    call c_f_pointer(c_loc(memory(layer%code_sums + 1)), code_sums, [layer%n])
    call c_f_pointer(c_loc(memory(max(layer%zero_point, 0_i64) + 1)), zero_point, [layer%n])
    call c_f_pointer(c_loc(memory(layer%scale + 1)), scale, [layer%n])
    call c_f_pointer(c_loc(memory(layer%bias + 1)), bias, [layer%n])
    team = merge(threads, 1_i32, m*layer%n*layer%k > SMALL_PRODUCT)
    cols = min(MOST_COLS, ((layer%n + team - 1)/team + COL_STEP - 1)/COL_STEP*COL_STEP)
    !$omp parallel do default(none) num_threads(team) schedule(dynamic) if(team > 1) &
    !$omp shared(layer, slope, memory, w, code_sums, zero_point, scale, bias, m, x, next, codes, &
    !$omp   is_last, y, cols)
    do col = 0, layer%n - 1, cols
      call do_block(layer, slope, memory, w, code_sums, zero_point, scale, bias, col, min(cols, &
        layer%n - col), m, x, next, codes, is_last, y)
    end do
    if (.not. is_last) codes(layer%n + 1:, :m) = 0
  end subroutine apply_layer

  !> Outputs `col + 1 ... col + cols` of a layer.
  subroutine do_block(layer, slope, memory, w, code_sums, zero_point, scale, bias, col, cols, m, &
    x, next, codes, is_last, y)
    type(stored_layer), intent(in) :: layer, next
    real(wp), intent(in) :: slope
    integer(i8), intent(in), target, contiguous :: memory(:)
    integer(i8), intent(in) :: w(padded_steps(layer%k), layer%rows)
    integer(i32), intent(in) :: code_sums(layer%n), zero_point(layer%n)
    real(wp), intent(in) :: scale(layer%n), bias(layer%n)
    integer(i64), intent(in) :: col, cols, m
    integer(CODE_KIND), intent(in) :: x(padded_steps(layer%k), *)
    integer(CODE_KIND), intent(inout) :: codes(padded_steps(layer%n), *)
    logical, intent(in) :: is_last
    real(wp), intent(inout) :: y(layer%n, m)
    integer(i32) :: sums(MOST_COLS, CODE_ROWS), shifts(MOST_COLS), zero
    real(wp) :: values(MOST_COLS)
    integer(i64) :: ldx, whole, first, rows, computed, i

    ldx = padded_steps(layer%k)
    whole = (cols + CODE_COLS - 1)/CODE_COLS*CODE_COLS
    zero = code_of_zero(layer)
    shifts(:cols) = zero*code_sums(col + 1:col + cols)
    do first = 0, m - 1, CODE_ROWS
      rows = min(int(CODE_ROWS, i64), m - first)
      computed = merge(int(CODE_ROWS, i64), rows, rows > 1)  ! a tile: rows too many cost nothing
      call multiply_codes((layer%k + CODE_STEPS - 1)/CODE_STEPS, computed, ldx, x(1, first + 1), &
        whole, ldx, w(1, col + 1), MOST_COLS, sums)
      do i = 1, rows
        if (layer%zero_point >= 0) then
          call take_zeros(cols, row_sum(layer%k, x(1, first + i)), zero_point(col + 1), sums(1, i))
        end if
        call scale_sums(cols, sums(1, i), shifts, scale(col + 1), bias(col + 1), values)
        if (layer%activation /= ACT_NONE .and. layer%activation /= ACT_SOFTMAX .and. (is_last &
          .or. layer%activation /= ACT_RELU)) call activate_row(int(layer%activation, i32), &
          slope, values(:cols))
        if (is_last) then
          y(col + 1:col + cols, first + i) = values(:cols)
        else
          call store_codes(cols, values, next, memory, layer%activation == ACT_RELU, codes(col &
            + 1, first + i))
        end if
      end do
    end do
  end subroutine do_block

  !> The code of 0 of the inputs of a layer, as the machine multiplies codes.
  pure function code_of_zero(layer) result(zero)
    type(stored_layer), intent(in) :: layer
    integer(i32) :: zero

    zero = merge(int(layer%input_zero, i32), CODE_SHIFT, layer%input_zero >= 0)
  end function code_of_zero

  pure function row_sum(k, x) result(total)
    integer(i64), intent(in) :: k
    integer(CODE_KIND), intent(in) :: x(k)
    integer(i32) :: total
    integer(i64) :: i

    total = 0
    do i = 1, k
      total = total + iand(int(x(i), i32), CODE_MASK)
    end do
  end function row_sum

  !> Take the zero points of weights off sums of products.
  pure subroutine take_zeros(cols, total, zero_point, sums)
    integer(i64), intent(in) :: cols
    integer(i32), intent(in) :: total, zero_point(cols)
    integer(i32), intent(inout) :: sums(cols)

    sums = sums - total*zero_point
  end subroutine take_zeros

  !> Reals from sums.
  pure subroutine scale_sums(cols, sums, shifts, scale, bias, values)
    integer(i64), intent(in) :: cols
    integer(i32), intent(in) :: sums(cols), shifts(cols)
    real(wp), intent(in) :: scale(cols), bias(cols)
    real(wp), intent(inout) :: values(cols)
    integer(i64) :: j

    do j = 1, cols
      values(j) = real(sums(j) - shifts(j), wp)*scale(j) + bias(j)
    end do
  end subroutine scale_sums

  !> Codes that enter a layer, as the machine multiplies them; of `max(x, 0)` if rectified.
  subroutine store_codes(cols, values, layer, memory, is_rectified, codes)
    integer(i64), intent(in) :: cols
    real(wp), intent(in) :: values(cols)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    logical, intent(in) :: is_rectified
    integer(CODE_KIND), intent(inout) :: codes(cols)
    real(wp), pointer, contiguous :: step(:)
    integer(i32) :: zero, least
    real(wp) :: low, high

    call c_f_pointer(c_loc(memory(layer%input_scale + 1)), step, [1])
    zero = code_of_zero(layer)
    least = merge(0_i32, CODE_SHIFT - 128_i32, layer%input_zero >= 0)
    low = real(least - zero, wp)
    high = low + 255
    if (is_rectified) low = 0
    call round_codes(cols, values, step(1), low, high, zero, codes)
  end subroutine store_codes

  pure subroutine round_codes(cols, values, step, low, high, zero, codes)
    integer(i64), intent(in) :: cols
    real(wp), intent(in) :: values(cols), step, low, high
    integer(i32), intent(in) :: zero
    integer(CODE_KIND), intent(inout) :: codes(cols)
    real(wp) :: x
    integer(i64) :: j

    do j = 1, cols
      x = min(max(values(j)/step, low), high)
      codes(j) = int(int(half_even(x), i32) + zero, CODE_KIND)
    end do
  end subroutine round_codes

  !> `scale*y + mean`, in place.
  subroutine put_back(n, memory, ends, y)
    integer(i64), intent(in) :: n
    integer(i8), intent(in), target, contiguous :: memory(:)
    type(planned_ends), intent(in) :: ends
    real(wp), intent(inout) :: y(n)
    real(wp), pointer, contiguous :: mean(:), scale(:)

    call c_f_pointer(c_loc(memory(ends%output_mean + 1)), mean, [n])
    call c_f_pointer(c_loc(memory(ends%output_scale + 1)), scale, [n])
    y = scale*y + mean
  end subroutine put_back

  include 'fq_finite.inc'
  include 'fq_half_even.inc'
end module fq_forward_static_real32
