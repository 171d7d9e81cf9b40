!> Products of mixed precision: weights of 2 bytes, and sums in float64.
!>
!> Python: `pyfq/mixed.py`.  Reference: `pyfq/reference/mixed.py`.
module fq_mixed
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_SOFTMAX, is_activation
  use fq_activation_real32, only: activate_row, fill_rows
  use fq_arguments, only: status_of
  use fq_align, only: aligned_start
  use fq_epilogue_real32, only: epilogue
  use fq_finish_real32, only: finish_rows
  use fq_share, only: part, share
  use fq_gemm_real32, only: block_entries, BLOCK_COLS, BLOCK_STEPS, copy_rows, &
    divide, FEW_ROWS, LANES, LINE, multiply_block, panels_read, ROW_STEPS, TILE_ROWS
  use fq_gemm_real64, only: divide_wide => divide, multiply_wide_block => multiply_block, &
    wide_entries => block_entries, wide_panels_read => panels_read, WIDE_COLS => BLOCK_COLS, &
    WIDE_LANES => LANES, WIDE_LINE => LINE, WIDE_ROW_STEPS => ROW_STEPS, WIDE_STEPS => &
    BLOCK_STEPS, WIDE_TILE_ROWS => TILE_ROWS
  use fq_kinds, only: dp, i16, i32, i64, wp => sp
  use fq_matmul_real32, only: B_PACKED, B_PLAIN, B_TRANSPOSED, pack_block, panel_at
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_work_size, only: SMALL_WORK
  implicit none (type, external)
  private
  public :: multiply_half, multiply_half_wide, multiply_wide, pack_half

  ! Formats of 2 bytes, by their numbers in `fq_convert.f90`.
  integer(i32), parameter, public :: HALF_BFLOAT16 = 1, HALF_FLOAT16 = 2
  integer, parameter, public :: HALF_LANES = LANES  ! columns of a panel of 2-byte values
  ! Rows up to which weights become reals in registers: for more, once for all, in L2.
  integer(i64), parameter :: MOST_HALF_ROWS = TILE_ROWS
  ! Panels whose words are read side by side.
  integer, parameter :: HALF_PANELS = 4
  ! Rows of a left matrix that the right one becomes float64 for in registers, and rows of its
  ! transpose, or panels, that are then read side by side.
  integer(i64), parameter :: FEW_WIDE_ROWS = 3
  integer, parameter :: WIDE_DOTS = 4, WIDE_PANELS = 4
  ! Steps whose 2-byte weights are float32 at a time, in L1: of WIDE_PANELS, no more than of one
  ! panel of a block, in whose place they are.
  integer(i64), parameter :: WIDE_RUN = 64
  ! Beside the forms B_... of a right matrix: panels of 2-byte values.
  integer(i32), parameter :: B_HALF = 3
  ! Bias of the exponents of float16 as they are packed: its least denormal gets exponent 1.
  integer, parameter :: RAISED_BIAS = 25
  integer(i32), parameter :: UPPER_HALF = -65536

