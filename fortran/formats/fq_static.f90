!> Layers whose inputs are codes of a fixed scale: from codes to the codes of the next layer.
module fq_static_real32
  use fq_activation_kind, only: ACT_NONE, ACT_RELU, ACT_SOFTMAX
  use fq_activation_real32, only: activate_row
  use fq_gemm_int8, only: CODE_COLS, CODE_KIND, CODE_MASK, CODE_ROWS, CODE_SHIFT, CODE_STEPS, &
    multiply_block_int8, padded_steps
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_layer_parts, only: is_there, layer_parts
  use fq_precondition, only: CHECKED, require
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_FINITE, FQ_OK
  use fq_stored_layer, only: FORMAT_STATIC, place, stored_layer
  use fq_weight_parts_real32, only: read_codes, read_scales, read_zeros, REAL_BYTES, reals_at, &
    sign_offset
  use fq_work_size, only: SMALL_PRODUCT
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: multiply_static_layer, pack_static_layer, plan_static_layer, quantize_inputs

  ! Outputs whose sums are held at a time, in L1; a multiple of the columns of any tile.
  integer(i64), parameter :: MOST_COLS = 192, OUTPUT_STEP = 12

contains

  !> Places of a layer.  Rows are a multiple of the columns of any tile.
  subroutine plan_static_layer(parts, layer, used)
    type(layer_parts), intent(in) :: parts       !! what it is made of, codes of at most 8 bits
    type(stored_layer), intent(inout) :: layer   !! of FORMAT_STATIC
    integer(i64), intent(inout) :: used          !! bytes of the memory

    layer%rows = (layer%n + OUTPUT_STEP - 1)/OUTPUT_STEP*OUTPUT_STEP
    layer%input_zero = parts%input_zero
    call place(layer%rows*padded_steps(layer%k), used, layer%weights)
    call place(layer%n*4, used, layer%code_sums)
    call place(layer%n*REAL_BYTES, used, layer%scale)
    call place(REAL_BYTES, used, layer%input_scale)
    if (has_zeros(parts)) call place(layer%n*4, used, layer%zero_point)
    if (layer%bias < 0) call place(layer%n*REAL_BYTES, used, layer%bias)
  end subroutine plan_static_layer

  !> Whether a zero point of signed codes is not 0.
  function has_zeros(parts) result(has)
    type(layer_parts), intent(in) :: parts
    logical :: has
    integer(i32), pointer, contiguous :: zero_point(:)

    has = sign_offset(parts) /= 0
    if (.not. is_there(parts%zero_point)) return
    call c_f_pointer(parts%zero_point%start, zero_point, [parts%zero_point%bytes/4])
    has = any(zero_point /= sign_offset(parts))
  end function has_zeros

  !> Its arrays.
  subroutine pack_static_layer(parts, layer, memory, threads, info)
    type(layer_parts), intent(in) :: parts                       !! what it is made of
    type(stored_layer), intent(in) :: layer                      !! where its arrays go
    integer(i8), intent(inout), target, contiguous :: memory(:)  !! the memory
    integer(i32), intent(in) :: threads                          !! threads to use, at least 1
    integer(i32), intent(out) :: info                            !! FQ_OK or FQ_NO_MEMORY
    integer(i8), allocatable :: codes(:, :)
    integer(i8), pointer, contiguous :: rows(:, :)
    integer(i32), pointer, contiguous :: code_sums(:), zero_point(:, :)
    integer(i32), allocatable, target :: zeros(:, :)
    real(wp), pointer, contiguous :: scale(:, :), step(:), given(:), bias(:)
    integer(i64) :: r
    integer :: stat

    allocate (codes(layer%k, layer%n), stat=stat)
    if (stat == 0) allocate (zeros(1, layer%n), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    call c_f_pointer(c_loc(memory(layer%weights + 1)), rows, [padded_steps(layer%k), layer%rows])
    call c_f_pointer(c_loc(memory(layer%code_sums + 1)), code_sums, [layer%n])
    call c_f_pointer(c_loc(memory(layer%scale + 1)), scale, [1_i64, layer%n])
    call c_f_pointer(c_loc(memory(layer%input_scale + 1)), step, [1])
    call read_codes(parts, sign_offset(parts), codes, threads)
    call read_zeros(parts, sign_offset(parts), zeros)
    call read_scales(parts, scale)
    given => reals_at(parts%input_scale)
    step = given
    scale = step(1)*scale
    rows = 0
    do r = 1, layer%n
      rows(:layer%k, r) = codes(:, r)
      code_sums(r) = sum(int(codes(:, r), i32)) - int(layer%k, i32)*zeros(1, r)
    end do
    if (layer%zero_point >= 0) then
      call c_f_pointer(c_loc(memory(layer%zero_point + 1)), zero_point, [1_i64, layer%n])
      zero_point = zeros
    end if
    if (is_there(parts%bias)) return
    call c_f_pointer(c_loc(memory(layer%bias + 1)), bias, [layer%n])
    bias = 0
  end subroutine pack_static_layer

  !> Codes of inputs, `saturate(round(((x - mean)/scale)/step) + zero_point)`, ties to even; zeros
  !> behind the k of a sample.
  subroutine quantize_inputs(layer, memory, normalizes, mean, scale, m, x, codes, info)
    type(stored_layer), intent(in) :: layer                   !! that the codes enter
    integer(i8), intent(in), target, contiguous :: memory(:)  !! arrays of the layers, on a line
    logical, intent(in) :: normalizes                         !! else mean and scale are not used
    real(wp), intent(in) :: mean(*), scale(*)                 !! of each input, `(k)`
    integer(i64), intent(in) :: m                             !! samples
    real(wp), intent(in) :: x(layer%k, m)                     !! inputs, `(k, m)`
    integer(CODE_KIND), intent(inout) :: codes(padded_steps(layer%k), m)  !! codes, by samples
    integer(i32), intent(out) :: info                         !! status code
    real(wp) :: values(MOST_COLS)
    integer(i64) :: i, first, last, finite

    finite = 0
    do i = 1, m
      do first = 1, layer%k, MOST_COLS
        last = min(first + MOST_COLS - 1, layer%k)
        values(:last - first + 1) = x(first:last, i)
        if (normalizes) values(:last - first + 1) = (x(first:last, i) - mean(first:last)) &
          /scale(first:last)
        finite = finite + count_finite(values(:last - first + 1))
        call quantize_run(last - first + 1, values, layer, memory, .false., codes(first, i))
      end do
      codes(layer%k + 1:, i) = 0
    end do
    info = merge(FQ_OK, FQ_NOT_FINITE, finite == m*layer%k)
  end subroutine quantize_inputs

  !> A layer: to the codes that enter the next, or, if it is the last, to y without its softmax.
  !>
  !> With q the codes of the inputs and c those of the weights, `t = activation(sum((q -
  !> zero_point)*(c - zero))*scale + bias)` is what becomes the codes of the next layer, in
  !> registers and L1, or is the output.  The sums are exact integers, the rest is done in the order
  !> written.
  !>
  !> *Preconditions*: the layer is FORMAT_STATIC; only the last is softmax; rows of weights are a
  !> multiple of CODE_COLS, zeros behind the n of the layer, and of `padded_steps(k)` codes; behind
  !> the m samples there are as many rows of codes as make a multiple of CODE_ROWS.
  subroutine multiply_static_layer(layer, memory, m, x, next, codes, is_last, y, threads)
    type(stored_layer), intent(in) :: layer                   !! the layer
    integer(i8), intent(in), target, contiguous :: memory(:)  !! arrays of the layers, on a line
    integer(i64), intent(in) :: m                             !! samples
    integer(CODE_KIND), intent(in) :: x(padded_steps(layer%k), *)  !! codes of inputs, by samples
    type(stored_layer), intent(in) :: next                    !! that codes enter, if not the last
    integer(CODE_KIND), intent(inout) :: codes(padded_steps(layer%n), *)  !! these codes
    logical, intent(in) :: is_last                            !! y is made, not codes
    real(wp), intent(inout) :: y(layer%n, m)                  !! outputs of the last, `(n, m)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i64) :: col, cols
    integer(i32) :: team

    if (CHECKED) then
      call require(layer%format == FORMAT_STATIC, 'multiply_static_layer: layer is FORMAT_STATIC')
      call require(is_last .or. layer%activation /= ACT_SOFTMAX, &
        'multiply_static_layer: only the last layer is softmax')
      call require(mod(layer%rows, int(CODE_COLS, i64)) == 0 .and. layer%rows >= layer%n, &
        'multiply_static_layer: rows are a multiple of CODE_COLS')
      call require(layer%weights + layer%rows*padded_steps(layer%k) <= size(memory, kind=i64), &
        'multiply_static_layer: rows of weights are padded_steps(k) codes')
    end if
    team = merge(threads, 1_i32, m*layer%n*layer%k > SMALL_PRODUCT)
    cols = min(MOST_COLS, ((layer%n + team - 1)/team + OUTPUT_STEP - 1)/OUTPUT_STEP*OUTPUT_STEP)
    !$omp parallel do default(none) num_threads(team) schedule(dynamic) if(team > 1) &
    !$omp shared(layer, memory, m, x, next, codes, is_last, y, cols)
    do col = 0, layer%n - 1, cols
      call multiply_cols(layer, memory, col, min(cols, layer%n - col), m, x, next, codes, &
        is_last, y)
    end do
    if (.not. is_last) codes(layer%n + 1:, :m) = 0
  end subroutine multiply_static_layer

  !> Outputs `col + 1 ... col + cols` of a layer.
  subroutine multiply_cols(layer, memory, col, cols, m, x, next, codes, is_last, y)
    type(stored_layer), intent(in) :: layer, next
    integer(i8), intent(in), target, contiguous :: memory(:)
    integer(i64), intent(in) :: col, cols, m
    integer(CODE_KIND), intent(in) :: x(padded_steps(layer%k), *)
    integer(CODE_KIND), intent(inout) :: codes(padded_steps(layer%n), *)
    logical, intent(in) :: is_last
    real(wp), intent(inout) :: y(layer%n, m)
    integer(i8), pointer, contiguous :: w(:, :)
    integer(i32), pointer, contiguous :: code_sums(:), zero_point(:)
    real(wp), pointer, contiguous :: scale(:), bias(:)
    integer(i32) :: sums(MOST_COLS, CODE_ROWS), shifts(MOST_COLS), zero
    real(wp) :: values(MOST_COLS)
    integer(i64) :: ldx, whole, first, rows, computed, i

    ldx = padded_steps(layer%k)
    call c_f_pointer(c_loc(memory(layer%weights + 1)), w, [ldx, layer%rows])
    call c_f_pointer(c_loc(memory(layer%code_sums + 1)), code_sums, [layer%n])
    call c_f_pointer(c_loc(memory(max(layer%zero_point, 0_i64) + 1)), zero_point, [layer%n])
    call c_f_pointer(c_loc(memory(layer%scale + 1)), scale, [layer%n])
    call c_f_pointer(c_loc(memory(layer%bias + 1)), bias, [layer%n])
    whole = (cols + CODE_COLS - 1)/CODE_COLS*CODE_COLS
    zero = code_of_zero(layer)
    shifts(:cols) = zero*code_sums(col + 1:col + cols)
    do first = 0, m - 1, CODE_ROWS
      rows = min(int(CODE_ROWS, i64), m - first)
      computed = merge(int(CODE_ROWS, i64), rows, rows > 1)  ! a tile: rows too many cost nothing
      call multiply_block_int8((layer%k + CODE_STEPS - 1)/CODE_STEPS, computed, ldx, x(1, &
        first + 1), whole, ldx, w(:, col + 1:), MOST_COLS, sums)
      do i = 1, rows
        if (layer%zero_point >= 0) then
          call subtract_zeros(cols, row_sum(layer%k, x(1, first + i)), zero_point(col + 1:), &
            sums(1, i))
        end if
        call scale_sums(cols, sums(1, i), shifts, scale(col + 1:), bias(col + 1:), values)
        if (layer%activation /= ACT_NONE .and. layer%activation /= ACT_SOFTMAX .and. (is_last &
          .or. layer%activation /= ACT_RELU)) call activate_row(int(layer%activation, i32), &
          real(layer%slope, wp), values(:cols))
        if (is_last) then
          y(col + 1:col + cols, first + i) = values(:cols)
        else
          call quantize_run(cols, values, next, memory, layer%activation == ACT_RELU, codes(col &
            + 1, first + i))
        end if
      end do
    end do
  end subroutine multiply_cols

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

  !> Sums of products without the part of the zero points of weights.
  pure subroutine subtract_zeros(cols, total, zero_point, sums)
    integer(i64), intent(in) :: cols
    integer(i32), intent(in) :: total, zero_point(cols)
    integer(i32), intent(inout) :: sums(cols)

    sums = sums - total*zero_point
  end subroutine subtract_zeros

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
  subroutine quantize_run(cols, values, layer, memory, is_rectified, codes)
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
  end subroutine quantize_run

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

  include 'fq_finite.inc'
  include 'fq_half_even.inc'
end module fq_static_real32
