!> Weights as rows of 8-bit codes, for activations that are quantized on the fly.
module fq_codes_real32
  use fq_align, only: aligned_start
  use fq_epilogue_real32, only: epilogue
  use fq_gemm_int8, only: CODE_KIND, CODE_SHIFT, CODE_STEPS, MAX_STEPS, multiply_block_int8, &
    padded_steps
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_layer_parts, only: FORM_CSR, FORM_NM, layer_parts
  use fq_nonzeros_real32, only: read_dense_codes
  use fq_precondition, only: CHECKED, require
  use fq_quantized_rows_real32, only: CHUNK_ROWS, multiply_quantized, quantized_format, &
    row_chunk, share_rows
  use fq_share, only: part, share
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_stored_layer, only: place, stored_layer
  use fq_weight_parts_real32, only: group_of_row, groups_of_row, read_codes, read_minima, &
    read_scales, read_zeros, REAL_BYTES, sign_offset
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: multiply_codes_layer, pack_codes_layer, plan_codes_layer

  !> How codes lie in rows.  A group of more than MAX_STEPS entries is summed in such runs.
  type :: row_layout
    integer(i64) :: k = 0           !! inputs
    integer(i64) :: groups = 0      !! groups of a row
    integer(i64) :: group_size = 0  !! entries of a group
    integer(i64) :: stride = 0      !! codes from group to group
    integer(i64) :: group_runs = 0  !! runs of a group
    integer(i64) :: runs = 0        !! runs of a row
    integer(i64) :: ldw = 0         !! codes from row to row of w
    integer(i64) :: ldx = 0         !! the same of x
  end type row_layout

  !> Rows of codes.  With q the codes of x, a sum is `sum over g of (scale_g * sum((q (c - zero_g)))
  !> + minimum_g * sum(q))`: the sums over a run of a group as integers, the rest in the order
  !> written.
  !>
  !> *Preconditions*: rows of `codes` hold each group from a multiple of `group_stride` codes on,
  !> zeros behind it; `group_stride` is a multiple of CODE_STEPS, or there is one group.
  type, extends(quantized_format), public :: code_rows
    integer(i64) :: group_size = 0                    !! entries of a group
    integer(i64) :: group_stride = 0                  !! codes from group to group in a row
    integer(i8), pointer, contiguous :: codes(:, :) => null()         !! signed, `(ldw, n)`
    real(wp), pointer, contiguous :: scale(:, :) => null()            !! steps, `(groups, n)`
    integer(i32), pointer, contiguous :: zero_point(:, :) => null()   !! codes of 0, signed bytes
    real(wp), pointer, contiguous :: minimum(:, :) => null()  !! values of the codes `zero_point`
    type(row_layout), private :: layout
    ! Codes of x as the machine multiplies them, and a row of ones behind them, from `start` on.
    integer(CODE_KIND), allocatable, private :: left(:)
    integer(i64), private :: start = 0
    integer(i32), allocatable, private :: code_sums(:, :)   ! those of x, by run, `(runs, m)`
    ! By thread: sums of products; and what CODE_SHIFT adds to them, by run.
    integer(i32), allocatable, private :: sums(:, :), shifts(:, :)
  contains
    procedure :: prepare => prepare_codes
    procedure :: store_row => store_codes_row
    procedure :: multiply_chunk => multiply_chunk_codes
  end type code_rows