contains

  !> `c = activation(a w**T + bias)`, w in panels of 2-byte values.
  !>
  !> The same bits as `matmul_blocked` with panels of the float32 values.
  subroutine multiply_half(n, a, format, words, has_bias, bias, activation, slope, c, threads, &
    info)
    integer(i64), intent(in) :: n                          !! columns of the product
    real(wp), intent(in), contiguous :: a(:, :)            !! left matrix, `(k, m)`
    integer(i32), intent(in) :: format                     !! one of HALF_...
    integer(i32), intent(in), contiguous :: words(:, :, :) !! as `pack_half` makes them
    logical, intent(in) :: has_bias                        !! else bias is not looked at
    real(wp), intent(in) :: bias(*)                        !! added to each row, `(n)`
    integer(i32), intent(in) :: activation                 !! one of ACT_...
    real(wp), intent(in) :: slope                          !! of ACT_LEAKY_RELU
    real(wp), intent(out), contiguous :: c(:, :)           !! product, `(n, m)`
    integer(i32), intent(in) :: threads                    !! threads to use, at least 1
    integer(i32), intent(out) :: info                      !! FQ_OK or FQ_NO_MEMORY
    real(wp), allocatable :: scratch(:, :)
    type(share) :: shared
    integer(i64) :: m, k, items, across, rows, panels, item, block_size
    integer(i32) :: team
    integer :: t, stat

    m = size(c, 2, kind=i64)
    k = size(a, 1, kind=i64)
    info = FQ_OK
    if (min(m, n) == 0) return
    if (k == 0) then
      call fill_rows(n, m, has_bias, bias, activation, slope, c)
      return
    end if
    shared = divide(m, n, k, BLOCK_COLS, threads)
    team = shared%team
    items = shared%items
    across = shared%across
    rows = shared%rows
    panels = shared%panels
    block_size = 0
    if (m > MOST_HALF_ROWS) block_size = block_entries(min(k, BLOCK_STEPS), panels_read(1_i64, &
      panels))
    allocate (scratch(block_size + ROW_STEPS*TILE_ROWS + LINE, team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    !$omp parallel do default(none) private(t) num_threads(team) schedule(dynamic) if(team > 1) &
    !$omp   shared(n, m, k, a, format, words, has_bias, bias, activation, slope, c, scratch, &
    !$omp   items, across, rows, panels, block_size)
    do item = 0, items - 1
      t = 1
      !$ t = omp_get_thread_num() + 1
      call do_half_item(item, across, rows, panels, n, m, k, a, format, size(words, 2, kind=i64), &
        words, has_bias, bias, activation, slope, c, block_size, scratch(1, t))
    end do
    if (activation == ACT_SOFTMAX .and. across > 1) call activate_rows(activation, slope, c, team)
  end subroutine multiply_half

  !> One item of the division.
  subroutine do_half_item(item, across, rows, panels, n, m, k, a, format, stride, words, has_bias, &
    bias, activation, slope, c, block_size, scratch)
    integer(i64), intent(in) :: item, across, rows, panels, n, m, k, stride, block_size
    real(wp), intent(in) :: a(k, m), bias(*), slope
    integer(i32), intent(in) :: words(LANES, stride, *)
    logical, intent(in) :: has_bias
    integer(i32), intent(in) :: format, activation
    real(wp), intent(inout) :: c(n, *), scratch(*)
    integer(i64) :: row, last_row, col, last_col, start, step, steps, p, first, last

    start = aligned_start(scratch, storage_size(scratch(1)))
    col = mod(item, across)*panels*LANES
    last_col = min(col + panels*LANES, n)
    row = item/across*rows
    last_row = min(row + rows, m)
    first = col/LANES + 1
    last = (last_col + LANES - 1)/LANES
    do step = 0, k - 1, BLOCK_STEPS
      steps = min(BLOCK_STEPS, k - step)
      if (m <= MOST_HALF_ROWS) then
        call multiply_words(n, m, k, a, step, steps, format, stride, words, first, last, c, &
          scratch(start))
      else
        do p = first, last
          call spread_words(format, (steps + 1)/2, words(1, step/2 + 1, p), scratch(start + (p &
            - first)*(steps + 1)*LANES))
        end do
        call clear_panels(last - first + 1, panels_read(last_row - row, last - first + 1), steps, &
          scratch(start))
      call multiply_block(k, a, .false., part(row, last_row, col, last_col), &
          step, steps, steps + 1, scratch(start), n, &
          c, scratch(start + block_size))
      end if
    end do
    call finish_rows(part(row, last_row, col, last_col), bias, epilogue(has_bias, activation, &
      slope), n, c)
  end subroutine do_half_item

  !> Zeros in the panels that wide tiles read behind the last.
  pure subroutine clear_panels(filled, read, steps, block)
    integer(i64), intent(in) :: filled, read, steps
    real(wp), intent(inout) :: block(LANES, steps + 1, *)

    if (read > filled) block(:, 1:steps, filled + 1:read) = 0
  end subroutine clear_panels

  !> Some steps of a few rows times panels `first ... last`, added to, or set in, c.
  pure subroutine multiply_words(n, m, k, a, step, steps, format, stride, words, first, last, c, &
    rows)
    integer(i64), intent(in) :: n, m, k, step, steps, stride, first, last
    real(wp), intent(in) :: a(k, m)
    integer(i32), intent(in) :: format, words(LANES, stride, *)
    real(wp), intent(inout) :: c(n, m), rows(ROW_STEPS, TILE_ROWS)
    real(wp) :: total(LANES, HALF_PANELS, FEW_ROWS)
    integer(i64) :: p, r, wide, cols, j

    call copy_rows(k, a, .false., 0_i64, m, (m + FEW_ROWS - 1)/FEW_ROWS*FEW_ROWS, step, steps, rows)
    if (mod(steps, 2_i64) == 1) rows(steps + 1, :) = 0  ! what the last word's upper half meets
    p = first
    do while (p <= last)
      wide = merge(int(HALF_PANELS, i64), 1_i64, last - p + 1 >= HALF_PANELS)
      do r = 1, m, FEW_ROWS
        call multiply_half_tile(m - r + 1, wide, format, (steps + 1)/2, stride, rows(1, r), &
          words(1, step/2 + 1, p), total)
        do j = 0, wide - 1
          cols = min(int(LANES, i64), n - (p + j - 1)*LANES)
          call add_total(cols, min(int(FEW_ROWS, i64), m - r + 1), total(1, j + 1, 1), step == 0, &
            n, c((p + j - 1)*LANES + 1, r))
        end do
      end do
      p = p + wide
    end do
  end subroutine multiply_words

  !> Add, or set, the sums of a panel.
  pure subroutine add_total(cols, rows, total, fresh, ldc, c)
    integer(i64), intent(in) :: cols, rows, ldc
    real(wp), intent(in) :: total(LANES*HALF_PANELS, *)
    logical, intent(in) :: fresh
    real(wp), intent(inout) :: c(ldc, *)
    integer(i64) :: i

    do i = 1, rows
      if (fresh) then
        c(1:cols, i) = total(1:cols, i)
      else
        c(1:cols, i) = c(1:cols, i) + total(1:cols, i)
      end if
    end do
  end subroutine add_total

  pure subroutine multiply_half_tile(rows, wide, format, pairs, stride, a, words, total)
    integer(i64), intent(in) :: rows, wide, pairs, stride
    integer(i32), intent(in) :: format
    real(wp), intent(in) :: a(ROW_STEPS, *)
    integer(i32), intent(in) :: words(LANES, stride, *)
    real(wp), intent(inout) :: total(LANES, HALF_PANELS, FEW_ROWS)

    if (format == HALF_BFLOAT16) then
      if (rows == 1 .and. wide > 1) then
        call bfloat16_single(pairs, stride, a, words, total)
      else if (rows == 1) then
        call bfloat16_single_narrow(pairs, stride, a, words, total)
      else if (wide > 1) then
        call bfloat16_few(pairs, stride, a, words, total)
      else
        call bfloat16_few_narrow(pairs, stride, a, words, total)
      end if
    else
      if (rows == 1 .and. wide > 1) then
        call float16_single(pairs, stride, a, words, total)
      else if (rows == 1) then
        call float16_single_narrow(pairs, stride, a, words, total)
      else if (wide > 1) then
        call float16_few(pairs, stride, a, words, total)
      else
        call float16_few_narrow(pairs, stride, a, words, total)
      end if
    end if
  end subroutine multiply_half_tile

  pure subroutine bfloat16_single(pairs, stride, a, words, total)
    integer, parameter :: R = 1, P = HALF_PANELS
    logical, parameter :: IS_BFLOAT16 = .true.
    include 'fq_half_tile.inc'
  end subroutine bfloat16_single

  pure subroutine bfloat16_single_narrow(pairs, stride, a, words, total)
    integer, parameter :: R = 1, P = 1
    logical, parameter :: IS_BFLOAT16 = .true.
    include 'fq_half_tile.inc'
  end subroutine bfloat16_single_narrow

  pure subroutine bfloat16_few(pairs, stride, a, words, total)
    integer, parameter :: R = FEW_ROWS, P = HALF_PANELS
    logical, parameter :: IS_BFLOAT16 = .true.
    include 'fq_half_tile.inc'
  end subroutine bfloat16_few

  pure subroutine bfloat16_few_narrow(pairs, stride, a, words, total)
    integer, parameter :: R = FEW_ROWS, P = 1
    logical, parameter :: IS_BFLOAT16 = .true.
    include 'fq_half_tile.inc'
  end subroutine bfloat16_few_narrow

  pure subroutine float16_single(pairs, stride, a, words, total)
    integer, parameter :: R = 1, P = HALF_PANELS
    logical, parameter :: IS_BFLOAT16 = .false.
    include 'fq_half_tile.inc'
  end subroutine float16_single

  pure subroutine float16_single_narrow(pairs, stride, a, words, total)
    integer, parameter :: R = 1, P = 1
    logical, parameter :: IS_BFLOAT16 = .false.
    include 'fq_half_tile.inc'
  end subroutine float16_single_narrow

  pure subroutine float16_few(pairs, stride, a, words, total)
    integer, parameter :: R = FEW_ROWS, P = HALF_PANELS
    logical, parameter :: IS_BFLOAT16 = .false.
    include 'fq_half_tile.inc'
  end subroutine float16_few

  pure subroutine float16_few_narrow(pairs, stride, a, words, total)
    integer, parameter :: R = FEW_ROWS, P = 1
    logical, parameter :: IS_BFLOAT16 = .false.
    include 'fq_half_tile.inc'
  end subroutine float16_few_narrow

  !> Words of a panel as reals, two steps a word.
  pure subroutine spread_words(format, pairs, words, values)
    integer(i32), intent(in) :: format
    integer(i64), intent(in) :: pairs
    integer(i32), intent(in) :: words(LANES, pairs)
    real(wp), intent(inout) :: values(LANES, 2, pairs)
    integer(i64) :: s
    integer :: l

    if (format == HALF_BFLOAT16) then
      !GCC$ novector
      do s = 1, pairs
        do l = 1, LANES
          values(l, 1, s) = transfer(shiftl(words(l, s), 16), 1.0_wp)
        end do
        do l = 1, LANES
          values(l, 2, s) = transfer(iand(words(l, s), UPPER_HALF), 1.0_wp)
        end do
      end do
    else
      !GCC$ novector
      do s = 1, pairs
        do l = 1, LANES
          values(l, 1, s) = float16_value(shiftl(words(l, s), 16))
        end do
        do l = 1, LANES
          values(l, 2, s) = float16_value(words(l, s))
        end do
      end do
    end if
  end subroutine spread_words

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
    integer(i32) :: pattern, magnitude, place

    magnitude = iand(bits, 32767)
    place = 31 - leadz(ior(magnitude, 1))  ! of the highest bit
    pattern = magnitude + shiftl(RAISED_BIAS - 15, 10)
    if (magnitude < 1024) pattern = shiftl(magnitude, 10 - place) + shiftl(place, 10)
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

  !> `c = activation(op(a) op(b) + bias)`, products, sums and bias in float64, rounded once.
  subroutine multiply_wide(m, n, k, lda, a, a_transposed, ldb, b, b_form, has_bias, bias, &
    activation, slope, c, threads, info)
    integer(i64), intent(in) :: m, n, k    !! rows and columns of the product; what is summed over
    integer(i64), intent(in) :: lda        !! columns of a as it is given
    real(wp), intent(in) :: a(lda, *)      !! left matrix, `(k, m)`, or `(m, k)` if transposed
    logical, intent(in) :: a_transposed    !! whether a is given as its transpose
    integer(i64), intent(in) :: ldb        !! columns of b as it is given
    real(wp), intent(in) :: b(ldb, *)      !! right matrix, `(n, k)`, `(k, n)` or panels
    integer(i32), intent(in) :: b_form     !! one of B_...
    logical, intent(in) :: has_bias        !! else bias is not looked at
    real(wp), intent(in) :: bias(*)        !! added to each row of the product, `(n)`
    integer(i32), intent(in) :: activation !! one of ACT_...
    real(wp), intent(in) :: slope          !! of ACT_LEAKY_RELU
    real(wp), intent(out) :: c(n, m)       !! product, `(n, m)`
    integer(i32), intent(in) :: threads    !! threads to use, at least 1
    integer(i32), intent(out) :: info      !! FQ_OK or FQ_NO_MEMORY
    integer(i32) :: no_words(1, 1, 1)

    no_words = 0
    call multiply_items(m, n, k, lda, a, a_transposed, ldb, b, b_form, HALF_BFLOAT16, no_words, &
      has_bias, bias, activation, slope, c, threads, info)
  end subroutine multiply_wide

  !> The same for 2-byte weights, as `multiply_half` takes them.
  subroutine multiply_half_wide(n, a, format, words, has_bias, bias, activation, slope, c, &
    threads, info)
    integer(i64), intent(in) :: n                          !! columns of the product
    real(wp), intent(in), contiguous :: a(:, :)            !! left matrix, `(k, m)`
    integer(i32), intent(in) :: format                     !! one of HALF_...
    integer(i32), intent(in), contiguous :: words(:, :, :) !! as `pack_half` makes them
    logical, intent(in) :: has_bias                        !! else bias is not looked at
    real(wp), intent(in) :: bias(*)                        !! added to each row, `(n)`
    integer(i32), intent(in) :: activation                 !! one of ACT_...
    real(wp), intent(in) :: slope                          !! of ACT_LEAKY_RELU
    real(wp), intent(out), contiguous :: c(:, :)           !! product, `(n, m)`
    integer(i32), intent(in) :: threads                    !! threads to use, at least 1
    integer(i32), intent(out) :: info                      !! FQ_OK or FQ_NO_MEMORY
    real(wp) :: no_reals(1, 1)
    integer(i64) :: k

    no_reals = 0
    k = size(a, 1, kind=i64)
    call multiply_items(size(c, 2, kind=i64), n, k, k, a, .false., 1_i64, no_reals, B_HALF, &
      format, words, has_bias, bias, activation, slope, c, threads, info)
  end subroutine multiply_half_wide

  subroutine multiply_items(m, n, k, lda, a, a_transposed, ldb, b, b_form, format, words, &
    has_bias, bias, activation, slope, c, threads, info)
    integer(i64), intent(in) :: m, n, k, lda, ldb
    real(wp), intent(in) :: a(lda, *), b(ldb, *), bias(*), slope
    logical, intent(in) :: a_transposed, has_bias
    integer(i32), intent(in) :: b_form, format, activation, threads
    integer(i32), intent(in), contiguous :: words(:, :, :)
    real(wp), intent(out) :: c(n, m)
    integer(i32), intent(out) :: info
    real(dp), allocatable :: wide(:, :), scratch(:, :)
    real(wp), allocatable :: values(:, :)
    type(share) :: shared
    integer(i64) :: items, across, rows, panels, item, block_size, sums_size, j
    integer(i32) :: team
    integer :: t, stat

    info = status_of([m, n, k], .true., b_form >= B_PLAIN .and. b_form <= B_HALF .and. &
      is_activation(activation) .and. threads >= 1)
    if (info /= FQ_OK .or. min(m, n) == 0) return
    if (k == 0) then
      call fill_rows(n, m, has_bias, bias, activation, slope, c)
      return
    end if
    shared = divide_wide(m, n, k, WIDE_COLS, threads)
    team = shared%team
    items = shared%items
    across = shared%across
    rows = shared%rows
    panels = shared%panels
    block_size = wide_entries(min(k, WIDE_STEPS), wide_panels_read(1_i64, panels))
    sums_size = panels*WIDE_LANES*rows
    allocate (wide(k, m), stat=stat)
    if (stat == 0) then
      allocate (scratch(block_size + sums_size + WIDE_ROW_STEPS*WIDE_TILE_ROWS + 2*WIDE_LINE, &
        team), stat=stat)
    end if
    if (stat == 0) allocate (values(LANES*(WIDE_STEPS + 1), team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    !$omp parallel do default(none) shared(m, k, a, a_transposed, wide) num_threads(team) &
    !$omp schedule(static) if(team > 1)
    do j = 1, m
      if (a_transposed) then
        wide(:, j) = real(a(j, 1:k), dp)
      else
        wide(:, j) = real(a(:, j), dp)
      end if
    end do
    !$omp parallel do default(none) private(t) num_threads(team) schedule(dynamic) if(team > 1) &
    !$omp   shared(n, m, k, wide, ldb, b, b_form, format, words, has_bias, bias, &
    !$omp   activation, slope, c, scratch, values, items, across, rows, panels, block_size, &
    !$omp   sums_size)
    do item = 0, items - 1
      t = 1
      !$ t = omp_get_thread_num() + 1
      call do_wide_item(item, across, rows, panels, n, m, k, wide, ldb, b, b_form, format, &
        size(words, 2, kind=i64), words, has_bias, bias, activation, slope, c, block_size, &
        sums_size, scratch(1, t), values(1, t))
    end do
    if (activation == ACT_SOFTMAX .and. across > 1) call activate_rows(activation, slope, c, team)
  end subroutine multiply_items

  !> One item of the division: its sums in float64, rounded with the bias, and the activation.
  subroutine do_wide_item(item, across, rows, panels, n, m, k, a, ldb, b, b_form, format, stride, &
    words, has_bias, bias, activation, slope, c, block_size, sums_size, scratch, values)
    integer(i64), intent(in) :: item, across, rows, panels, n, m, k, ldb, stride, block_size
    integer(i64), intent(in) :: sums_size
    real(dp), intent(in) :: a(k, m)
    real(wp), intent(in) :: b(ldb, *), bias(*), slope
    logical, intent(in) :: has_bias
    integer(i32), intent(in) :: b_form, format, activation, words(LANES, stride, *)
    real(wp), intent(inout) :: c(n, *), values(LANES, WIDE_STEPS + 1)
    real(dp), intent(inout) :: scratch(*)
    integer(i64) :: row, last_row, col, last_col, start, at_sums, step, steps, filled

    start = aligned_start(scratch, storage_size(scratch(1)))
    at_sums = start + block_size
    col = mod(item, across)*panels*WIDE_LANES
    last_col = min(col + panels*WIDE_LANES, n)
    row = item/across*rows
    last_row = min(row + rows, m)
    if (b_form == B_TRANSPOSED .and. m <= FEW_WIDE_ROWS) then
      call dot_wide_rows(k, m, a, b, col, last_col, scratch(at_sums))
    else if ((b_form == B_PACKED .or. b_form == B_HALF) .and. m <= FEW_WIDE_ROWS) then
      call add_wide_panels(n, k, m, a, b, b_form, format, stride, words, col, last_col, values, &
        scratch(at_sums))
    else
      do step = 0, k - 1, WIDE_STEPS
        steps = min(WIDE_STEPS, k - step)
        filled = (last_col - col + LANES - 1)/LANES*2
        call widen_block(n, k, ldb, b, b_form, format, stride, words, step, steps, col, last_col, &
          values, scratch(start))
        call clear_wide_panels(filled, wide_panels_read(last_row - row, filled), steps, &
          scratch(start))
      call multiply_wide_block(k, a(1, row + 1), .false., part(0_i64, last_row - row, 0_i64, &
          last_col - col), step, steps, steps + 1, scratch(start), last_col - col, &
          scratch(at_sums), scratch(at_sums + sums_size))
      end do
    end if
    call round_sums(last_col - col, last_row - row, scratch(at_sums), has_bias, bias(col + 1), n, &
      c(col + 1, row + 1))
    call finish_rows(part(row, last_row, col, last_col), bias, epilogue(.false., activation, &
      slope), n, c)
  end subroutine do_wide_item

  !> Some steps of columns `col + 1 ... last_col` of op(b) as panels of float64.
  pure subroutine widen_block(n, k, ldb, b, b_form, format, stride, words, step, steps, col, &
    last_col, values, block)
    integer(i64), intent(in) :: n, k, ldb, stride, step, steps, col, last_col
    real(wp), intent(in) :: b(ldb, *)
    integer(i32), intent(in) :: b_form, format, words(LANES, stride, *)
    real(wp), intent(inout) :: values(LANES, WIDE_STEPS + 1)
    real(dp), intent(inout) :: block(WIDE_LANES*(steps + 1), 2, *)
    integer(i64) :: first, p, before

    before = step/BLOCK_STEPS*BLOCK_STEPS  ! steps before the packed block that these are in
    do first = col, last_col - 1, LANES
      p = (first - col)/LANES + 1
      if (b_form == B_PACKED) then
        call split_panel(steps, b(1, panel_at(n, before, min(BLOCK_STEPS, k - before), first) &
          + step - before), block(1, 1, p), block(1, 2, p))
      else
        if (b_form == B_HALF) then
          call spread_words(format, (steps + 1)/2, words(1, step/2 + 1, first/LANES + 1), values)
        else
          call pack_block(ldb, b, b_form == B_TRANSPOSED, step, steps, first, min(first + LANES, &
            last_col), 1_i64, steps, values)
        end if
        call split_panel(steps, values, block(1, 1, p), block(1, 2, p))
      end if
    end do
  end subroutine widen_block

  !> A panel of float32 as two of float64.
  pure subroutine split_panel(steps, panel, first, second)
    integer(i64), intent(in) :: steps
    real(wp), intent(in) :: panel(LANES, steps)
    real(dp), intent(inout) :: first(WIDE_LANES, steps), second(WIDE_LANES, steps)
    integer(i64) :: s
    integer :: l

    !GCC$ novector
    do s = 1, steps
      do l = 1, WIDE_LANES
        first(l, s) = real(panel(l, s), dp)
      end do
      do l = 1, WIDE_LANES
        second(l, s) = real(panel(WIDE_LANES + l, s), dp)
      end do
    end do
  end subroutine split_panel

  pure subroutine clear_wide_panels(filled, read, steps, block)
    integer(i64), intent(in) :: filled, read, steps
    real(dp), intent(inout) :: block(WIDE_LANES, steps + 1, *)

    if (read > filled) block(:, 1:steps, filled + 1:read) = 0
  end subroutine clear_wide_panels

  !> Columns `col + 1 ... last_col` of `a b**T` for a few rows of a, next to each other.
  pure subroutine dot_wide_rows(k, m, a, b, col, last_col, sums)
    integer(i64), intent(in) :: k, m, col, last_col
    real(dp), intent(in) :: a(k, m)
    real(wp), intent(in) :: b(k, *)
    real(dp), intent(inout) :: sums(last_col - col, m)
    integer(i64) :: i, j

    do j = 1, last_col - col - WIDE_DOTS + 1, WIDE_DOTS
      do i = 1, m
        call wide_dot_four(k, a(1, i), b(1, col + j), sums(j, i))
      end do
    end do
    do j = (last_col - col)/WIDE_DOTS*WIDE_DOTS + 1, last_col - col
      do i = 1, m
        call wide_dot_one(k, a(1, i), b(1, col + j), sums(j, i))
      end do
    end do
  end subroutine dot_wide_rows

  !> Columns `col + 1 ... last_col` of a few rows times panels, next to each other.
  pure subroutine add_wide_panels(n, k, m, a, b, b_form, format, stride, words, col, last_col, &
    values, sums)
    integer(i64), intent(in) :: n, k, m, stride, col, last_col
    real(dp), intent(in) :: a(k, m)
    real(wp), intent(in) :: b(LANES, *)
    integer(i32), intent(in) :: b_form, format, words(LANES, stride, *)
    real(wp), intent(inout) :: values(LANES, WIDE_RUN, WIDE_PANELS)
    real(dp), intent(inout) :: sums(last_col - col, m)
    real(dp) :: total(LANES, WIDE_PANELS, FEW_WIDE_ROWS)
    integer(i64) :: first, wide, step, steps, before, block, i, j, cols

    first = col
    do while (first < last_col)
      wide = merge(int(WIDE_PANELS, i64), 1_i64, last_col - first > (WIDE_PANELS - 1)*LANES)
      total = 0
      do step = 0, k - 1, merge(WIDE_RUN, BLOCK_STEPS, b_form == B_HALF)
        steps = min(merge(WIDE_RUN, BLOCK_STEPS, b_form == B_HALF), k - step)
        before = step/BLOCK_STEPS*BLOCK_STEPS
        block = min(BLOCK_STEPS, k - before)
        if (b_form == B_HALF) then
          do j = 1, wide
            call spread_words(format, (steps + 1)/2, words(1, step/2 + 1, first/LANES + j), &
              values(1, 1, j))
          end do
        end if
        do i = 1, m
          if (b_form == B_HALF) then
            call add_wide_row(wide, steps, WIDE_RUN, a(step + 1, i), values, total(1, 1, i))
          else
            call add_wide_row(wide, steps, block, a(step + 1, i), b(1, panel_at(n, before, block, &
              first)), total(1, 1, i))
          end if
        end do
      end do
      do i = 1, m
        do j = 1, wide
          cols = min(int(LANES, i64), last_col - first - (j - 1)*LANES)
          sums(first - col + (j - 1)*LANES + 1:first - col + (j - 1)*LANES + cols, i) &
            = total(1:cols, j, i)
        end do
      end do
      first = first + wide*LANES
    end do
  end subroutine add_wide_panels

  pure subroutine add_wide_row(wide, steps, stride, x, b, total)
    integer(i64), intent(in) :: wide, steps, stride
    real(dp), intent(in) :: x(steps)
    real(wp), intent(in) :: b(LANES, stride, *)
    real(dp), intent(inout) :: total(LANES, WIDE_PANELS)

    if (wide > 1) then
      call wide_row(steps, stride, x, b, total)
    else
      call wide_row_one(steps, stride, x, b, total)
    end if
  end subroutine add_wide_row

  pure subroutine wide_row(steps, stride, x, b, total)
    integer, parameter :: P = WIDE_PANELS
    include 'fq_wide_row.inc'
  end subroutine wide_row

  pure subroutine wide_row_one(steps, stride, x, b, total)
    integer, parameter :: P = 1
    include 'fq_wide_row.inc'
  end subroutine wide_row_one

  pure subroutine wide_dot_four(k, a, b, c)
    integer, parameter :: R = WIDE_DOTS
    include 'fq_wide_dot.inc'
  end subroutine wide_dot_four

  pure subroutine wide_dot_one(k, a, b, c)
    integer, parameter :: R = 1
    include 'fq_wide_dot.inc'
  end subroutine wide_dot_one

  !> Sums, and the bias if there is one, to the nearest float32.
  pure subroutine round_sums(cols, rows, sums, has_bias, bias, ldc, c)
    integer(i64), intent(in) :: cols, rows, ldc
    real(dp), intent(in) :: sums(cols, rows)
    logical, intent(in) :: has_bias
    real(wp), intent(in) :: bias(*)
    real(wp), intent(inout) :: c(ldc, *)
    integer(i64) :: i

    do i = 1, rows
      if (has_bias) then
        c(1:cols, i) = real(sums(:, i) + real(bias(1:cols), dp), wp)
      else
        c(1:cols, i) = real(sums(:, i), wp)
      end if
    end do
  end subroutine round_sums

  !> Softmax of rows that several items made.
  subroutine activate_rows(activation, slope, c, team)
    integer(i32), intent(in) :: activation, team
    real(wp), intent(in) :: slope
    real(wp), intent(inout), contiguous :: c(:, :)
    integer(i64) :: row

    !$omp parallel do default(none) shared(activation, slope, c) schedule(static) &
    !$omp num_threads(team) if(team > 1)
    do row = 1, size(c, 2, kind=i64)
      call activate_row(activation, slope, c(:, row))
    end do
  end subroutine activate_rows
end module fq_mixed
