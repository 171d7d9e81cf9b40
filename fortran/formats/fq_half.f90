!> Weights of 2 bytes, bfloat16 or float16, in panels.
!>
!> A panel is LANES rows of weights, a lane each; a word of 32 bits holds two steps of k, the first
!> in its lower half.
module fq_half
  use fq_epilogue_real32, only: epilogue
  use fq_gemm_real32, only: add_edge, BLOCK_STEPS, copy_rows, FEW_ROWS, LANES, ROW_STEPS, TILE_ROWS
  use fq_kinds, only: i8, i16, i32, i64, wp => sp
  use fq_layer_parts, only: layer_parts
  use fq_precondition, only: CHECKED, require
  use fq_share, only: part
  use fq_stored_layer, only: place, stored_layer
  use fq_widened_panels_real32, only: multiply_panels, panel_source
  use fq_work_size, only: SMALL_WORK
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: epilogue, multiply_half_layer, pack_half_layer, plan_half_layer, takes_half, widen_words

  ! Formats of 2 bytes, by their numbers in `fq_convert.f90`.
  integer(i32), parameter, public :: HALF_BFLOAT16 = 1, HALF_FLOAT16 = 2
  ! Rows up to which weights become reals in registers: for more, once for all, in L2.
  integer(i64), parameter :: MOST_HALF_ROWS = TILE_ROWS
  ! Panels whose words are read side by side.
  integer, parameter :: HALF_PANELS = 4
  ! Bias of the exponents of float16 as they are packed: its least denormal gets exponent 1.
  integer, parameter :: RAISED_BIAS = 25
  integer(i32), parameter :: UPPER_HALF = -65536
  ! Bits of 128 in float16: from there on there is no room to raise exponents.
  integer(i32), parameter :: MOST_FLOAT16 = 22528

  type, extends(panel_source) :: half_weights
    integer(i32) :: format
    integer(i32), pointer, contiguous :: words(:, :, :)
  contains
    procedure :: widen => widen_half
    procedure :: multiply_few_rows => multiply_few_half
  end type half_weights

