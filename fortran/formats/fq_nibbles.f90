!> Weights of at most four bits, a row of weights a lane, for activations that are quantized on the
!> fly.
!>
!> Sums never cross lanes, so groups cost next to nothing: what multiplies few rows of activations
!> runs at the speed of reading half a byte a weight.
module fq_nibbles_real32
  use fq_epilogue_real32, only: epilogue
  use fq_kinds, only: i8, i16, i32, i64, wp => sp
  use fq_layer_parts, only: is_there, layer_parts
  use fq_quantized_rows_real32, only: multiply_quantized, quantized_format, row_chunk
  use fq_share, only: part, share
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_stored_layer, only: place, stored_layer
  use fq_weight_parts_real32, only: group_of_row, groups_of_row, read_codes, read_minima_by_panel, &
    nibble_offset, read_scales_by_panel, read_zeros_by_panel, REAL_BYTES
  use fq_work_size, only: SMALL_WORK
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: multiply_nibbles_layer, pack_nibbles_layer, plan_nibbles_layer

  integer, parameter :: WORDS = 32                ! words of 16 bits of a step: two AVX2 registers
  integer(i64), parameter :: PANEL_ROWS = 4*WORDS ! rows of weights of a panel, four to a word
  integer(i64), parameter :: RUN_STEPS = 16       ! 15*127*16 < 2**15
  integer(i64), parameter :: TILE_ROWS = 4        ! rows of activations that share a look at a panel

  !> How codes lie in a panel.
  type :: panel_layout
    integer(i64) :: k = 0              !! inputs
    integer(i64) :: groups = 0         !! groups of a row
    integer(i64) :: group_size = 0     !! entries of a group
    logical :: has_minimum = .false.   !! else there are no minima
  end type panel_layout

  !> Panels of codes from `pack_nibbles`.  With q the codes of x, a sum is `sum over g of (scale_g *
  !> sum(q (c - zero_g)) + minimum_g * sum(q))`: the sums over a group as integers, the rest in the
  !> order written.
  type, extends(quantized_format) :: nibble_panels
    integer(i64) :: group_size = 0                                    !! entries of a group
    integer(i16), pointer, contiguous :: panels(:, :, :) => null()    !! codes, `(32, k, panels)`
    real(wp), pointer, contiguous :: scale(:, :, :) => null()    !! steps, `(128, groups, panels)`
    integer(i8), pointer, contiguous :: zero_point(:, :, :) => null() !! codes of 0, the same shape
    !> Values of the codes `zero_point`, the same shape; null if all are 0.
    real(wp), pointer, contiguous :: minimum(:, :, :) => null()
    type(panel_layout), private :: layout
    integer(i16), allocatable, private :: codes(:, :)       ! those of x, `(k, m)`
    integer(i32), allocatable, private :: code_sums(:, :)   ! sums of them by group, `(groups, m)`
  contains
    procedure :: prepare => prepare_nibbles
    procedure :: store_row => store_nibbles_row
    procedure :: multiply_chunk => multiply_chunk_nibbles
  end type nibble_panels

