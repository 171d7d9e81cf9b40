!> Products of mixed precision: weights and results of float32 or less, and sums in float64.
!>
!> Python: `pyfq/products/mixed.py`.  Reference: `pyfq/reference/products/mixed.py`.
module fq_mixed
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: is_activation
  use fq_align, only: aligned_start
  use fq_arguments, only: status_of
  use fq_dense_real32, only: pack_block, panel_at
  use fq_epilogue_real32, only: epilogue
  use fq_factors, only: B_PACKED, B_PLAIN, B_TRANSPOSED, factors, is_order
  use fq_finish_real32, only: fill_rows, finish_rows, finish_softmax
  use fq_gemm_real32, only: BLOCK_STEPS, LANES
  use fq_gemm_real64, only: block_entries, divide, multiply_block, panels_read, &
    WIDE_COLS => BLOCK_COLS, WIDE_LANES => LANES, WIDE_LINE => LINE, WIDE_ROW_STEPS => ROW_STEPS, &
    WIDE_STEPS => BLOCK_STEPS, WIDE_TILE_ROWS => TILE_ROWS
  use fq_half, only: widen_words
  use fq_kinds, only: dp, i8, i32, i64, wp => sp
  use fq_share, only: part, part_of, share
  use fq_status, only: FQ_NO_MEMORY, FQ_NOT_KNOWN, FQ_OK
  use fq_stored_layer, only: FORMAT_DENSE, FORMAT_HALF, FORMAT_PANELS, stored_layer
  use fq_widened_panels_real64, only: clear_panels
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: matmul_float64, multiply_layer_float64

  ! Rows of a left matrix that the right one becomes float64 for in registers, and rows of its
  ! transpose, or panels, that are then read side by side.
  integer(i64), parameter :: FEW_WIDE_ROWS = 3
  integer, parameter :: WIDE_DOTS = 4, WIDE_PANELS = 4
  ! Steps of WIDE_PANELS panels whose 2-byte weights are float32 at a time, in L1.
  integer(i64), parameter :: WIDE_RUN = 64
  ! Entries of workspace for the rows of a tile, which come first.
  integer(i64), parameter :: ROWS_SIZE = WIDE_ROW_STEPS*WIDE_TILE_ROWS

  !> A right matrix that becomes float64 part by part.
  type, abstract :: wide_source
    integer(i64) :: few_rows = 0   !! rows of the left matrix that `sum_few_rows` takes at most
  contains
    procedure(split_columns), deferred :: widen
    procedure(sums_of_few_rows), deferred :: sum_few_rows
  end type wide_source

  abstract interface
    !> Some steps of the LANES columns behind `col` as two panels of float64.
    pure subroutine split_columns(self, col, step, steps, values, block)
      import :: dp, i64, LANES, wide_source, WIDE_LANES, WIDE_STEPS, wp
      implicit none (type, external)
      class(wide_source), intent(in) :: self
      integer(i64), intent(in) :: col, step, steps
      real(wp), intent(inout) :: values(LANES, WIDE_STEPS + 1)
      real(dp), intent(inout) :: block(WIDE_LANES*(steps + 1), 2)
    end subroutine split_columns

    !> Columns of a part of a product of no more than `few_rows` rows, next to each other.
    pure subroutine sums_of_few_rows(self, k, m, a, piece, sums)
      import :: dp, i64, part, wide_source
      implicit none (type, external)
      class(wide_source), intent(in) :: self
      integer(i64), intent(in) :: k, m
      real(dp), intent(in) :: a(k, m)
      type(part), intent(in) :: piece
      real(dp), intent(inout) :: sums(piece%last_col - piece%col, m)
    end subroutine sums_of_few_rows
  end interface

  !> Reals in rows, columns or panels.
  type, extends(wide_source) :: wide_reals
    type(factors) :: given
    real(wp), pointer, contiguous :: b(:, :)
  contains
    procedure :: widen => widen_reals
    procedure :: sum_few_rows => sum_few_reals
  end type wide_reals

  !> Panels of 2-byte values.
  type, extends(wide_source) :: wide_half
    integer(i32) :: format
    integer(i32), pointer, contiguous :: words(:, :, :)
  contains
    procedure :: widen => split_half
    procedure :: sum_few_rows => sum_few_half
  end type wide_half

