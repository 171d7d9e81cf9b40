!> Blocked multiplication of reals: what every product of matrices is made of.
!>
!> The right matrix comes in panels: a vector of columns, step by step of k.  Rows of the left
!> matrix are copied next to each other; a tile of rows times a few panels stays in registers.
module fq_gemm_real32
  use fq_kinds, only: i32, i64, wp => sp
  use fq_precondition, only: CHECKED, require
  use fq_registers, only: FEW_ROWS, TILE_ROWS, VECTOR_BYTES
  use fq_share, only: part, share
  use fq_work_size, only: SMALL_PRODUCT
  implicit none (type, external)
  private
  public :: add_edge, block_entries, BLOCK_COLS, BLOCK_STEPS, copy_rows, divide, dot_rows, &
    FEW_ROWS, LANES, LINE, multiply_block, panels_read, ROW_STEPS, SINGLE_PANELS, TILE_ROWS, &
    transpose_block, transpose_columns, TRANSPOSE_STEPS

  integer, parameter :: ENTRY_BYTES = storage_size(1.0_wp)/8
  integer, parameter :: LANES = VECTOR_BYTES/ENTRY_BYTES      ! entries of a vector
  ! Steps of k of a block: the rows of a tile, 2 KiB each, stay in L1 while panels pass by.
  integer(i64), parameter :: BLOCK_STEPS = 2048/ENTRY_BYTES
  ! Columns of a block of the right matrix: with BLOCK_STEPS it fills 3/4 of 1 MiB of L2.
  integer(i64), parameter :: BLOCK_COLS = 384
  integer(i64), parameter :: LINE = 64/ENTRY_BYTES            ! entries of a line of cache
  ! Copied rows are a cache line more than a power of 2 apart, and fall in different sets of L1.
  integer(i64), parameter :: ROW_STEPS = BLOCK_STEPS + LINE
  ! Rows that are multiplied in the time that it takes to read the right matrix.
  integer(i64), parameter :: READ_ROWS = 8
  ! Rows that are worth packing a block of the right matrix for.
  integer(i64), parameter :: BAND_ROWS = 480
  ! Panels of a tile of TILE_ROWS, of FEW_ROWS, and of one row.
  integer(i64), parameter :: TILE_PANELS = 2, FEW_PANELS = 4, SINGLE_PANELS = 8
  integer(i64), parameter :: TRANSPOSE_STEPS = 64  ! steps transposed at a time, in L1
  ! Rows of the right matrix, given as its transpose, that are multiplied by one row at a time.
  integer, parameter :: DOTS = 4