contains

  !> Places of a layer.
  pure subroutine plan_nibbles_layer(parts, layer, used)
    type(layer_parts), intent(in) :: parts       !! what it is made of, codes of at most 4 bits
    type(stored_layer), intent(inout) :: layer   !! of FORMAT_NIBBLES
    integer(i64), intent(inout) :: used          !! bytes of the memory
    integer(i64) :: panels, parameters

    layer%group_size = group_of_row(parts)
    layer%groups = groups_of_row(parts)
    panels = (layer%rows + PANEL_ROWS - 1)/PANEL_ROWS
    parameters = panels*PANEL_ROWS*layer%groups
    call place(panels*layer%k*WORDS*2, used, layer%weights)
    call place(parameters*REAL_BYTES, used, layer%scale)
    call place(parameters, used, layer%zero_point)
    if (is_there(parts%minimum)) call place(parameters*REAL_BYTES, used, layer%minimum)
  end subroutine plan_nibbles_layer

  !> Its arrays.
  subroutine pack_nibbles_layer(parts, layer, memory, threads, info)
    type(layer_parts), intent(in) :: parts                       !! what it is made of
    type(stored_layer), intent(in) :: layer                      !! where its arrays go
    integer(i8), intent(inout), target, contiguous :: memory(:)  !! the memory
    integer(i32), intent(in) :: threads                          !! threads to use, at least 1
    integer(i32), intent(out) :: info                            !! FQ_OK or FQ_NO_MEMORY
    integer(i8), allocatable :: codes(:, :)
    type(nibble_panels) :: weights
    integer :: stat

    allocate (codes(layer%k, layer%rows), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    call read_codes(parts, nibble_offset(parts), codes, threads)
    weights = panels_of(layer, memory)
    call pack_nibbles(codes, weights%panels, threads)
    call read_scales_by_panel(parts, weights%scale)
    call read_zeros_by_panel(parts, nibble_offset(parts), weights%zero_point)
    if (associated(weights%minimum)) call read_minima_by_panel(parts, weights%minimum)
  end subroutine pack_nibbles_layer

  !> The panels of a layer.
  function panels_of(layer, memory) result(weights)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    type(nibble_panels) :: weights
    integer(i64) :: extents(3)

    weights%group_size = layer%group_size
    extents = [PANEL_ROWS, layer%groups, (layer%rows + PANEL_ROWS - 1)/PANEL_ROWS]
    call c_f_pointer(c_loc(memory(layer%weights + 1)), weights%panels, [int(WORDS, i64), layer%k, &
      extents(3)])
    call c_f_pointer(c_loc(memory(layer%scale + 1)), weights%scale, extents)
    call c_f_pointer(c_loc(memory(layer%zero_point + 1)), weights%zero_point, extents)
    if (layer%minimum >= 0) then
      call c_f_pointer(c_loc(memory(layer%minimum + 1)), weights%minimum, extents)
    end if
  end function panels_of

  !> Panels of codes: word l of a step holds rows `l, l + 32, l + 64, l + 96` of a panel, from the
  !> lowest bits on; rows that are not there are zeros.
  subroutine pack_nibbles(codes, panels, threads)
    integer(i8), intent(in), contiguous :: codes(:, :)         !! codes `0 ... 15`, `(k, n)`
    integer(i16), intent(out), contiguous :: panels(:, :, :)   !! words, `(32, k, panels)`
    integer(i32), intent(in) :: threads                        !! threads to use, at least 1
    integer(i64) :: j, k, n

    k = size(codes, 1, kind=i64)
    n = size(codes, 2, kind=i64)
    !$omp parallel do default(none) shared(k, n, codes, panels) num_threads(threads) &
    !$omp schedule(static) if(k*n > SMALL_WORK)
    do j = 1, size(panels, 3, kind=i64)
      call pack_panel(k, min(PANEL_ROWS, n - (j - 1)*PANEL_ROWS), codes(:, (j - 1)*PANEL_ROWS &
        + 1:), panels(:, :, j))
    end do
  end subroutine pack_nibbles

  pure subroutine pack_panel(k, rows, codes, panel)
    integer(i64), intent(in) :: k, rows                      !! steps; rows, at most PANEL_ROWS
    integer(i8), intent(in) :: codes(k, *)                   !! codes by rows, `(k, rows)`
    integer(i16), intent(out) :: panel(WORDS, k)             !! words, `(32, k)`
    integer(i64) :: r, s, l

    panel = 0
    do r = 0, rows - 1
      l = mod(r, int(WORDS, i64)) + 1
      do s = 1, k
        panel(l, s) = ior(panel(l, s), shiftl(int(codes(s, r + 1), i16), 4*(r/WORDS)))
      end do
    end do
  end subroutine pack_panel

  !> A layer of a network.
  subroutine multiply_nibbles_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer                   !! of FORMAT_NIBBLES
    integer(i8), intent(in), target, contiguous :: memory(:)  !! arrays of the layer
    real(wp), intent(in), contiguous :: x(:, :)               !! activations, `(k, m)`
    real(wp), intent(in) :: bias(*)                           !! added to each row, `(rows)`
    type(epilogue), intent(in) :: after                       !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)              !! results, `(rows, m)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! status code
    type(nibble_panels) :: weights

    weights = panels_of(layer, memory)
    call multiply_quantized(weights, x, bias, after, y, threads, info)
  end subroutine multiply_nibbles_layer

  subroutine prepare_nibbles(weights, m, n, shared, info)
    class(nibble_panels), intent(inout) :: weights
    integer(i64), intent(in) :: m, n
    type(share), intent(inout) :: shared
    integer(i32), intent(out) :: info
    integer :: stat

    weights%layout = panel_layout(weights%k, size(weights%scale, 2, kind=i64), weights%group_size, &
      associated(weights%minimum))
    if (.not. weights%layout%has_minimum) weights%minimum => weights%scale  ! not looked at
    shared%panels = PANEL_ROWS
    shared%across = (n + PANEL_ROWS - 1)/PANEL_ROWS
    shared%rows = m
    shared%items = shared%across
    allocate (weights%codes(weights%k, m), stat=stat)
    if (stat == 0) allocate (weights%code_sums(weights%layout%groups, m), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
  end subroutine prepare_nibbles

  !> Codes in 16 bits, and their sums by group.
  pure subroutine store_nibbles_row(weights, row, codes)
    class(nibble_panels), intent(inout) :: weights
    integer(i64), intent(in) :: row
    integer(i8), intent(in), contiguous :: codes(:)
    integer(i64) :: g, first, last

    weights%codes(:, row) = codes
    do g = 1, weights%layout%groups
      first = (g - 1)*weights%layout%group_size + 1
      last = min(g*weights%layout%group_size, weights%layout%k)
      weights%code_sums(g, row) = sum(int(codes(first:last), i32))
    end do
  end subroutine store_nibbles_row

  pure subroutine multiply_chunk_nibbles(weights, chunk, ldy, y)
    class(nibble_panels), intent(inout) :: weights
    type(row_chunk), intent(in) :: chunk
    integer(i64), intent(in) :: ldy
    real(wp), intent(inout) :: y(ldy, *)
    integer(i64) :: row, panel

    row = chunk%row + 1
    panel = chunk%col/PANEL_ROWS + 1
    call multiply_panel(weights%layout, chunk%part, weights%codes(:, row:chunk%last_row), &
      weights%code_sums(:, row:chunk%last_row), weights%panels(:, :, panel), weights%scale(:, :, &
      panel), weights%zero_point(:, :, panel), weights%minimum(:, :, panel), ldy, y(chunk%col + 1, &
      row))
  end subroutine multiply_chunk_nibbles

  !> The rows of weights of one panel, times some rows of codes.
  pure subroutine multiply_panel(layout, chunk, x, code_sums, panel, scale, zero_point, minimum, &
    ldy, y)
    type(panel_layout), intent(in) :: layout
    type(part), intent(in) :: chunk                                  !! rows and columns there are
    integer(i16), intent(in) :: x(layout%k, *)                       !! codes of activations
    integer(i32), intent(in) :: code_sums(layout%groups, *)          !! sums of them
    integer(i16), intent(in) :: panel(WORDS, layout%k)               !! codes of weights
    real(wp), intent(in) :: scale(PANEL_ROWS, layout%groups)         !! steps
    integer(i8), intent(in) :: zero_point(PANEL_ROWS, layout%groups) !! codes of 0
    real(wp), intent(in) :: minimum(PANEL_ROWS, *)                   !! looked at if has_minimum
    integer(i64), intent(in) :: ldy                                  !! columns of y
    real(wp), intent(inout) :: y(ldy, *)                             !! sums, the chunk's first on
    real(wp) :: total(PANEL_ROWS, TILE_ROWS)
    integer(i32) :: sums(WORDS, 4, TILE_ROWS)
    integer(i64) :: first, high, rows, g, at, steps, i

    rows = chunk%last_row - chunk%row
    first = 0
    do while (first < rows)
      high = merge(TILE_ROWS, 1_i64, rows - first >= TILE_ROWS)
      do g = 1, layout%groups
        at = (g - 1)*layout%group_size + 1
        steps = min(layout%group_size, layout%k - at + 1)
        if (high == TILE_ROWS) then
          call multiply_int4_rows(steps, layout%k, panel(1, at), x(at, first + 1), sums)
        else
          call multiply_int4_row(steps, layout%k, panel(1, at), x(at, first + 1), sums)
        end if
        do i = 1, high
          if (layout%has_minimum) then
            call add_group(sums(:, :, i), code_sums(g, first + i), scale(:, g), zero_point(:, g), &
              minimum(:, g), g == 1, total(:, i))
          else
            call add_scaled(sums(:, :, i), code_sums(g, first + i), scale(:, g), zero_point(:, &
              g), g == 1, total(:, i))
          end if
        end do
      end do
      y(1:chunk%last_col - chunk%col, first + 1:first + high) = total(1:chunk%last_col &
        - chunk%col, 1:high)
      first = first + high
    end do
  end subroutine multiply_panel

  pure subroutine multiply_int4_row(steps, ldx, codes, x, sums)
    integer, parameter :: R = 1
    include 'fq_tile_int4.inc'
  end subroutine multiply_int4_row

  pure subroutine multiply_int4_rows(steps, ldx, codes, x, sums)
    integer, parameter :: R = int(TILE_ROWS)
    include 'fq_tile_int4.inc'
  end subroutine multiply_int4_rows

  !> What a group contributes: set if it is the first, else added.
  pure subroutine add_scaled(sums, code_sum, scale, zero_point, first, total)
    integer(i32), intent(in) :: sums(PANEL_ROWS), code_sum
    real(wp), intent(in) :: scale(PANEL_ROWS)
    integer(i8), intent(in) :: zero_point(PANEL_ROWS)
    logical, intent(in) :: first
    real(wp), intent(inout) :: total(PANEL_ROWS)
    integer(i64) :: j

    if (first) then
      do j = 1, PANEL_ROWS
        total(j) = scale(j)*real(sums(j) - zero_point(j)*code_sum, wp)
      end do
    else
      do j = 1, PANEL_ROWS
        total(j) = total(j) + scale(j)*real(sums(j) - zero_point(j)*code_sum, wp)
      end do
    end if
  end subroutine add_scaled

  !> The same with a minimum.
  pure subroutine add_group(sums, code_sum, scale, zero_point, minimum, first, total)
    integer(i32), intent(in) :: sums(PANEL_ROWS), code_sum
    real(wp), intent(in) :: scale(PANEL_ROWS), minimum(PANEL_ROWS)
    integer(i8), intent(in) :: zero_point(PANEL_ROWS)
    logical, intent(in) :: first
    real(wp), intent(inout) :: total(PANEL_ROWS)
    integer(i64) :: j

    if (first) then
      do j = 1, PANEL_ROWS
        total(j) = scale(j)*real(sums(j) - zero_point(j)*code_sum, wp) &
          + minimum(j)*real(code_sum, wp)
      end do
    else
      do j = 1, PANEL_ROWS
        total(j) = total(j) + (scale(j)*real(sums(j) - zero_point(j)*code_sum, wp) &
          + minimum(j)*real(code_sum, wp))
      end do
    end if
  end subroutine add_group
end module fq_nibbles_real32