contains

  !> Places of a layer.
  pure subroutine plan_codes_layer(parts, layer, used)
    type(layer_parts), intent(in) :: parts       !! what it is made of, codes of at most 8 bits
    type(stored_layer), intent(inout) :: layer   !! of FORMAT_CODES
    integer(i64), intent(inout) :: used          !! bytes of the memory
    integer(i64) :: parameters

    layer%group_size = group_of_row(parts)
    layer%groups = groups_of_row(parts)
    layer%group_stride = (layer%group_size + CODE_STEPS - 1)/CODE_STEPS*CODE_STEPS
    layer%row_steps = padded_steps(layer%groups*layer%group_stride)
    parameters = layer%groups*layer%rows
    call place(layer%row_steps*layer%rows, used, layer%weights)
    call place(parameters*REAL_BYTES, used, layer%scale)
    call place(parameters*4, used, layer%zero_point)
    call place(parameters*REAL_BYTES, used, layer%minimum)
  end subroutine plan_codes_layer

  !> Its arrays.
  subroutine pack_codes_layer(parts, layer, memory, threads, info)
    type(layer_parts), intent(in) :: parts                       !! what it is made of
    type(stored_layer), intent(in) :: layer                      !! where its arrays go
    integer(i8), intent(inout), target, contiguous :: memory(:)  !! the memory
    integer(i32), intent(in) :: threads                          !! threads to use, at least 1
    integer(i32), intent(out) :: info                            !! FQ_OK or FQ_NO_MEMORY
    type(code_rows) :: weights
    integer(i8), allocatable :: codes(:, :)
    integer(i64) :: r, g, first, last
    integer :: stat

    allocate (codes(layer%k, layer%rows), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    if (any(parts%form == [FORM_CSR, FORM_NM])) then
      call read_dense_codes(parts, codes, info)
      if (info /= FQ_OK) return
    else
      call read_codes(parts, sign_offset(parts), codes, threads)
    end if
    weights = rows_of(layer, memory)
    do r = 1, layer%rows
      weights%codes(:, r) = 0
      do g = 0, layer%groups - 1
        first = g*layer%group_size
        last = min(first + layer%group_size, layer%k)
        weights%codes(g*layer%group_stride + 1:g*layer%group_stride + last - first, r) &
          = codes(first + 1:last, r)
      end do
    end do
    call read_scales(parts, weights%scale)
    call read_zeros(parts, sign_offset(parts), weights%zero_point)
    call read_minima(parts, weights%minimum)
  end subroutine pack_codes_layer

  !> The rows of a layer.
  function rows_of(layer, memory) result(weights)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    type(code_rows) :: weights
    integer(i64) :: extents(2)

    weights%group_size = layer%group_size
    weights%group_stride = layer%group_stride
    extents = [layer%groups, layer%rows]
    call c_f_pointer(c_loc(memory(layer%weights + 1)), weights%codes, [layer%row_steps, layer%rows])
    call c_f_pointer(c_loc(memory(layer%scale + 1)), weights%scale, extents)
    call c_f_pointer(c_loc(memory(layer%zero_point + 1)), weights%zero_point, extents)
    call c_f_pointer(c_loc(memory(layer%minimum + 1)), weights%minimum, extents)
  end function rows_of

  !> A layer of a network.
  subroutine multiply_codes_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer                   !! of FORMAT_CODES
    integer(i8), intent(in), target, contiguous :: memory(:)  !! arrays of the layer
    real(wp), intent(in), contiguous :: x(:, :)               !! activations, `(k, m)`
    real(wp), intent(in) :: bias(*)                           !! added to each row, `(rows)`
    type(epilogue), intent(in) :: after                       !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)              !! results, `(rows, m)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! status code
    type(code_rows) :: weights

    weights = rows_of(layer, memory)
    call multiply_quantized(weights, x, bias, after, y, threads, info)
  end subroutine multiply_codes_layer

  subroutine prepare_codes(weights, m, n, shared, info)
    class(code_rows), intent(inout) :: weights
    integer(i64), intent(in) :: m, n
    type(share), intent(inout) :: shared
    integer(i32), intent(out) :: info
    integer(i64) :: ones
    integer :: stat

    weights%layout = layout_of(weights)
    if (CHECKED) call require_rows(weights%layout, weights%codes)
    call share_rows(m, n, weights%layout%ldw, shared)
    allocate (weights%left(weights%layout%ldx*(m + 1) + CODE_STEPS), stat=stat)
    if (stat == 0) allocate (weights%code_sums(weights%layout%runs, m), stat=stat)
    if (stat == 0) allocate (weights%sums(shared%panels*CHUNK_ROWS, shared%team), stat=stat)
    if (stat == 0) then
      allocate (weights%shifts(shared%panels*weights%layout%runs, shared%team), stat=stat)
    end if
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    weights%start = aligned_start(weights%left, storage_size(weights%left))
    ones = weights%start + weights%layout%ldx*m
    weights%left(ones:ones + weights%layout%ldx - 1) = 1
  end subroutine prepare_codes

  !> What is expected of rows of codes.
  pure subroutine require_rows(layout, codes)
    type(row_layout), intent(in) :: layout
    integer(i8), intent(in), contiguous :: codes(:, :)
    integer(i64) :: g, used, behind

    if (.not. CHECKED) return
    call require(mod(layout%stride, CODE_STEPS) == 0 .or. layout%groups == 1, &
      'code_rows: group_stride is a multiple of CODE_STEPS, or there is one group')
    do g = 1, layout%groups
      used = (g - 1)*layout%stride + min(layout%group_size, layout%k - (g - 1)*layout%group_size)
      behind = layout%ldw
      if (g < layout%groups) behind = g*layout%stride
      call require(used <= behind, 'code_rows: a group ends before the next')
      call require(all(codes(used + 1:behind, :) == 0), 'code_rows: zeros behind each group')
    end do
    call require(layout%ldw >= used .and. mod(layout%ldw, CODE_STEPS) == 0, &
      'code_rows: rows are whole CODE_STEPS')
  end subroutine require_rows

  pure function layout_of(weights) result(layout)
    class(code_rows), intent(in) :: weights
    type(row_layout) :: layout

    layout%k = weights%k
    layout%groups = size(weights%scale, 1, kind=i64)
    layout%group_size = weights%group_size
    layout%stride = weights%group_stride
    layout%group_runs = (layout%group_size + MAX_STEPS - 1)/MAX_STEPS
    layout%runs = layout%groups*layout%group_runs
    layout%ldw = size(weights%codes, 1, kind=i64)
    layout%ldx = padded_steps(layout%groups*layout%stride)
  end function layout_of

  pure subroutine store_codes_row(weights, row, codes)
    class(code_rows), intent(inout) :: weights
    integer(i64), intent(in) :: row
    integer(i8), intent(in), contiguous :: codes(:)

    call store_runs(weights%layout, codes, weights%left(weights%start + weights%layout%ldx*(row &
      - 1)), weights%code_sums(1, row))
  end subroutine store_codes_row

  !> Codes of a row of x as the machine multiplies them, zeros in the gaps, and their sums by run.
  pure subroutine store_runs(layout, codes, left, code_sums)
    type(row_layout), intent(in) :: layout
    integer(i8), intent(in) :: codes(layout%k)
    integer(CODE_KIND), intent(out) :: left(layout%ldx)
    integer(i32), intent(out) :: code_sums(layout%runs)
    integer(i64) :: run, g, at, vectors, first, steps

    left = 0
    do run = 1, layout%runs
      call find_run(layout, run, g, at, vectors)
      first = (g - 1)*layout%group_size + at - (g - 1)*layout%stride - 1
      steps = max(0_i64, min(vectors*CODE_STEPS, g*layout%group_size - first, layout%k - first))
      call shift_codes(steps, codes(first + 1:first + steps), left(at:at + steps - 1), &
        code_sums(run))
    end do
  end subroutine store_runs

  pure subroutine shift_codes(steps, codes, left, total)
    integer(i64), intent(in) :: steps
    integer(i8), intent(in) :: codes(steps)
    integer(CODE_KIND), intent(inout) :: left(steps)
    integer(i32), intent(out) :: total
    integer(i64) :: i

    total = 0
    do i = 1, steps
      left(i) = int(int(codes(i), i32) + CODE_SHIFT, CODE_KIND)
      total = total + codes(i)
    end do
  end subroutine shift_codes

  pure subroutine multiply_chunk_codes(weights, chunk, ldy, y)
    class(code_rows), intent(inout) :: weights
    type(row_chunk), intent(in) :: chunk
    integer(i64), intent(in) :: ldy
    real(wp), intent(inout) :: y(ldy, *)
    integer(i64) :: ones

    if (chunk%is_first) then
      ones = weights%start + weights%layout%ldx*size(weights%code_sums, 2, kind=i64)
      call sum_codes(weights%layout, chunk%part, weights%left(ones), weights%codes, &
        weights%shifts(1, chunk%thread))
    end if
    call multiply_runs(weights%layout, chunk%part, weights%left(weights%start), &
      weights%code_sums, weights%codes, weights%scale, weights%zero_point, weights%minimum, &
      weights%sums(1, chunk%thread), weights%shifts(1, chunk%thread), ldy, y)
  end subroutine multiply_chunk_codes

  !> What CODE_SHIFT adds to sums, once each, by run: the products of ones and rows of codes.
  pure subroutine sum_codes(layout, piece, ones, w, shifts)
    type(row_layout), intent(in) :: layout
    type(part), intent(in) :: piece
    integer(CODE_KIND), intent(in) :: ones(layout%ldx)
    integer(i8), intent(in) :: w(layout%ldw, *)
    integer(i32), intent(inout) :: shifts(piece%last_col - piece%col, layout%runs)
    integer(i64) :: cols, run, g, at, vectors

    cols = piece%last_col - piece%col
    shifts = 0
    if (CODE_SHIFT == 0) return
    do run = 1, layout%runs
      call find_run(layout, run, g, at, vectors)
      call multiply_block_int8(vectors, 1_i64, layout%ldx, ones, cols, layout%ldw, w(at, piece%col &
        + 1), cols, shifts(1, run))
    end do
  end subroutine sum_codes

  !> Columns of a chunk of rows, run by run.
  pure subroutine multiply_runs(layout, chunk, left, code_sums, w, scale, zero_point, minimum, &
    sums, shifts, ldy, y)
    type(row_layout), intent(in) :: layout
    type(part), intent(in) :: chunk
    integer(CODE_KIND), intent(in) :: left(layout%ldx, *)
    integer(i32), intent(in) :: code_sums(layout%runs, *), zero_point(layout%groups, *)
    integer(i8), intent(in) :: w(layout%ldw, *)
    real(wp), intent(in) :: scale(layout%groups, *), minimum(layout%groups, *)
    integer(i32), intent(inout) :: sums(chunk%last_col - chunk%col, CHUNK_ROWS)
    integer(i32), intent(in) :: shifts(chunk%last_col - chunk%col, layout%runs)
    integer(i64), intent(in) :: ldy
    real(wp), intent(inout) :: y(ldy, *)
    integer(i64) :: col, cols, rows, run, g, at, vectors, i

    col = chunk%col + 1
    cols = chunk%last_col - chunk%col
    rows = chunk%last_row - chunk%row
    do run = 1, layout%runs
      call find_run(layout, run, g, at, vectors)
      call multiply_block_int8(vectors, rows, layout%ldx, left(at, chunk%row + 1), cols, &
        layout%ldw, w(at, col), cols, sums)
      do i = 1, rows
        call add_scaled_run(cols, sums(:, i), shifts(:, run), code_sums(run, chunk%row + i), &
          layout%groups, scale(g, col), zero_point(g, col), minimum(g, col), run == 1, y(col, &
          chunk%row + i))
      end do
    end do
  end subroutine multiply_runs

  !> Group of a run, where its codes start in a stored row, and how many steps it has, in
  !> CODE_STEPS.
  pure subroutine find_run(layout, run, g, at, vectors)
    type(row_layout), intent(in) :: layout
    integer(i64), intent(in) :: run
    integer(i64), intent(out) :: g, at, vectors
    integer(i64) :: before, steps

    g = (run - 1)/layout%group_runs + 1
    before = mod(run - 1, layout%group_runs)*MAX_STEPS
    at = (g - 1)*layout%stride + before + 1
    steps = max(0_i64, min(MAX_STEPS, layout%group_size - before, layout%k - (g &
      - 1)*layout%group_size - before))
    vectors = (steps + CODE_STEPS - 1)/CODE_STEPS
  end subroutine find_run

  !> What a run contributes to a row of results: set if it is the first, else added.
  pure subroutine add_scaled_run(cols, sums, shifts, code_sum, groups, scale, zero_point, minimum, &
    first, y)
    integer(i64), intent(in) :: cols, groups
    integer(i32), intent(in) :: sums(cols), shifts(cols), code_sum, zero_point(groups, cols)
    real(wp), intent(in) :: scale(groups, cols), minimum(groups, cols)
    logical, intent(in) :: first
    real(wp), intent(inout) :: y(cols)
    integer(i64) :: j

    if (first) then
      do j = 1, cols
        y(j) = scale(1, j)*real(sums(j) - CODE_SHIFT*shifts(j) - zero_point(1, j)*code_sum, wp) &
          + minimum(1, j)*real(code_sum, wp)
      end do
    else
      do j = 1, cols
        y(j) = y(j) + (scale(1, j)*real(sums(j) - CODE_SHIFT*shifts(j) - zero_point(1, &
          j)*code_sum, wp) + minimum(1, j)*real(code_sum, wp))
      end do
    end if
  end subroutine add_scaled_run
end module fq_codes_real32
