!> A product of matrices in six versions, each one change from the one before.
!>
!> `docs/explanation/gemm.md` tells what each gains.  `c = a b` as Python has them, in C order:
!> `a(k, m)`, `b(n, k)` and `c(n, m)` are the same memory in Fortran.  m is a multiple of BAND, n of
!> COLS and k of STEPS: edges teach nothing, and `fortran/tiles/fq_gemm.f90` has them.
module staircase
  use fq_registers, only: TILE_ROWS, VECTOR_BYTES
  use, intrinsic :: iso_c_binding, only: i32 => c_int32_t, i64 => c_int64_t, wp => c_float
  implicit none (type, external)
  private
  public :: multiply_textbook, multiply_rows, multiply_registers, multiply_packed, &
    multiply_blocked, multiply_threaded

  integer, parameter :: LANES = VECTOR_BYTES/4   ! entries of a vector
  integer, parameter :: WIDTH = 2*LANES          ! columns of a tile, and of a panel
  integer(i64), parameter :: STEPS = 512         ! 12 rows of so many steps: 24 KiB, in L1
  integer(i64), parameter :: COLS = 384          ! columns of so many steps: 768 KiB, in L2
  integer(i64), parameter :: BAND = 384          ! rows of a thread's part: a multiple of tiles
  integer(i64), parameter :: PADDED = STEPS + 16 ! rows a line of cache more than 2 KiB apart