contains

  !> Whether tiles have room for the exponents of 2-byte weights: a float16 must be less than 128.
  function takes_half(parts) result(takes)
    type(layer_parts), intent(in) :: parts   !! of FORM_HALF
    logical :: takes
    integer(i16), pointer, contiguous :: bits(:)

    takes = parts%float_format == HALF_BFLOAT16
    if (takes) return
    call c_f_pointer(parts%values%start, bits, [parts%n*parts%k])
    takes = all(iand(int(bits, i32), 32767) < MOST_FLOAT16)
  end function takes_half

  !> Places of a layer.
  pure subroutine plan_half_layer(parts, layer, used)
    type(layer_parts), intent(in) :: parts       !! what it is made of
    type(stored_layer), intent(inout) :: layer   !! of FORMAT_HALF
    integer(i64), intent(inout) :: used          !! bytes of the memory

    layer%float_format = parts%float_format
    layer%row_steps = (layer%k + 1)/2
    call place((layer%rows + LANES - 1)/LANES*LANES*layer%row_steps*4, used, layer%weights)
  end subroutine plan_half_layer

  !> Its arrays.
  subroutine pack_half_layer(parts, layer, memory, threads)
    type(layer_parts), intent(in) :: parts                       !! what it is made of
    type(stored_layer), intent(in) :: layer                      !! where its arrays go
    integer(i8), intent(inout), target, contiguous :: memory(:)  !! the memory
    integer(i32), intent(in) :: threads                          !! threads to use, at least 1
    integer(i16), pointer, contiguous :: bits(:, :)
    integer(i32), pointer, contiguous :: words(:, :, :)

    call c_f_pointer(parts%values%start, bits, [layer%k, layer%rows])
    call c_f_pointer(c_loc(memory(layer%weights + 1)), words, [int(LANES, i64), layer%row_steps, &
      (layer%rows + LANES - 1)/LANES])
    call pack_half(bits, int(layer%float_format, i32), words, threads)
  end subroutine pack_half_layer

  !> `c = activation(a w**T + bias)`, w in panels of 2-byte values.
  !>
  !> The same bits as `matmul_blocked` with panels of the float32 values.
  subroutine multiply_half(a, format, words, bias, after, c, threads, info)
    real(wp), intent(in), contiguous :: a(:, :)                     !! left matrix, `(k, m)`
    integer(i32), intent(in) :: format                              !! one of HALF_...
    integer(i32), intent(in), target, contiguous :: words(:, :, :)  !! as `pack_half` makes them
    real(wp), intent(in) :: bias(*)                                 !! added to each row, `(n)`
    type(epilogue), intent(in) :: after                             !! what is done to each sum
    real(wp), intent(out), contiguous :: c(:, :)                    !! product, `(n, m)`
    integer(i32), intent(in) :: threads                             !! threads to use, at least 1
    integer(i32), intent(out) :: info                               !! FQ_OK or FQ_NO_MEMORY
    type(half_weights) :: weights

    weights%few_rows = MOST_HALF_ROWS
    weights%format = format
    weights%words => words
    call multiply_panels(weights, a, bias, after, c, threads, info)
  end subroutine multiply_half

  !> `y = activation(x w**T + bias)` of a layer of a network.
  subroutine multiply_half_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer                   !! of FORMAT_HALF
    integer(i8), intent(in), target, contiguous :: memory(:)  !! where its arrays are
    real(wp), intent(in), contiguous :: x(:, :)               !! inputs, `(k, m)`
    real(wp), intent(in) :: bias(*)                           !! added to each row, `(rows)`
    type(epilogue), intent(in) :: after                       !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)              !! outputs, `(rows, m)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! FQ_OK or FQ_NO_MEMORY
    integer(i32), pointer, contiguous :: words(:, :, :)

    call c_f_pointer(c_loc(memory(layer%weights + 1)), words, [int(LANES, i64), layer%row_steps, &
      (layer%rows + LANES - 1)/LANES])
    call multiply_half(x, int(layer%float_format, i32), words, bias, after, y, threads, info)
  end subroutine multiply_half_layer

  !> Steps `step + 1 ... step + steps` of a panel as reals.
  pure subroutine widen_half(self, p, step, steps, block)
    class(half_weights), intent(in) :: self
    integer(i64), intent(in) :: p, step, steps
    real(wp), intent(inout) :: block(LANES, steps + 1)

    associate (words => self%words)
      call widen_words(self%format, (steps + 1)/2, words(:, step/2 + 1:step/2 + (steps + 1)/2, p), &
        block)
    end associate
  end subroutine widen_half

  !> Sums of a part of a few rows, for which weights become reals in registers.
  pure subroutine multiply_few_half(self, k, m, a, piece, n, c, rows)
    class(half_weights), intent(in) :: self
    integer(i64), intent(in) :: k, m, n
    real(wp), intent(in) :: a(k, m)
    type(part), intent(in) :: piece
    real(wp), intent(inout) :: c(n, m), rows(ROW_STEPS, TILE_ROWS)
    integer(i64) :: step

    associate (words => self%words)
      do step = 0, k - 1, BLOCK_STEPS
        call multiply_part_half(self%format, size(words, 2, kind=i64), words, k, m, a, step, &
          piece, n, c, rows)
      end do
    end associate
  end subroutine multiply_few_half

  !> A block of steps of a few rows times the panels of a part, added to, or set in, c.
  pure subroutine multiply_part_half(format, stride, words, k, m, a, step, piece, n, c, rows)
    integer(i32), intent(in) :: format
    integer(i64), intent(in) :: stride, k, m, step, n
    integer(i32), intent(in) :: words(LANES, stride, *)
    real(wp), intent(in) :: a(k, m)
    type(part), intent(in) :: piece
    real(wp), intent(inout) :: c(n, m), rows(ROW_STEPS, TILE_ROWS)
    real(wp) :: total(LANES, HALF_PANELS, FEW_ROWS)
    integer(i64) :: p, last, r, wide, cols, j, steps

    steps = min(BLOCK_STEPS, k - step)
    last = (piece%last_col + LANES - 1)/LANES
    call copy_rows(k, a, .false., 0_i64, m, (m + FEW_ROWS - 1)/FEW_ROWS*FEW_ROWS, step, steps, rows)
    if (mod(steps, 2_i64) == 1) rows(steps + 1, :) = 0  ! what the last word's upper half meets
    p = piece%col/LANES + 1
    do while (p <= last)
      wide = merge(int(HALF_PANELS, i64), 1_i64, last - p + 1 >= HALF_PANELS)
      do r = 1, m, FEW_ROWS
        call multiply_half_tile(m - r + 1, wide, format, (steps + 1)/2, stride, rows(1, r), &
          words(1, step/2 + 1, p), total)
        do j = 0, wide - 1
          cols = min(int(LANES, i64), n - (p + j - 1)*LANES)
          call add_edge(cols, min(int(FEW_ROWS, i64), m - r + 1), int(LANES*HALF_PANELS, i64), &
            total(1, j + 1, 1), step == 0, n, c((p + j - 1)*LANES + 1, r))
        end do
      end do
      p = p + wide
    end do
  end subroutine multiply_part_half

  pure subroutine multiply_half_tile(rows, wide, format, count, stride, a, words, total)
    integer(i64), intent(in) :: rows, wide, count, stride
    integer(i32), intent(in) :: format
    real(wp), intent(in) :: a(ROW_STEPS, *)
    integer(i32), intent(in) :: words(LANES, stride, *)
    real(wp), intent(inout) :: total(LANES, HALF_PANELS, FEW_ROWS)

    if (format == HALF_BFLOAT16) then
      if (rows == 1 .and. wide > 1) then
        call bfloat16_single(count, stride, a, words, total)
      else if (rows == 1) then
        call bfloat16_single_narrow(count, stride, a, words, total)
      else if (wide > 1) then
        call bfloat16_few(count, stride, a, words, total)
      else
        call bfloat16_few_narrow(count, stride, a, words, total)
      end if
    else
      if (rows == 1 .and. wide > 1) then
        call float16_single(count, stride, a, words, total)
      else if (rows == 1) then
        call float16_single_narrow(count, stride, a, words, total)
      else if (wide > 1) then
        call float16_few(count, stride, a, words, total)
      else
        call float16_few_narrow(count, stride, a, words, total)
      end if
    end if
  end subroutine multiply_half_tile

  pure subroutine bfloat16_single(count, stride, a, words, total)
    integer, parameter :: R = 1, P = HALF_PANELS
    logical, parameter :: IS_BFLOAT16 = .true.
    include 'fq_tile_2byte.inc'
  end subroutine bfloat16_single

  pure subroutine bfloat16_single_narrow(count, stride, a, words, total)
    integer, parameter :: R = 1, P = 1
    logical, parameter :: IS_BFLOAT16 = .true.
    include 'fq_tile_2byte.inc'
  end subroutine bfloat16_single_narrow

  pure subroutine bfloat16_few(count, stride, a, words, total)
    integer, parameter :: R = FEW_ROWS, P = HALF_PANELS
    logical, parameter :: IS_BFLOAT16 = .true.
    include 'fq_tile_2byte.inc'
  end subroutine bfloat16_few

  pure subroutine bfloat16_few_narrow(count, stride, a, words, total)
    integer, parameter :: R = FEW_ROWS, P = 1
    logical, parameter :: IS_BFLOAT16 = .true.
    include 'fq_tile_2byte.inc'
  end subroutine bfloat16_few_narrow

  pure subroutine float16_single(count, stride, a, words, total)
    integer, parameter :: R = 1, P = HALF_PANELS
    logical, parameter :: IS_BFLOAT16 = .false.
    include 'fq_tile_2byte.inc'
  end subroutine float16_single

  pure subroutine float16_single_narrow(count, stride, a, words, total)
    integer, parameter :: R = 1, P = 1
    logical, parameter :: IS_BFLOAT16 = .false.
    include 'fq_tile_2byte.inc'
  end subroutine float16_single_narrow

  pure subroutine float16_few(count, stride, a, words, total)
    integer, parameter :: R = FEW_ROWS, P = HALF_PANELS
    logical, parameter :: IS_BFLOAT16 = .false.
    include 'fq_tile_2byte.inc'
  end subroutine float16_few

  pure subroutine float16_few_narrow(count, stride, a, words, total)
    integer, parameter :: R = FEW_ROWS, P = 1
    logical, parameter :: IS_BFLOAT16 = .false.
    include 'fq_tile_2byte.inc'
  end subroutine float16_few_narrow

  !> Words of a panel as reals, two steps a word.
  pure subroutine widen_words(format, count, words, values)
    integer(i32), intent(in) :: format                   !! one of HALF_...
    integer(i64), intent(in) :: count                    !! words of a lane
    integer(i32), intent(in) :: words(LANES, count)      !! words, as `pack_half` makes them
    real(wp), intent(inout) :: values(LANES, 2, count)   !! values, `(LANES, 2*count)`
    integer(i64) :: s
    integer :: l

    if (format == HALF_BFLOAT16) then
      !GCC$ novector
      do s = 1, count
        do l = 1, LANES
          values(l, 1, s) = transfer(shiftl(words(l, s), 16), 1.0_wp)
        end do
        do l = 1, LANES
          values(l, 2, s) = transfer(iand(words(l, s), UPPER_HALF), 1.0_wp)
        end do
      end do
    else
      !GCC$ novector
      do s = 1, count
        do l = 1, LANES
          values(l, 1, s) = float16_value(shiftl(words(l, s), 16))
        end do
        do l = 1, LANES
          values(l, 2, s) = float16_value(words(l, s))
        end do
      end do
    end if
  end subroutine widen_words

  !> Value of the float16 of `raised` in the upper half of a word.
  !>
  !> Exponent and mantissa are shifted to their places, where they are a normal float32 or 0, and
  !> the difference of the biases is a factor.
  pure elemental function float16_value(word) result(x)
    integer(i32), intent(in) :: word
    real(wp) :: x
    integer(i32), parameter :: KEPT = -1879056384  ! sign, 5 bits of exponent, 10 of mantissa

    x = transfer(iand(shifta(word, 3), KEPT), x)*2.0_wp**(127 - RAISED_BIAS)
  end function float16_value

  !> Bits of a float16 below 128 with a bias of RAISED_BIAS: all but 0 have a hidden bit.  No
  !> instruction then meets a denormal, which is slow on many machines.
  pure elemental function raised(bits) result(pattern)
    integer(i32), intent(in) :: bits
    integer(i32) :: pattern, magnitude, highest

    magnitude = iand(bits, 32767)
    highest = 31 - leadz(ior(magnitude, 1))  ! bit that is set
    pattern = magnitude + shiftl(RAISED_BIAS - 15, 10)
    if (magnitude < 1024) pattern = shiftl(magnitude, 10 - highest) + shiftl(highest, 10)
    if (magnitude == 0) pattern = 0
    pattern = ior(pattern, iand(bits, 32768))
  end function raised

  !> Panels of 2-byte weights for `multiply_half`, a row a lane; what is not there are zeros.
  !>
  !> *Preconditions*: values are finite, and float16 less than 128.
  subroutine pack_half(bits, format, words, threads)
    integer(i16), intent(in), contiguous :: bits(:, :)      !! patterns, `(k, n)`
    integer(i32), intent(in) :: format                      !! one of HALF_...
    integer(i32), intent(out), contiguous :: words(:, :, :) !! `(LANES, (k + 1)/2, panels)`
    integer(i32), intent(in) :: threads                     !! threads to use, at least 1
    integer(i64) :: p, n, k

    if (CHECKED) call require(all(iand(int(bits, i32), 32767) < merge(32640, MOST_FLOAT16, &
      format == HALF_BFLOAT16)), 'pack_half: values are finite, and float16 less than 128')
    k = size(bits, 1, kind=i64)
    n = size(bits, 2, kind=i64)
    !$omp parallel do default(none) shared(n, k, bits, format, words) num_threads(threads) &
    !$omp schedule(static) if(n*k > SMALL_WORK)
    do p = 1, size(words, 3, kind=i64)
      call pack_half_panel(k, min(int(LANES, i64), n - (p - 1)*LANES), bits(:, (p - 1)*LANES &
        + 1:), format, words(:, :, p))
    end do
  end subroutine pack_half

  pure subroutine pack_half_panel(k, rows, bits, format, words)
    integer(i64), intent(in) :: k, rows
    integer(i16), intent(in) :: bits(k, *)
    integer(i32), intent(in) :: format
    integer(i32), intent(out) :: words(LANES, (k + 1)/2)
    integer(i32) :: pattern
    integer(i64) :: r, s

    words = 0
    do r = 1, rows
      do s = 1, k
        pattern = iand(int(bits(s, r), i32), 65535)
        if (format == HALF_FLOAT16) pattern = raised(pattern)
        words(r, (s + 1)/2) = ior(words(r, (s + 1)/2), shiftl(pattern, merge(0, 16, mod(s, 2_i64) &
          == 1)))
      end do
    end do
  end subroutine pack_half_panel
end module fq_half
