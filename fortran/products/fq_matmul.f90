!> Products of matrices of reals, blocked for registers and caches, threaded over tiles of the
!> output.
!>
!> Python: `pyfq/matmul.py`.  Reference: `pyfq/reference/matmul.py`.
module fq_matmul_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_NONE, ACT_SOFTMAX, is_activation
  use fq_align, only: aligned_start
  use fq_epilogue_real32, only: epilogue
  use fq_finish_real32, only: finish_rows
  use fq_share, only: part, share
  use fq_gemm_real32, only: block_entries, BLOCK_COLS, BLOCK_STEPS, copy_rows, &
    divide, dot_rows, LANES, LINE, multiply_block, panels_read, ROW_STEPS, &
    SINGLE_PANELS, TILE_ROWS
  use fq_activation_real32, only: activate_row, fill_rows
  use fq_arguments, only: status_of
  use fq_code_panels_real32, only: CODE_RUN, pack_code_panel, read_bytes, read_halves, spread_panel
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_work_size, only: SMALL_WORK
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  implicit none (type, external)
  private
  public :: fits_left, fits_right, LANES, matmul_blocked, matmul_codes, matmul_levels, pack_block, &
    pack_codes, pack_panels, packed_vectors, panel_at

  ! How the right matrix is given: as it is, as its transpose, or as `pack_panels` makes it.
  integer(i32), parameter, public :: B_PLAIN = 0, B_TRANSPOSED = 1, B_PACKED = 2
  ! Columns of an item of few rows: their sums stay in L1, and b is read in long runs.
  integer(i64), parameter :: FEW_COLS = 2048
  ! Rows of the left matrix that do not pay for packing.
  integer(i64), parameter :: FEW_PLAIN = 4, FEW_DOTS = 3
  ! Columns of the product that would fill less than a vector.
  integer(i64), parameter :: NARROW = max(FEW_DOTS, shiftr(3*int(LANES, i64), 2))
  ! Panels of codes that one row is multiplied by at a time.
  integer, parameter :: CODE_PANELS = 4