contains

  !> 1. The textbook: an entry of the product is a sum over k.
  pure subroutine multiply_textbook(m, n, k, a, b, c) bind(c)
    integer(i64), intent(in), value :: m, n, k
    real(wp), intent(in) :: a(k, m), b(n, k)
    real(wp), intent(inout) :: c(n, m)
    real(wp) :: total
    integer(i64) :: i, j, p

    do i = 1, m
      do j = 1, n
        total = 0
        do p = 1, k
          total = total + a(p, i)*b(j, p)
        end do
        c(j, i) = total
      end do
    end do
  end subroutine multiply_textbook

  !> 2. Another order: the inner loop runs along rows of b and c, which are contiguous, and becomes
  !> vectors.
  pure subroutine multiply_rows(m, n, k, a, b, c) bind(c)
    integer(i64), intent(in), value :: m, n, k
    real(wp), intent(in) :: a(k, m), b(n, k)
    real(wp), intent(inout) :: c(n, m)
    integer(i64) :: i, j, p

    do i = 1, m
      c(:, i) = 0
      do p = 1, k
        do j = 1, n
          c(j, i) = c(j, i) + a(p, i)*b(j, p)
        end do
      end do
    end do
  end subroutine multiply_rows

  !> 3. Registers: a tile of the product stays there while k passes by.
  pure subroutine multiply_registers(m, n, k, a, b, c) bind(c)
    integer(i64), intent(in), value :: m, n, k
    real(wp), intent(in) :: a(k, m), b(n, k)
    real(wp), intent(inout) :: c(n, m)
    integer(i64) :: i, j

    c = 0
    do j = 1, n, WIDTH
      do i = 1, m, TILE_ROWS
        call multiply_tile(k, k, a(1, i), n, b(j, 1), n, c(j, i))
      end do
    end do
  end subroutine multiply_registers

  !> 4. Packing: the columns of b that a tile reads are copied next to each other, once for all
  !> rows.
  pure subroutine multiply_packed(m, n, k, a, b, c) bind(c)
    integer(i64), intent(in), value :: m, n, k
    real(wp), intent(in) :: a(k, m), b(n, k)
    real(wp), intent(inout) :: c(n, m)
    real(wp), allocatable :: panel(:, :)
    integer(i64) :: i, j
    integer :: stat

    c = 0
    allocate (panel(WIDTH, k), stat=stat)
    if (stat /= 0) return
    do j = 1, n, WIDTH
      panel = b(j:j + WIDTH - 1, :)
      do i = 1, m, TILE_ROWS
        call multiply_tile(k, k, a(1, i), int(WIDTH, i64), panel, n, c(j, i))
      end do
    end do
  end subroutine multiply_packed

  !> 5. Blocks: what is read again and again stays in L1 and L2.
  subroutine multiply_blocked(m, n, k, a, b, c) bind(c)
    integer(i64), intent(in), value :: m, n, k
    real(wp), intent(in) :: a(k, m), b(n, k)
    real(wp), intent(inout) :: c(n, m)
    integer(i64) :: col

    do col = 0, n - 1, COLS
      call multiply_part(m, n, k, a, b, c, col, 0_i64, m)
    end do
  end subroutine multiply_blocked

  !> 6. Threads: parts of the product, so that no sum depends on how many there are.
  subroutine multiply_threaded(m, n, k, a, b, c, threads) bind(c)
    integer(i64), intent(in), value :: m, n, k
    real(wp), intent(in) :: a(k, m), b(n, k)
    real(wp), intent(inout) :: c(n, m)
    integer(i32), intent(in), value :: threads
    integer(i64) :: col, row

    !$omp parallel do default(none) shared(m, n, k, a, b, c) collapse(2) schedule(dynamic) &
    !$omp num_threads(threads)
    do col = 0, n - 1, COLS
      do row = 0, m - 1, BAND
        call multiply_part(m, n, k, a, b, c, col, row, row + BAND)
      end do
    end do
  end subroutine multiply_threaded

  !> Columns `col + 1 ... col + COLS` of rows `row + 1 ... last_row`.
  subroutine multiply_part(m, n, k, a, b, c, col, row, last_row)
    integer(i64), intent(in) :: m, n, k, col, row, last_row
    real(wp), intent(in) :: a(k, m), b(n, k)
    real(wp), intent(inout) :: c(n, m)
    real(wp), allocatable :: block(:, :, :), rows(:, :)
    integer(i64) :: i, j, s, step
    integer :: stat

    c(col + 1:col + COLS, row + 1:last_row) = 0
    allocate (block(WIDTH, STEPS, COLS/WIDTH), stat=stat)
    if (stat /= 0) return
    allocate (rows(PADDED, TILE_ROWS), stat=stat)
    if (stat /= 0) return
    do step = 0, k - 1, STEPS
      do s = 1, STEPS  ! along the rows of b
        do j = 1, COLS/WIDTH
          block(:, s, j) = b(col + (j - 1)*WIDTH + 1:col + j*WIDTH, step + s)
        end do
      end do
      do i = row + 1, last_row, TILE_ROWS
        rows(1:STEPS, :) = a(step + 1:step + STEPS, i:i + TILE_ROWS - 1)
        do j = 1, COLS/WIDTH
          call multiply_tile(STEPS, PADDED, rows, int(WIDTH, i64), block(1, 1, j), n, &
                             c(col + (j - 1)*WIDTH + 1, i))
        end do
      end do
    end do
  end subroutine multiply_part

  !> Add the product of TILE_ROWS rows and WIDTH columns to a tile of c, from version 3 on.
  pure subroutine multiply_tile(k, lda, a, ldb, b, ldc, c)
    integer(i64), intent(in) :: k                !! steps, at least one
    integer(i64), intent(in) :: lda, ldb, ldc    !! extents
    real(wp), intent(in) :: a(lda, TILE_ROWS)    !! rows of the left matrix
    real(wp), intent(in) :: b(ldb, k)            !! columns of the right matrix, in the first WIDTH
    real(wp), intent(inout) :: c(ldc, TILE_ROWS) !! the tile, in the first WIDTH
    real(wp) :: sums(LANES, 2, TILE_ROWS)
    integer(i64) :: p
    integer :: i, j, l

    sums = 0
    p = 1
    !GCC$ novector
    do
      !GCC$ unroll 16
      do i = 1, TILE_ROWS
        !GCC$ unroll 2
        do j = 1, 2
          do l = 1, LANES
            sums(l, j, i) = sums(l, j, i) + b((j - 1)*LANES + l, p)*a(p, i)  ! vfmadd231ps
          end do
        end do
      end do
      if (p == k) exit
      p = p + 1
    end do
    !GCC$ unroll 16
    do i = 1, TILE_ROWS
      !GCC$ unroll 2
      do j = 1, 2
        do l = 1, LANES
          c((j - 1)*LANES + l, i) = c((j - 1)*LANES + l, i) + sums(l, j, i)
        end do
      end do
    end do
  end subroutine multiply_tile
end module staircase