contains

  !> `c = activation(op(a) op(b) + bias)`, products, sums and bias in float64, rounded once.
  subroutine matmul_float64(given, a, b, bias, after, c, threads, info)
    type(factors), intent(in) :: given          !! extents of a, b and c, and how a and b lie
    real(wp), intent(in) :: a(given%lda, *)     !! left matrix, `(k, m)`, or `(m, k)` if transposed
    real(wp), intent(in), target, contiguous :: b(:, :)  !! right one, `(n, k)`, `(k, n)` or panels
    real(wp), intent(in) :: bias(*)             !! added to each row of the product, `(n)`
    type(epilogue), intent(in) :: after         !! what is done to each sum
    real(wp), intent(out) :: c(given%n, given%m)  !! product, `(n, m)`
    integer(i32), intent(in) :: threads         !! threads to use, at least 1
    integer(i32), intent(out) :: info           !! FQ_OK or FQ_NO_MEMORY
    type(wide_reals) :: weights

    if (given%b_order /= B_PLAIN) weights%few_rows = FEW_WIDE_ROWS
    weights%given = given
    weights%b => b
    call multiply_parts_float64(weights, given, a, bias, after, c, threads, info)
  end subroutine matmul_float64

  !> The same of a layer whose weights are reals or 2-byte floats.
  subroutine multiply_layer_float64(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer                   !! of DENSE, PANELS or HALF
    integer(i8), intent(in), target, contiguous :: memory(:)  !! where its arrays are
    real(wp), intent(in), contiguous :: x(:, :)               !! inputs, `(k, m)`
    real(wp), intent(in) :: bias(*)                           !! added to each row, `(n)`
    type(epilogue), intent(in) :: after                       !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)              !! outputs, `(n, m)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! FQ_NOT_KNOWN of another format
    real(wp), pointer, contiguous :: w(:, :)
    integer(i32), pointer, contiguous :: words(:, :, :)
    type(factors) :: given
    logical :: is_packed

    select case (layer%format)
    case (FORMAT_DENSE, FORMAT_PANELS)
      is_packed = layer%format == FORMAT_PANELS
      given = factors(m=size(x, 2, kind=i64), n=layer%n, k=layer%k, lda=layer%k, &
        ldb=merge(int(LANES, i64), layer%k, is_packed), &
        b_order=merge(B_PACKED, B_TRANSPOSED, is_packed))
      call c_f_pointer(c_loc(memory(layer%weights + 1)), w, [given%ldb, layer%vectors])
      call matmul_float64(given, x, w, bias, after, y, threads, info)
    case (FORMAT_HALF)
      call c_f_pointer(c_loc(memory(layer%weights + 1)), words, [int(LANES, i64), &
        layer%row_steps, (layer%n + LANES - 1)/LANES])
      call multiply_half_wide(x, int(layer%float_format, i32), words, bias, after, y, threads, info)
    case default
      info = FQ_NOT_KNOWN
    end select
  end subroutine multiply_layer_float64

  !> The same for 2-byte weights, as `multiply_half` takes them.
  subroutine multiply_half_wide(a, format, words, bias, after, c, threads, info)
    real(wp), intent(in), contiguous :: a(:, :)                     !! left matrix, `(k, m)`
    integer(i32), intent(in) :: format                              !! one of HALF_...
    integer(i32), intent(in), target, contiguous :: words(:, :, :)  !! as `pack_half` makes them
    real(wp), intent(in) :: bias(*)                                 !! added to each row, `(n)`
    type(epilogue), intent(in) :: after                             !! what is done to each sum
    real(wp), intent(out), contiguous :: c(:, :)                    !! product, `(n, m)`
    integer(i32), intent(in) :: threads                             !! threads to use, at least 1
    integer(i32), intent(out) :: info                               !! FQ_OK or FQ_NO_MEMORY
    type(wide_half) :: weights
    type(factors) :: given

    given = factors(m=size(c, 2, kind=i64), n=size(c, 1, kind=i64), k=size(a, 1, kind=i64), &
      lda=size(a, 1, kind=i64))
    weights%few_rows = FEW_WIDE_ROWS
    weights%format = format
    weights%words => words
    call multiply_parts_float64(weights, given, a, bias, after, c, threads, info)
  end subroutine multiply_half_wide

  !> The product with any right matrix: the left one becomes float64 at once, the right one part by
  !> part.
  subroutine multiply_parts_float64(weights, given, a, bias, after, c, threads, info)
    class(wide_source), intent(in) :: weights
    type(factors), intent(in) :: given
    real(wp), intent(in) :: a(given%lda, *), bias(*)
    type(epilogue), intent(in) :: after
    real(wp), intent(out) :: c(given%n, given%m)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    real(dp), allocatable :: wide(:, :), scratch(:, :)
    real(wp), allocatable :: values(:, :)
    type(share) :: shared
    integer(i64) :: m, n, k, item, block_size, sums_size
    integer :: t, stat

    m = given%m
    n = given%n
    k = given%k
    info = status_of([m, n, k], .true., is_order(given%b_order) .and. &
      is_activation(after%activation) .and. threads >= 1)
    if (info /= FQ_OK .or. min(m, n) == 0) return
    if (k == 0) then
      call fill_rows(bias, after, c)
      return
    end if
    shared = divide(m, n, k, WIDE_COLS, threads)
    block_size = block_entries(min(k, WIDE_STEPS), panels_read(1_i64, shared%panels))
    sums_size = shared%panels*WIDE_LANES*shared%rows
    allocate (wide(k, m), stat=stat)
    if (stat == 0) then
      allocate (scratch(ROWS_SIZE + block_size + sums_size + 2*WIDE_LINE, shared%team), stat=stat)
    end if
    if (stat == 0) allocate (values(LANES*(WIDE_STEPS + 1), shared%team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    call widen_left(given, a, wide, shared%team)
    !$omp parallel do default(none) private(t) num_threads(shared%team) schedule(dynamic) &
    !$omp   if(shared%team > 1) shared(weights, n, m, k, wide, bias, after, c, scratch, values, &
    !$omp   shared, block_size)
    do item = 0, shared%items - 1
      t = 1
      !$ t = omp_get_thread_num() + 1
      call multiply_part_float64(weights, part_of(shared, item, int(WIDE_LANES, i64), m, n), k, &
        m, wide, bias, after, n, c, block_size, scratch(1, t), values(1, t))
    end do
    if (shared%across > 1) call finish_softmax(after, c, shared%team)
  end subroutine multiply_parts_float64

  !> The left matrix by rows, as float64.
  subroutine widen_left(given, a, wide, team)
    type(factors), intent(in) :: given
    real(wp), intent(in) :: a(given%lda, *)
    real(dp), intent(out) :: wide(given%k, given%m)
    integer(i32), intent(in) :: team
    integer(i64) :: j

    !$omp parallel do default(none) shared(given, a, wide) num_threads(team) schedule(static) &
    !$omp   if(team > 1)
    do j = 1, given%m
      if (given%a_transposed) then
        wide(:, j) = real(a(j, 1:given%k), dp)
      else
        wide(:, j) = real(a(:, j), dp)
      end if
    end do
  end subroutine widen_left

  !> One part of the product: its sums in float64, rounded with the bias, and the activation.
  subroutine multiply_part_float64(weights, piece, k, m, a, bias, after, n, c, block_size, &
    scratch, values)
    class(wide_source), intent(in) :: weights
    type(part), intent(in) :: piece
    integer(i64), intent(in) :: k, m, n, block_size
    real(dp), intent(in) :: a(k, m)
    real(wp), intent(in) :: bias(*)
    type(epilogue), intent(in) :: after
    real(wp), intent(inout) :: c(n, *), values(LANES, WIDE_STEPS + 1)
    real(dp), intent(inout) :: scratch(*)
    type(epilogue) :: activation_only
    integer(i64) :: rows, block, sums, cols, high

    rows = aligned_start(scratch, storage_size(scratch(1)))
    block = rows + ROWS_SIZE
    sums = block + block_size
    cols = piece%last_col - piece%col
    high = piece%last_row - piece%row
    if (m <= weights%few_rows) then
      call weights%sum_few_rows(k, m, a, piece, scratch(sums))
    else
      call sum_blocks(weights, piece, k, a(1, piece%row + 1), values, scratch(rows), &
        scratch(block), scratch(sums))
    end if
    call round_sums(cols, high, scratch(sums), after%has_bias, bias(piece%col + 1), n, &
      c(piece%col + 1, piece%row + 1))
    activation_only = after
    activation_only%has_bias = .false.
    call finish_rows(piece, bias, activation_only, n, c)
  end subroutine multiply_part_float64

  !> Sums of a part of many rows, next to each other; a starts with the part's rows.
  pure subroutine sum_blocks(weights, piece, k, a, values, rows, block, sums)
    class(wide_source), intent(in) :: weights
    type(part), intent(in) :: piece
    integer(i64), intent(in) :: k
    real(dp), intent(in) :: a(k, *)
    real(wp), intent(inout) :: values(LANES, WIDE_STEPS + 1)
    real(dp), intent(inout) :: rows(WIDE_ROW_STEPS, WIDE_TILE_ROWS), block(*), sums(*)
    type(part) :: inside
    integer(i64) :: step, steps, panels, p

    inside = part(0_i64, piece%last_row - piece%row, 0_i64, piece%last_col - piece%col)
    panels = (inside%last_col + LANES - 1)/LANES
    do step = 0, k - 1, WIDE_STEPS
      steps = min(WIDE_STEPS, k - step)
      do p = 0, panels - 1
        call weights%widen(piece%col + p*LANES, step, steps, values, block(2*p*(steps &
          + 1)*WIDE_LANES + 1))
      end do
      call clear_panels(2*panels, panels_read(inside%last_row, 2*panels), steps, block)
      call multiply_block(k, a, .false., inside, step, steps, steps + 1, block, inside%last_col, &
        sums, rows)
    end do
  end subroutine sum_blocks

  !> Some steps of LANES columns of op(b) as two panels of float64.
  pure subroutine widen_reals(self, col, step, steps, values, block)
    class(wide_reals), intent(in) :: self
    integer(i64), intent(in) :: col, step, steps
    real(wp), intent(inout) :: values(LANES, WIDE_STEPS + 1)
    real(dp), intent(inout) :: block(WIDE_LANES*(steps + 1), 2)

    associate (b => self%b)
      call split_reals(self%given, b, col, step, steps, values, block)
    end associate
  end subroutine widen_reals

  !> The same, where the matrix is an argument: loops over a component are slower.
  pure subroutine split_reals(given, b, col, step, steps, values, block)
    type(factors), intent(in) :: given
    real(wp), intent(in) :: b(given%ldb, *)
    integer(i64), intent(in) :: col, step, steps
    real(wp), intent(inout) :: values(LANES, WIDE_STEPS + 1)
    real(dp), intent(inout) :: block(WIDE_LANES*(steps + 1), 2)
    integer(i64) :: before

    if (given%b_order == B_PACKED) then
      before = step/BLOCK_STEPS*BLOCK_STEPS  ! steps before the packed block that these are in
      call split_panel(steps, b(1, panel_at(given%n, before, min(BLOCK_STEPS, given%k - before), &
        col) + step - before), block(1, 1), block(1, 2))
    else
      call pack_block(given%ldb, b, given%b_order == B_TRANSPOSED, step, steps, col, min(col &
        + LANES, given%n), 1_i64, steps, values)
      call split_panel(steps, values, block(1, 1), block(1, 2))
    end if
  end subroutine split_reals

  !> Some steps of a panel of 2-byte values as two panels of float64.
  pure subroutine split_half(self, col, step, steps, values, block)
    class(wide_half), intent(in) :: self
    integer(i64), intent(in) :: col, step, steps
    real(wp), intent(inout) :: values(LANES, WIDE_STEPS + 1)
    real(dp), intent(inout) :: block(WIDE_LANES*(steps + 1), 2)

    associate (words => self%words)
      call widen_words(self%format, (steps + 1)/2, words(:, step/2 + 1:step/2 + (steps + 1)/2, &
        col/LANES + 1), values)
    end associate
    call split_panel(steps, values, block(1, 1), block(1, 2))
  end subroutine split_half

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

  !> Columns of a part of a few rows times rows of the transpose, or panels of reals.
  pure subroutine sum_few_reals(self, k, m, a, piece, sums)
    class(wide_reals), intent(in) :: self
    integer(i64), intent(in) :: k, m
    real(dp), intent(in) :: a(k, m)
    type(part), intent(in) :: piece
    real(dp), intent(inout) :: sums(piece%last_col - piece%col, m)

    associate (b => self%b)
      if (self%given%b_order == B_TRANSPOSED) then
        call dot_wide_rows(k, m, a, b, piece%col, piece%last_col, sums)
      else
        call sum_panels(self%given%n, k, m, a, b, piece, sums)
      end if
    end associate
  end subroutine sum_few_reals

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

  !> Columns of a part of a few rows times panels of reals, next to each other.
  pure subroutine sum_panels(n, k, m, a, b, piece, sums)
    integer(i64), intent(in) :: n, k, m
    real(dp), intent(in) :: a(k, m)
    real(wp), intent(in) :: b(LANES, *)
    type(part), intent(in) :: piece
    real(dp), intent(inout) :: sums(piece%last_col - piece%col, m)
    real(dp) :: total(LANES, WIDE_PANELS, FEW_WIDE_ROWS)
    integer(i64) :: col, wide, step, steps, i

    col = piece%col
    do while (col < piece%last_col)
      wide = side_by_side(piece%last_col - col)
      total = 0
      do step = 0, k - 1, BLOCK_STEPS
        steps = min(BLOCK_STEPS, k - step)
        do i = 1, m
          call add_wide_row(wide, steps, steps, a(step + 1, i), b(1, panel_at(n, step, steps, &
            col)), total(1, 1, i))
        end do
      end do
      call store_total(col - piece%col, wide, piece%last_col - piece%col, m, total, sums)
      col = col + wide*LANES
    end do
  end subroutine sum_panels

  !> Columns of a part of a few rows times panels of 2-byte values, next to each other.
  pure subroutine sum_few_half(self, k, m, a, piece, sums)
    class(wide_half), intent(in) :: self
    integer(i64), intent(in) :: k, m
    real(dp), intent(in) :: a(k, m)
    type(part), intent(in) :: piece
    real(dp), intent(inout) :: sums(piece%last_col - piece%col, m)
    real(dp) :: total(LANES, WIDE_PANELS, FEW_WIDE_ROWS)
    real(wp) :: values(LANES, WIDE_RUN, WIDE_PANELS)
    integer(i64) :: col, wide, step, steps, i, j

    col = piece%col
    do while (col < piece%last_col)
      wide = side_by_side(piece%last_col - col)
      total = 0
      do step = 0, k - 1, WIDE_RUN
        steps = min(WIDE_RUN, k - step)
        associate (words => self%words)
          do j = 1, wide
            call widen_words(self%format, (steps + 1)/2, words(:, step/2 + 1:step/2 + (steps &
              + 1)/2, col/LANES + j), values(1, 1, j))
          end do
        end associate
        do i = 1, m
          call add_wide_row(wide, steps, WIDE_RUN, a(step + 1, i), values, total(1, 1, i))
        end do
      end do
      call store_total(col - piece%col, wide, piece%last_col - piece%col, m, total, sums)
      col = col + wide*LANES
    end do
  end subroutine sum_few_half

  !> Panels that are read side by side where so many columns are left: WIDE_PANELS, or one.
  pure function side_by_side(cols) result(wide)
    integer(i64), intent(in) :: cols
    integer(i64) :: wide

    wide = merge(int(WIDE_PANELS, i64), 1_i64, cols > (WIDE_PANELS - 1)*LANES)
  end function side_by_side

  !> Sums of some panels in their columns, behind the first `before` of `cols`.
  pure subroutine store_total(before, wide, cols, m, total, sums)
    integer(i64), intent(in) :: before, wide, cols, m
    real(dp), intent(in) :: total(LANES*WIDE_PANELS, m)
    real(dp), intent(inout) :: sums(cols, m)
    integer(i64) :: i, last

    last = min(before + wide*LANES, cols)
    do i = 1, m
      sums(before + 1:last, i) = total(1:last - before, i)
    end do
  end subroutine store_total

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
    include 'fq_row_float64.inc'
  end subroutine wide_row

  pure subroutine wide_row_one(steps, stride, x, b, total)
    integer, parameter :: P = 1
    include 'fq_row_float64.inc'
  end subroutine wide_row_one

  pure subroutine wide_dot_four(k, a, b, c)
    integer, parameter :: R = WIDE_DOTS
    include 'fq_dot_float64.inc'
  end subroutine wide_dot_four

  pure subroutine wide_dot_one(k, a, b, c)
    integer, parameter :: R = 1
    include 'fq_dot_float64.inc'
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
end module fq_mixed