contains

  !> `c = activation(op(a) op(b) + bias)`.
  !>
  !> A sum over k is made of blocks of BLOCK_STEPS steps, each from 0 and in order, added in order:
  !> the same bits for any shape, packing and number of threads.  Only where there are no more than
  !> FEW_DOTS columns, or rows if b is given as its transpose, are sums made in lanes.
  subroutine matmul_blocked(m, n, k, lda, a, a_transposed, ldb, b, b_form, has_bias, bias, &
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
    integer(i32), intent(out) :: info      !! status code; of no entries nothing is written
    real(wp), allocatable :: flipped(:, :), columns(:, :)
    integer(i64) :: j
    integer :: stat

    info = status_of([m, n, k], .true., b_form >= B_PLAIN .and. b_form <= B_PACKED .and. &
      is_activation(activation) .and. threads >= 1)
    if (info /= FQ_OK .or. min(m, n) == 0) return
    if (k == 0) then
      call fill_rows(n, m, has_bias, bias, activation, slope, c)
      return
    end if
    if (b_form == B_PACKED .or. n > NARROW .or. (n > FEW_DOTS .and. m < 4*LANES)) then
      call multiply_items(m, n, k, lda, a, a_transposed, ldb, b, b_form, has_bias, bias, &
        activation, slope, c, threads, info)
      return
    end if
    ! Few columns would leave vectors empty: the transpose of the product has few rows instead.
    allocate (flipped(m, n), stat=stat)
    if (stat == 0) allocate (columns(k, merge(n, 0_i64, b_form == B_PLAIN)), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    if (b_form == B_PLAIN) then
      do j = 1, n
        columns(:, j) = b(j, 1:k)
      end do
      call multiply_items(n, m, k, k, columns, .false., lda, a, merge(B_PLAIN, B_TRANSPOSED, &
        a_transposed), .false., bias, ACT_NONE, slope, flipped, threads, info)
    else
      call multiply_items(n, m, k, k, b, .false., lda, a, merge(B_PLAIN, B_TRANSPOSED, &
        a_transposed), .false., bias, ACT_NONE, slope, flipped, threads, info)
    end if
    if (info /= FQ_OK) return
    do j = 1, n
      c(j, :) = flipped(:, j)
    end do
    call finish_rows(part(0_i64, m, 0_i64, n), bias, epilogue(has_bias, activation, slope), n, c)
  end subroutine matmul_blocked

  !> The same without a look at the shape.
  subroutine multiply_items(m, n, k, lda, a, a_transposed, ldb, b, b_form, has_bias, bias, &
    activation, slope, c, threads, info)
    integer(i64), intent(in) :: m, n, k, lda, ldb
    real(wp), intent(in) :: a(lda, *), b(ldb, *), bias(*), slope
    logical, intent(in) :: a_transposed, has_bias
    integer(i32), intent(in) :: b_form, activation, threads
    real(wp), intent(out) :: c(n, m)
    integer(i32), intent(out) :: info
    real(wp), allocatable :: scratch(:, :)
    type(share) :: shared
    integer(i64) :: items, across, rows, panels, item, row, block_size
    integer(i32) :: team
    logical :: few
    integer :: t, stat

    few = b_form == B_PLAIN .and. m <= FEW_PLAIN
    shared = divide(m, n, k, merge(FEW_COLS, BLOCK_COLS, few), threads)
    team = shared%team
    items = shared%items
    across = shared%across
    rows = shared%rows
    panels = shared%panels
    block_size = block_entries(min(k, BLOCK_STEPS), panels_read(1_i64, panels))
    if (b_form == B_PACKED) block_size = 0
    if (few) block_size = FEW_PLAIN*LANES*panels
    allocate (scratch(block_size + ROW_STEPS*TILE_ROWS + LINE, team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    if (team == 1) then
      do item = 0, items - 1
        call do_item(item, across, rows, panels, n, m, k, lda, a, a_transposed, ldb, b, b_form, &
          has_bias, bias, activation, slope, c, block_size, scratch)
      end do
    else
      !$omp parallel do default(none) private(t) num_threads(team) schedule(dynamic) shared(n, k, &
      !$omp   m, lda, a, a_transposed, ldb, b, b_form, has_bias, bias, activation, slope, c, &
      !$omp   scratch, items, across, rows, panels, block_size)
      do item = 0, items - 1
        t = 1
        !$ t = omp_get_thread_num() + 1
        call do_item(item, across, rows, panels, n, m, k, lda, a, a_transposed, ldb, b, b_form, &
          has_bias, bias, activation, slope, c, block_size, scratch(1, t))
      end do
    end if
    if (activation == ACT_SOFTMAX .and. across > 1) then
      !$omp parallel do default(none) shared(activation, slope, c, m) schedule(static) &
      !$omp num_threads(team) if(team > 1)
      do row = 1, m
        call activate_row(activation, slope, c(:, row))
      end do
    end if
  end subroutine multiply_items

  !> One item of the division: its part of the product, bias and activation.
  subroutine do_item(item, across, rows, panels, n, m, k, lda, a, a_transposed, ldb, b, b_form, &
    has_bias, bias, activation, slope, c, block_size, scratch)
    integer(i64), intent(in) :: item, across, rows, panels, n, m, k, lda, ldb, block_size
    real(wp), intent(in) :: a(lda, *), b(ldb, *), bias(*), slope
    logical, intent(in) :: a_transposed, has_bias
    integer(i32), intent(in) :: b_form, activation
    real(wp), intent(inout) :: c(n, *), scratch(*)
    integer(i64) :: row, last_row, col, last_col, start

    start = aligned_start(scratch, storage_size(scratch(1)))
    col = mod(item, across)*panels*LANES
    last_col = min(col + panels*LANES, n)
    row = item/across*rows
    last_row = min(row + rows, m)
    call multiply_item(n, m, k, lda, a, a_transposed, ldb, b, b_form, c, row, last_row, col, &
      last_col, scratch(start), scratch(start + block_size))
    call finish_rows(part(row, last_row, col, last_col), bias, epilogue(has_bias, activation, &
      slope), n, c)
  end subroutine do_item

  !> `c = activation(a dequantize(b)**T + bias)`, b in panels of codes.
  !>
  !> The same bits as `matmul_blocked` with the reals that the codes stand for.
  subroutine matmul_codes(n, a, group_size, halves, codes, scale, zero_point, has_minimum, &
    minimum, has_bias, bias, activation, slope, c, threads, info)
    integer(i64), intent(in) :: n                               !! columns of the product
    real(wp), intent(in), contiguous :: a(:, :)                 !! left matrix, `(k, m)`
    integer(i64), intent(in) :: group_size                      !! steps of a group
    logical, intent(in) :: halves                               !! two codes a byte
    integer(i8), intent(in), contiguous :: codes(:, :, :)       !! bytes, `(LANES, steps, panels)`
    real(wp), intent(in), contiguous :: scale(:, :, :)  !! step of a code, `(LANES, groups, panels)`
    integer(i8), intent(in), contiguous :: zero_point(:, :, :)  !! code of 0, the same shape
    logical, intent(in) :: has_minimum                          !! else minimum is not looked at
    real(wp), intent(in), contiguous :: minimum(:, :, :)        !! value of code `zero_point`
    logical, intent(in) :: has_bias                             !! else bias is not looked at
    real(wp), intent(in) :: bias(*)                             !! added to each row, `(n)`
    integer(i32), intent(in) :: activation                      !! one of ACT_...
    real(wp), intent(in) :: slope                               !! of ACT_LEAKY_RELU
    real(wp), intent(out), contiguous :: c(:, :)                !! product, `(n, m)`
    integer(i32), intent(in) :: threads                         !! threads to use, at least 1
    integer(i32), intent(out) :: info                           !! FQ_OK or FQ_NO_MEMORY
    real(wp), allocatable :: scratch(:, :)
    type(share) :: shared
    integer(i64) :: m, k, items, across, rows, panels, item, row, block_size
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
    block_size = block_entries(min(k, BLOCK_STEPS), panels_read(1_i64, panels))
    allocate (scratch(block_size + ROW_STEPS*TILE_ROWS + LINE, team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    !$omp parallel do default(none) private(t) num_threads(team) schedule(dynamic) if(team > 1) &
    !$omp   shared(n, m, k, a, group_size, halves, codes, scale, zero_point, has_minimum, &
    !$omp   minimum, has_bias, bias, activation, slope, c, scratch, items, across, rows, panels, &
    !$omp   block_size)
    do item = 0, items - 1
      t = 1
      !$ t = omp_get_thread_num() + 1
      call do_code_item(item, across, rows, panels, n, m, k, a, group_size, halves, codes, scale, &
        zero_point, has_minimum, minimum, has_bias, bias, activation, slope, c, block_size, &
        scratch(1, t))
    end do
    if (activation == ACT_SOFTMAX .and. across > 1) then
      !$omp parallel do default(none) shared(activation, slope, c, m) schedule(static) &
      !$omp num_threads(team) if(team > 1)
      do row = 1, m
        call activate_row(activation, slope, c(:, row))
      end do
    end if
  end subroutine matmul_codes

  !> One item of the division.
  subroutine do_code_item(item, across, rows, panels, n, m, k, a, group_size, halves, codes, &
    scale, zero_point, has_minimum, minimum, has_bias, bias, activation, slope, c, block_size, &
    scratch)
    integer(i64), intent(in) :: item, across, rows, panels, n, m, k, group_size, block_size
    real(wp), intent(in) :: a(k, m), bias(*), slope
    logical, intent(in) :: halves, has_minimum, has_bias
    integer(i8), intent(in), contiguous :: codes(:, :, :), zero_point(:, :, :)
    real(wp), intent(in), contiguous :: scale(:, :, :), minimum(:, :, :)
    integer(i32), intent(in) :: activation
    real(wp), intent(inout) :: c(n, *), scratch(*)
    integer(i64) :: row, last_row, col, last_col, start, step, steps, p, first, last

    start = aligned_start(scratch, storage_size(scratch(1)))
    col = mod(item, across)*panels*LANES
    last_col = min(col + panels*LANES, n)
    row = item/across*rows
    last_row = min(row + rows, m)
    first = col/LANES + 1
    last = (last_col + LANES - 1)/LANES
    if (m == 1 .and. .not. has_minimum) then
      do p = first, last, CODE_PANELS
        call multiply_code_row(k, group_size, halves, a, codes, zero_point, scale, p, min(p &
          + CODE_PANELS - 1, last), n, c)
      end do
    else
      do step = 0, k - 1, BLOCK_STEPS
        steps = min(BLOCK_STEPS, k - step)
        do p = first, last
          call spread_panel(step, steps, group_size, halves, codes(:, :, p), scale(:, :, p), &
            zero_point(:, :, p), has_minimum, minimum(:, :, merge(p, 1_i64, has_minimum)), &
            scratch(start + (p - first)*(steps + 1)*LANES))
        end do
        call clear_panels(last - first + 1, panels_read(last_row - row, last - first + 1), steps, &
          scratch(start))
      call multiply_block(k, a, .false., part(row, last_row, col, last_col), &
          step, steps, steps + 1, scratch(start), n, &
          c, scratch(start + block_size))
      end do
    end if
    call finish_rows(part(row, last_row, col, last_col), bias, epilogue(has_bias, activation, &
      slope), n, c)
  end subroutine do_code_item

  !> Zeros in the panels that wide tiles read behind the last.
  pure subroutine clear_panels(filled, read, steps, block)
    integer(i64), intent(in) :: filled, read, steps
    real(wp), intent(inout) :: block(LANES, steps + 1, *)

    if (read > filled) block(:, 1:steps, filled + 1:read) = 0
  end subroutine clear_panels

  !> Columns of one row's product that panels `first ... last` make, at most CODE_PANELS.
  pure subroutine multiply_code_row(k, group_size, halves, x, codes, zero_point, scale, first, &
    last, n, c)
    integer(i64), intent(in) :: k, group_size, first, last, n
    logical, intent(in) :: halves
    real(wp), intent(in) :: x(k)
    integer(i8), intent(in), contiguous :: codes(:, :, :), zero_point(:, :, :)
    real(wp), intent(in), contiguous :: scale(:, :, :)
    real(wp), intent(inout) :: c(n)
    real(wp) :: total(LANES, CODE_PANELS)
    integer(i64) :: p, stride, groups, cols

    stride = size(codes, 2, kind=i64)
    groups = size(scale, 2, kind=i64)
    if (last - first + 1 == CODE_PANELS) then
      if (halves) then
        call half_row(k, group_size, stride, groups, x, codes(:, :, first:last), zero_point(:, :, &
          first:last), scale(:, :, first:last), total)
      else
        call byte_row(k, group_size, stride, groups, x, codes(:, :, first:last), zero_point(:, :, &
          first:last), scale(:, :, first:last), total)
      end if
    else
      do p = first, last
        if (halves) then
          call half_row_one(k, group_size, stride, groups, x, codes(:, :, p), zero_point(:, :, &
            p), scale(:, :, p), total(:, p - first + 1))
        else
          call byte_row_one(k, group_size, stride, groups, x, codes(:, :, p), zero_point(:, :, &
            p), scale(:, :, p), total(:, p - first + 1))
        end if
      end do
    end if
    do p = first, last
      cols = min(int(LANES, i64), n - (p - 1)*LANES)
      c((p - 1)*LANES + 1:(p - 1)*LANES + cols) = total(1:cols, p - first + 1)
    end do
  end subroutine multiply_code_row

  pure subroutine byte_row(k, group_size, stride, groups, x, codes, zero_point, scale, total)
    integer, parameter :: P = CODE_PANELS
    include 'fq_code_row.inc'
  end subroutine byte_row

  pure subroutine byte_row_one(k, group_size, stride, groups, x, codes, zero_point, scale, total)
    integer, parameter :: P = 1
    include 'fq_code_row.inc'
  end subroutine byte_row_one

  pure subroutine half_row(k, group_size, stride, groups, x, codes, zero_point, scale, total)
    integer, parameter :: P = CODE_PANELS
    include 'fq_half_row.inc'
  end subroutine half_row

  pure subroutine half_row_one(k, group_size, stride, groups, x, codes, zero_point, scale, total)
    integer, parameter :: P = 1
    include 'fq_half_row.inc'
  end subroutine half_row_one

  !> `c = activation(a w**T + bias)`, w levels of a table, times scales, given by codes of 4 bits.
  !>
  !> The same bits as `matmul_blocked` with panels of these reals.
  subroutine matmul_levels(n, a, group_size, codes, pairs, scale, has_bias, bias, activation, &
    slope, c, threads, info)
    integer(i64), intent(in) :: n                           !! columns of the product
    real(wp), intent(in), contiguous :: a(:, :)             !! left matrix, `(k, m)`
    integer(i64), intent(in) :: group_size                  !! steps of a group
    integer(i8), intent(in), contiguous :: codes(:, :, :)   !! two a byte, `(LANES/2, k, panels)`
    real(wp), intent(in) :: pairs(2, 0:255)                 !! levels of the halves of a byte
    real(wp), intent(in), contiguous :: scale(:, :, :)      !! factors, `(LANES, groups, panels)`
    logical, intent(in) :: has_bias                         !! else bias is not looked at
    real(wp), intent(in) :: bias(*)                         !! added to each row, `(n)`
    integer(i32), intent(in) :: activation                  !! one of ACT_...
    real(wp), intent(in) :: slope                           !! of ACT_LEAKY_RELU
    real(wp), intent(out), contiguous :: c(:, :)            !! product, `(n, m)`
    integer(i32), intent(in) :: threads                     !! threads to use, at least 1
    integer(i32), intent(out) :: info                       !! FQ_OK or FQ_NO_MEMORY
    real(wp), allocatable :: scratch(:, :)
    type(share) :: shared
    integer(i64) :: m, k, items, across, rows, panels, item, row, block_size
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
    block_size = block_entries(min(k, BLOCK_STEPS), panels_read(1_i64, panels))
    allocate (scratch(block_size + ROW_STEPS*TILE_ROWS + LINE, team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    !$omp parallel do default(none) private(t) num_threads(team) schedule(dynamic) if(team > 1) &
    !$omp   shared(n, m, k, a, group_size, codes, pairs, scale, has_bias, bias, activation, slope, &
    !$omp   c, scratch, items, across, rows, panels, block_size)
    do item = 0, items - 1
      t = 1
      !$ t = omp_get_thread_num() + 1
      call do_level_item(item, across, rows, panels, n, m, k, a, group_size, codes, pairs, &
        size(scale, 2, kind=i64), scale, has_bias, bias, activation, slope, c, block_size, &
        scratch(1, t))
    end do
    if (activation == ACT_SOFTMAX .and. across > 1) then
      !$omp parallel do default(none) shared(activation, slope, c, m) schedule(static) &
      !$omp num_threads(team) if(team > 1)
      do row = 1, m
        call activate_row(activation, slope, c(:, row))
      end do
    end if
  end subroutine matmul_levels

  !> One item of the division.
  subroutine do_level_item(item, across, rows, panels, n, m, k, a, group_size, codes, pairs, &
    groups, scale, has_bias, bias, activation, slope, c, block_size, scratch)
    integer(i64), intent(in) :: item, across, rows, panels, n, m, k, group_size, groups, block_size
    real(wp), intent(in) :: a(k, m), pairs(2, 0:255), scale(LANES, groups, *), bias(*), slope
    integer(i8), intent(in) :: codes(LANES/2, k, *)
    logical, intent(in) :: has_bias
    integer(i32), intent(in) :: activation
    real(wp), intent(inout) :: c(n, *), scratch(*)
    integer(i64) :: row, last_row, col, last_col, start, step, steps, p, first, last

    start = aligned_start(scratch, storage_size(scratch(1)))
    col = mod(item, across)*panels*LANES
    last_col = min(col + panels*LANES, n)
    row = item/across*rows
    last_row = min(row + rows, m)
    first = col/LANES + 1
    last = (last_col + LANES - 1)/LANES
    if (m == 1) then
      call multiply_level_row(k, group_size, groups, a, codes, pairs, scale, first, last, n, c)
    else
      do step = 0, k - 1, BLOCK_STEPS
        steps = min(BLOCK_STEPS, k - step)
        do p = first, last
          call spread_levels(step, steps, group_size, codes(1, step + 1, p), pairs, scale(1, 1, &
            p), scratch(start + (p - first)*(steps + 1)*LANES))
        end do
        call clear_panels(last - first + 1, panels_read(last_row - row, last - first + 1), steps, &
          scratch(start))
      call multiply_block(k, a, .false., part(row, last_row, col, last_col), &
          step, steps, steps + 1, scratch(start), n, &
          c, scratch(start + block_size))
      end do
    end if
    call finish_rows(part(row, last_row, col, last_col), bias, epilogue(has_bias, activation, &
      slope), n, c)
  end subroutine do_level_item

  !> Columns of one row's product that panels `first ... last` make.
  pure subroutine multiply_level_row(k, group_size, groups, x, codes, pairs, scale, first, last, &
    n, c)
    integer(i64), intent(in) :: k, group_size, groups, first, last, n
    real(wp), intent(in) :: x(k), pairs(2, 0:255), scale(LANES, groups, *)
    integer(i8), intent(in) :: codes(LANES/2, k, *)
    real(wp), intent(inout) :: c(n)
    real(wp) :: total(LANES, CODE_PANELS)
    integer(i64) :: p, wide, j, cols

    p = first
    do while (p <= last)
      wide = merge(int(CODE_PANELS, i64), 1_i64, last - p + 1 >= CODE_PANELS)
      if (wide > 1) then
        call level_row(k, group_size, groups, x, codes(1, 1, p), pairs, scale(1, 1, p), total)
      else
        call level_row_one(k, group_size, groups, x, codes(1, 1, p), pairs, scale(1, 1, p), total)
      end if
      do j = 0, wide - 1
        cols = min(int(LANES, i64), n - (p + j - 1)*LANES)
        c((p + j - 1)*LANES + 1:(p + j - 1)*LANES + cols) = total(1:cols, j + 1)
      end do
      p = p + wide
    end do
  end subroutine multiply_level_row

  pure subroutine level_row(k, group_size, groups, x, codes, pairs, scale, total)
    integer, parameter :: P = CODE_PANELS
    include 'fq_level_row.inc'
  end subroutine level_row

  pure subroutine level_row_one(k, group_size, groups, x, codes, pairs, scale, total)
    integer, parameter :: P = 1
    include 'fq_level_row.inc'
  end subroutine level_row_one

  !> Steps `step + 1 ... step + steps` of a panel as reals, levels times scales.
  pure subroutine spread_levels(step, steps, group_size, codes, pairs, scale, block)
    integer(i64), intent(in) :: step, steps, group_size
    integer(i8), intent(in) :: codes(LANES/2, steps)
    real(wp), intent(in) :: pairs(2, 0:255), scale(LANES, *)
    real(wp), intent(inout) :: block(LANES, steps)
    integer(i64) :: first, last, g, s
    integer :: l

    first = 1
    do while (first <= steps)
      g = (step + first - 1)/group_size + 1
      last = min(steps, g*group_size - step, first + CODE_RUN - 1)
      call read_levels(LANES/2*(last - first + 1), codes(1, first), pairs, block(1, first))
      !GCC$ novector
      do s = first, last
        do l = 1, LANES
          block(l, s) = block(l, s)*scale(l, g)
        end do
      end do
      first = last + 1
    end do
  end subroutine spread_levels

  !> Levels of bytes of two codes: one load and one store of both, which is what a byte costs.
  pure subroutine read_levels(n, codes, pairs, values)
    integer(i64), intent(in) :: n
    integer(i8), intent(in) :: codes(n)
    real(wp), intent(in) :: pairs(2, 0:255)
    real(wp), intent(inout) :: values(2, n)
    integer(i64) :: i

    !GCC$ unroll 8
    do i = 1, n
      values(:, i) = pairs(:, iand(int(codes(i)), 255))
    end do
  end subroutine read_levels

  !> Panels of codes for `matmul_codes`.
  subroutine pack_codes(n, k, codes, halves, panels, threads)
    integer(i64), intent(in) :: n, k                          !! rows of weights; steps
    integer(i8), intent(in), contiguous :: codes(:, :)  !! codes, `(k, n)`; `0 ... 15` if halves
    logical, intent(in) :: halves                             !! two codes a byte
    integer(i8), intent(out), contiguous :: panels(:, :, :)   !! bytes, `(LANES, ..., panels)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i64) :: p

    !$omp parallel do default(none) shared(n, k, codes, halves, panels) num_threads(threads) &
    !$omp schedule(static) if(n*k > SMALL_WORK)
    do p = 1, size(panels, 3, kind=i64)
      call pack_code_panel(k, min(int(LANES, i64), n - (p - 1)*LANES), codes(:, (p - 1)*LANES &
        + 1:), halves, panels(:, :, p))
    end do
  end subroutine pack_codes

  !> Rows `row + 1 ... last_row` and columns `col + 1 ... last_col` of the product.
  pure subroutine multiply_item(n, m, k, lda, a, a_transposed, ldb, b, b_form, c, row, last_row, &
    col, last_col, block, rows)
    integer(i64), intent(in) :: n, m, k, lda, ldb, row, last_row, col, last_col
    real(wp), intent(in) :: a(lda, *), b(ldb, *)
    logical, intent(in) :: a_transposed
    integer(i32), intent(in) :: b_form
    real(wp), intent(inout) :: c(n, *), block(*), rows(*)
    integer(i64) :: step, steps, panels

    if (b_form == B_TRANSPOSED .and. m <= FEW_DOTS .and. .not. a_transposed) then
      call dot_rows(k, m, a, b, n, c, col, last_col)
      return
    end if
    panels = (last_col - col + LANES - 1)/LANES
    do step = 0, k - 1, BLOCK_STEPS
      steps = min(BLOCK_STEPS, k - step)
      if (b_form == B_PACKED) then
      call multiply_block(lda, a, a_transposed, part(row, last_row, col, last_col), &
          step, steps, steps, b(1, panel_at(n, step, steps, col)), n, &
          c, rows)
      else if (b_form == B_PLAIN .and. m <= FEW_PLAIN) then
        call copy_rows(lda, a, a_transposed, row, m, m, step, steps, rows)
        call add_plain(m, step, steps, rows, ldb, b, step == 0, n, c, col, last_col, block)
      else
        call pack_block(ldb, b, b_form == B_TRANSPOSED, step, steps, col, last_col, &
          panels_read(last_row - row, panels), steps + 1, block)
      call multiply_block(lda, a, a_transposed, part(row, last_row, col, last_col), &
          step, steps, steps + 1, block, n, &
          c, rows)
      end if
    end do
  end subroutine multiply_item

  !> Panels of op(b) for `matmul_blocked`: for each block of steps all panels, and zeros behind.
  subroutine pack_panels(n, k, b, b_transposed, packed, threads)
    integer(i64), intent(in) :: n, k                   !! columns of op(b); rows
    real(wp), intent(in), contiguous :: b(:, :)        !! right matrix, as `matmul_blocked`
    logical, intent(in) :: b_transposed                !! whether b is given as its transpose
    real(wp), intent(out) :: packed(LANES, packed_vectors(n, k))  !! panels, `(LANES, vectors)`
    integer(i32), intent(in) :: threads                !! threads to use, at least 1
    integer(i64), parameter :: PANELS = 8
    integer(i64) :: col, last_col, step, steps, at

    if (min(n, k) == 0) then
      packed = 0
      return
    end if
    !$omp parallel do default(none) private(last_col, step, steps, at) num_threads(threads) &
    !$omp shared(n, k, b, b_transposed, packed) schedule(static) if(n*k > SMALL_WORK)
    do col = 0, n - 1, PANELS*LANES
      last_col = min(col + PANELS*LANES, n)
      do step = 0, k - 1, BLOCK_STEPS
        steps = min(BLOCK_STEPS, k - step)
        at = panel_at(n, step, steps, col)
        call pack_block(size(b, 1, kind=i64), b, b_transposed, step, steps, col, last_col, &
          (last_col - col + LANES - 1)/LANES, steps, packed(1, at))
      end do
    end do
    packed(:, panel_at(n, k, 0_i64, 0_i64):) = 0
  end subroutine pack_panels

  !> Vectors of a packed matrix: all panels, and what a wide tile that starts at the last one reads
  !> behind it.
  pure function packed_vectors(n, k) result(vectors)
    integer(i64), intent(in) :: n, k
    integer(i64) :: vectors, panels

    panels = (n + LANES - 1)/LANES
    vectors = panels*k + (SINGLE_PANELS - 1)*min(k, BLOCK_STEPS)
  end function packed_vectors

  !> Whether a left matrix, `(k, m)` or its transpose, has the extents of a product.
  pure function fits_left(m, k, rows, cols, transposed) result(fits)
    integer(i64), intent(in) :: m, k, rows, cols
    logical, intent(in) :: transposed
    logical :: fits

    fits = merge(rows == k .and. cols == m, rows == m .and. cols == k, transposed)
  end function fits_left

  !> Whether a right matrix, in any form, has the extents of a product.
  pure function fits_right(n, k, rows, cols, form) result(fits)
    integer(i64), intent(in) :: n, k, rows, cols
    integer(i32), intent(in) :: form
    logical :: fits

    select case (form)
    case (B_PLAIN)
      fits = rows == k .and. cols == n
    case (B_TRANSPOSED)
      fits = rows == n .and. cols == k
    case (B_PACKED)
      fits = rows == packed_vectors(n, k) .and. cols == LANES
    case default  ! which is told as a form that there is not
      fits = .true.
    end select
  end function fits_right

  !> Vector of a packed matrix where a panel of a block of steps starts.
  pure function panel_at(n, step, steps, col) result(at)
    integer(i64), intent(in) :: n, step, steps, col
    integer(i64) :: at

    at = (n + LANES - 1)/LANES*step + col/LANES*steps + 1
  end function panel_at

  !> Columns `col + 1 ... last_col` of some steps of op(b) as panels, filled up with zeros.
  pure subroutine pack_block(ldb, b, transposed, step, steps, col, last_col, panels, stride, block)
    integer(i64), intent(in) :: ldb, step, steps, col, last_col, panels, stride
    real(wp), intent(in) :: b(ldb, *)
    logical, intent(in) :: transposed
    real(wp), intent(inout) :: block(LANES, stride, panels)
    integer(i64) :: whole, rest, j, s

    whole = (last_col - col)/LANES
    rest = last_col - col - whole*LANES
    do j = whole + 1, panels
      block(:, 1:steps, j) = 0
    end do
    if (transposed) then
      do j = 1, whole
        call transpose_panel(steps, ldb, b(step + 1, col + (j - 1)*LANES + 1), block(1, 1, j))
      end do
      do j = 1, rest
        block(j, 1:steps, whole + 1) = b(step + 1:step + steps, col + whole*LANES + j)
      end do
    else
      do s = 1, steps  ! along the rows of b, which follow each other in memory
        do j = 1, whole
          block(:, s, j) = b(col + (j - 1)*LANES + 1:col + j*LANES, step + s)
        end do
      end do
      do s = 1, merge(steps, 0_i64, rest > 0)
        block(1:rest, s, whole + 1) = b(col + whole*LANES + 1:last_col, step + s)
      end do
    end if
  end subroutine pack_block

  !> One panel from rows of the transpose: becomes permutations of whole vectors, `vpermt2ps`.
  pure subroutine transpose_panel(steps, ldb, b, panel)
    integer(i64), intent(in) :: steps, ldb
    real(wp), intent(in) :: b(ldb, LANES)
    real(wp), intent(out) :: panel(LANES, steps)
    integer(i64) :: s
    integer :: l

    do s = 1, steps
      !GCC$ unroll 16
      do l = 1, LANES
        panel(l, s) = b(s, l)
      end do
    end do
  end subroutine transpose_panel

  !> Columns of the product of a few rows: rows of b, scaled, are added where they lie, four at a
  !> time.
  pure subroutine add_plain(m, step, steps, rows, ldb, b, fresh, ldc, c, col, last_col, sums)
    integer(i64), intent(in) :: m, step, steps, ldb, ldc, col, last_col
    real(wp), intent(in) :: rows(ROW_STEPS, *), b(ldb, *)
    logical, intent(in) :: fresh
    real(wp), intent(inout) :: c(ldc, *), sums(last_col - col, *)
    integer(i64) :: i, s

    sums(:, 1:m) = 0
    do s = 1, steps - 3, 4
      do i = 1, m
        call add_four(last_col - col, rows(s, i), b(col + 1, step + s), b(col + 1, step + s + 1), &
          b(col + 1, step + s + 2), b(col + 1, step + s + 3), sums(1, i))
      end do
    end do
    do s = steps/4*4 + 1, steps
      do i = 1, m
        sums(:, i) = sums(:, i) + rows(s, i)*b(col + 1:last_col, step + s)
      end do
    end do
    do i = 1, m
      if (fresh) then
        c(col + 1:last_col, i) = sums(:, i)
      else
        c(col + 1:last_col, i) = c(col + 1:last_col, i) + sums(:, i)
      end if
    end do
  end subroutine add_plain

  pure subroutine add_four(n, a, b1, b2, b3, b4, sums)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: a(4), b1(n), b2(n), b3(n), b4(n)
    real(wp), intent(inout) :: sums(n)

    sums = (((sums + a(1)*b1) + a(2)*b2) + a(3)*b3) + a(4)*b4
  end subroutine add_four
end module fq_matmul_real32