contains

  !> How a product is shared: few items if they are small, several a thread if they are large, so
  !> that none waits for long.
  pure function divide(m, n, k, most_cols, threads) result(shared)
    integer(i64), intent(in) :: m, n, k      !! rows, columns, and what is summed over, at least 1
    integer(i64), intent(in) :: most_cols    !! columns of an item at most
    integer(i32), intent(in) :: threads      !! threads allowed, at least 1
    type(share) :: shared
    integer(i64) :: wanted, down, across, panels

    ! With few rows, reading the matrices takes longer than multiplying.
    shared%team = merge(threads, 1_i32, max(m, READ_ROWS)*n*k > SMALL_PRODUCT)
    wanted = merge(4*int(shared%team, i64), int(shared%team, i64), shared%team > 1 .and. m*n*k &
      > 128*SMALL_PRODUCT)
    panels = over(n, int(LANES, i64))
    across = over(n, most_cols)
    down = max(1_i64, min(over(wanted, across), m/BAND_ROWS))
    across = max(across, min(over(wanted, down), over(panels, SINGLE_PANELS)))
    shared%panels = over(over(panels, across), TILE_PANELS)*TILE_PANELS
    shared%rows = over(over(m, down), int(TILE_ROWS, i64))*TILE_ROWS
    shared%across = over(panels, shared%panels)
    shared%items = shared%across*over(m, shared%rows)
  end function divide

  !> Quotient, rounded up.
  pure function over(n, d) result(q)
    integer(i64), intent(in) :: n, d
    integer(i64) :: q

    q = (n + d - 1)/d
  end function over

  !> Panels that tiles over `rows` rows read of a block with `panels`: those of the last rows are
  !> wide, and read what follows.
  pure function panels_read(rows, panels) result(read)
    integer(i64), intent(in) :: rows     !! rows of the part, at least 1
    integer(i64), intent(in) :: panels   !! panels of the block
    integer(i64) :: read
    integer(i64) :: last

    last = mod(rows - 1, int(TILE_ROWS, i64)) + 1
    read = panels
    if (last <= 2*FEW_ROWS) read = over(panels, SINGLE_PANELS)*SINGLE_PANELS
  end function panels_read

  !> Entries of a block of so many panels, a line of cache between them.
  pure function block_entries(steps, panels) result(entries)
    integer(i64), intent(in) :: steps    !! steps of k
    integer(i64), intent(in) :: panels   !! panels, those that are only read among them
    integer(i64) :: entries

    entries = LANES*(steps + 1)*panels
  end function block_entries

  !> Multiply rows of a by a block of panels, and set a part of c if these are the first steps of k,
  !> else add to it.
  pure subroutine multiply_block(lda, a, a_transposed, piece, step, steps, stride, block, ldc, c, &
    rows)
    integer(i64), intent(in) :: lda                       !! extent of a
    real(wp), intent(in) :: a(lda, *)                     !! left matrix, `(k, m)`, or its transpose
    logical, intent(in) :: a_transposed                   !! whether a is given as its transpose
    type(part), intent(in) :: piece                       !! rows of a and c; columns of c
    integer(i64), intent(in) :: step, steps               !! steps of k before; and to take
    integer(i64), intent(in) :: stride                    !! steps from panel to panel
    real(wp), intent(in) :: block(LANES, stride, *)       !! panels, from the part's columns on
    integer(i64), intent(in) :: ldc                       !! columns of c
    real(wp), intent(inout) :: c(ldc, *)                  !! product, `(n, m)`
    real(wp), intent(inout) :: rows(ROW_STEPS, TILE_ROWS) !! workspace
    integer(i64) :: r, j, left, high, wide, valid, last_row, col, last_col
    logical :: fresh
    real(wp) :: edge(LANES*TILE_PANELS*TILE_ROWS)

    if (CHECKED) call require(steps >= 1 .and. steps <= min(stride, BLOCK_STEPS) &
      .and. mod(piece%col, int(LANES, i64)) == 0, &
      'multiply_block: 1 <= steps <= stride, BLOCK_STEPS; a part starts with a panel')
    fresh = step == 0
    last_row = piece%last_row
    col = piece%col
    last_col = piece%last_col
    r = piece%row
    do while (r < last_row)
      left = last_row - r
      if (left > 2*FEW_ROWS) then
        high = TILE_ROWS
        wide = TILE_PANELS
      else if (left > 1) then
        high = FEW_ROWS
        wide = FEW_PANELS
      else
        high = 1
        wide = SINGLE_PANELS
      end if
      call copy_rows(lda, a, a_transposed, r, min(high, left), high, step, steps, rows)
      do j = 1, over(last_col - col, int(LANES, i64)), wide
        valid = min(last_col - col - (j - 1)*LANES, wide*LANES)
        if (left >= high .and. valid == wide*LANES) then
          call multiply_tile(high, valid, steps, stride, rows, block(1, 1, j), fresh, ldc, &
            c(col + (j - 1)*LANES + 1, r + 1))
        else
          call multiply_tile(high, valid, steps, stride, rows, block(1, 1, j), .true., &
            wide*LANES, edge)
          call add_edge(valid, min(high, left), wide*LANES, edge, fresh, ldc, c(col + (j &
            - 1)*LANES + 1, r + 1))
        end if
      end do
      r = r + high
    end do
  end subroutine multiply_block

  !> Copy rows of the left matrix next to each other; rows beyond the last are zeros.
  pure subroutine copy_rows(lda, a, transposed, row, count, high, step, steps, rows)
    integer(i64), intent(in) :: lda                       !! extent of a
    real(wp), intent(in) :: a(lda, *)                     !! left matrix, `(k, m)`, or its transpose
    logical, intent(in) :: transposed                     !! whether a is given as its transpose
    integer(i64), intent(in) :: row, count                !! rows before; and to copy
    integer(i64), intent(in) :: high                      !! rows to write, at most TILE_ROWS
    integer(i64), intent(in) :: step, steps               !! steps of k before; and to take
    real(wp), intent(inout) :: rows(ROW_STEPS, TILE_ROWS) !! the rows, from step 1 on
    integer(i64) :: i, s

    if (transposed) then
      do s = 0, steps - LANES, LANES
        call transpose_columns(min(over(count, int(LANES, i64))*LANES, lda - row), lda, a(row &
          + 1, step + s + 1), count, ROW_STEPS, rows(s + 1, 1))
      end do
      do s = steps/LANES*LANES + 1, steps
        rows(s, 1:count) = a(row + 1:row + count, step + s)
      end do
    else
      do i = 1, count
        rows(1:steps, i) = a(step + 1:step + steps, row + i)
      end do
    end if
    do i = count + 1, high
      rows(1:steps, i) = 0
    end do
  end subroutine copy_rows

  !> Transpose LANES columns of so many steps, of which the first `kept` are stored.
  pure subroutine transpose_columns(steps, lda, a, kept, ldb, b)
    integer(i64), intent(in) :: steps         !! steps that may be read
    integer(i64), intent(in) :: lda           !! extent of a
    real(wp), intent(in) :: a(lda, LANES)     !! columns
    integer(i64), intent(in) :: kept          !! steps to store, at most `steps`
    integer(i64), intent(in) :: ldb           !! extent of b, at least LANES
    real(wp), intent(inout) :: b(ldb, kept)   !! the transpose, in the first LANES rows
    real(wp) :: block(LANES, TRANSPOSE_STEPS)
    integer(i64) :: first, s

    do first = 0, kept - 1, TRANSPOSE_STEPS
      call transpose_block(min(TRANSPOSE_STEPS, steps - first), lda, a(first + 1, 1), block)
      do s = 1, min(TRANSPOSE_STEPS, kept - first)
        b(1:LANES, first + s) = block(:, s)
      end do
    end do
  end subroutine transpose_columns

  !> Transpose LANES columns into rows that follow each other, which then are permutations of whole
  !> vectors, `vpermt2ps`.
  pure subroutine transpose_block(steps, lda, a, block)
    integer(i64), intent(in) :: steps, lda             !! steps to transpose; extent of a
    real(wp), intent(in) :: a(lda, LANES)              !! columns
    real(wp), intent(inout) :: block(LANES, steps)     !! rows
    integer(i64) :: s
    integer :: l

    do s = 1, steps
      !GCC$ unroll 16
      do l = 1, LANES
        block(l, s) = a(s, l)
      end do
    end do
  end subroutine transpose_block

  pure subroutine multiply_tile(high, valid, steps, stride, a, b, fresh, ldc, c)
    integer(i64), intent(in) :: high, valid, steps, stride, ldc
    real(wp), intent(in) :: a(ROW_STEPS, *), b(LANES, stride, *)
    logical, intent(in) :: fresh
    real(wp), intent(inout) :: c(ldc, *)

    if (high == 1) then
      call multiply_single(steps, stride, a, b, fresh, ldc, c)
    else if (high == FEW_ROWS) then
      call multiply_few(steps, stride, a, b, fresh, ldc, c)
    else if (valid > LANES) then
      call multiply_many(steps, stride, a, b, fresh, ldc, c)
    else
      call multiply_narrow(steps, stride, a, b, fresh, ldc, c)
    end if
  end subroutine multiply_tile

  pure subroutine multiply_many(steps, stride, a, b, fresh, ldc, c)
    integer, parameter :: R = TILE_ROWS, P = TILE_PANELS, V = LANES
    include 'fq_tile.inc'
  end subroutine multiply_many

  pure subroutine multiply_narrow(steps, stride, a, b, fresh, ldc, c)
    integer, parameter :: R = TILE_ROWS, P = 1, V = LANES
    include 'fq_tile.inc'
  end subroutine multiply_narrow

  pure subroutine multiply_few(steps, stride, a, b, fresh, ldc, c)
    integer, parameter :: R = FEW_ROWS, P = FEW_PANELS, V = LANES
    include 'fq_tile.inc'
  end subroutine multiply_few

  pure subroutine multiply_single(steps, stride, a, b, fresh, ldc, c)
    integer, parameter :: R = 1, P = SINGLE_PANELS, V = LANES
    include 'fq_tile.inc'
  end subroutine multiply_single

  !> Add, or set, what a tile has within: one that hangs over the edge, or of sums of its own.
  pure subroutine add_edge(cols, rows, lde, edge, fresh, ldc, c)
    integer(i64), intent(in) :: cols, rows, lde, ldc
    real(wp), intent(in) :: edge(lde, *)
    logical, intent(in) :: fresh
    real(wp), intent(inout) :: c(ldc, *)
    integer(i64) :: i

    do i = 1, rows
      if (fresh) then
        c(1:cols, i) = edge(1:cols, i)
      else
        c(1:cols, i) = c(1:cols, i) + edge(1:cols, i)
      end if
    end do
  end subroutine add_edge

  !> Columns `col + 1 ... last_col` of `c = a b**T` for a few rows of a, which then costs no more
  !> than reading b.  Entry s of a sum goes to lane `mod(s - 1, LANES)`.
  pure subroutine dot_rows(k, m, a, b, ldc, c, col, last_col)
    integer(i64), intent(in) :: k, m           !! steps; rows of a
    real(wp), intent(in) :: a(k, *)            !! left matrix, `(k, m)`
    real(wp), intent(in) :: b(k, *)            !! rows of the right matrix's transpose, `(k, n)`
    integer(i64), intent(in) :: ldc            !! columns of c
    real(wp), intent(inout) :: c(ldc, *)       !! product, `(n, m)`
    integer(i64), intent(in) :: col, last_col  !! columns before; and last column
    integer(i64) :: i, j

    do j = col + 1, last_col - DOTS + 1, DOTS
      do i = 1, m
        call dot_four(k, a(1, i), b(1, j), c(j, i))
      end do
    end do
    do j = last_col - mod(last_col - col, int(DOTS, i64)) + 1, last_col
      do i = 1, m
        call dot_one(k, a(1, i), b(1, j), c(j, i))
      end do
    end do
  end subroutine dot_rows

  pure subroutine dot_four(k, a, b, c)
    integer, parameter :: R = DOTS
    include 'fq_dot.inc'
  end subroutine dot_four

  pure subroutine dot_one(k, a, b, c)
    integer, parameter :: R = 1
    include 'fq_dot.inc'
  end subroutine dot_one

  !> Sum of the lanes by halving.
  pure function lane_total(lanes_in) result(total)
    real(wp), intent(in) :: lanes_in(LANES)
    real(wp) :: total, half(16)

    half(1:LANES) = lanes_in
    if (LANES > 8) half(1:8) = half(1:8) + half(9:16)
    if (LANES > 4) half(1:4) = half(1:4) + half(5:8)
    if (LANES > 2) half(1:2) = half(1:2) + half(3:4)
    total = half(1) + half(2)
  end function lane_total
end module fq_gemm_real32
