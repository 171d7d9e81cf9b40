!> Products with weights that lie in panels and become reals block by block: the driver of all such
!> formats.
!>
!> A panel is LANES rows of weights, a lane each, step after step of k.
module fq_widened_panels_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_align, only: aligned_start
  use fq_epilogue_real32, only: epilogue
  use fq_finish_real32, only: fill_rows, finish_rows, finish_softmax
  use fq_gemm_real32, only: block_entries, BLOCK_COLS, BLOCK_STEPS, divide, LANES, LINE, &
    multiply_block, panels_read, ROW_STEPS, TILE_ROWS
  use fq_kinds, only: i32, i64, wp => sp
  use fq_share, only: part, part_of, share
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  implicit none (type, external)
  private
  public :: clear_panels, multiply_panels

  !> Weights in panels.  A format extends this by where its arrays lie.
  type, abstract, public :: panel_source
    integer(i64) :: few_rows = 0   !! rows of the left matrix that `multiply_few_rows` takes at most
  contains
    procedure(widen_panel), deferred :: widen
    procedure(product_of_few_rows), deferred :: multiply_few_rows
  end type panel_source

  abstract interface
    !> Steps `step + 1 ... step + steps` of a panel as reals.
    pure subroutine widen_panel(self, p, step, steps, block)
      import :: i64, LANES, panel_source, wp
      implicit none (type, external)
      class(panel_source), intent(in) :: self
      integer(i64), intent(in) :: p             !! number of the panel, from 1
      integer(i64), intent(in) :: step, steps   !! steps before, those before a block; and to take
      real(wp), intent(inout) :: block(LANES, steps + 1)  !! values, and room for a step more
    end subroutine widen_panel

    !> Sums of a part of a product of no more than `few_rows` rows, all of them the part's.
    pure subroutine product_of_few_rows(self, k, m, a, piece, n, c, rows)
      import :: i64, panel_source, part, ROW_STEPS, TILE_ROWS, wp
      implicit none (type, external)
      class(panel_source), intent(in) :: self
      integer(i64), intent(in) :: k, m, n       !! steps; rows and columns of c
      real(wp), intent(in) :: a(k, m)           !! left matrix
      type(part), intent(in) :: piece           !! columns to set
      real(wp), intent(inout) :: c(n, m)        !! product
      real(wp), intent(inout) :: rows(ROW_STEPS, TILE_ROWS)  !! workspace
    end subroutine product_of_few_rows
  end interface

contains

  !> `c = activation(a w**T + bias)`.
  !>
  !> The same bits as `matmul_blocked` with panels of the reals that the weights stand for.
  subroutine multiply_panels(source, a, bias, after, c, threads, info)
    class(panel_source), intent(in) :: source       !! w, `(k, n)`
    real(wp), intent(in), contiguous :: a(:, :)     !! left matrix, `(k, m)`
    real(wp), intent(in) :: bias(*)                 !! added to each row, `(n)`
    type(epilogue), intent(in) :: after             !! what is done to each sum
    real(wp), intent(out), contiguous :: c(:, :)    !! product, `(n, m)`
    integer(i32), intent(in) :: threads             !! threads to use, at least 1
    integer(i32), intent(out) :: info               !! FQ_OK or FQ_NO_MEMORY
    real(wp), allocatable :: scratch(:, :)
    type(share) :: shared
    integer(i64) :: m, n, k, item, block_size
    integer :: t, stat

    n = size(c, 1, kind=i64)
    m = size(c, 2, kind=i64)
    k = size(a, 1, kind=i64)
    info = FQ_OK
    if (min(m, n) == 0) return
    if (k == 0) then
      call fill_rows(bias, after, c)
      return
    end if
    shared = divide(m, n, k, BLOCK_COLS, threads)
    block_size = 0
    if (m > source%few_rows) block_size = block_entries(min(k, BLOCK_STEPS), panels_read(1_i64, &
      shared%panels))
    allocate (scratch(block_size + ROW_STEPS*TILE_ROWS + LINE, shared%team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    !$omp parallel do default(none) private(t) num_threads(shared%team) schedule(dynamic) &
    !$omp   if(shared%team > 1) shared(source, a, bias, after, c, scratch, shared, n, m, k, &
    !$omp   block_size)
    do item = 0, shared%items - 1
      t = 1
      !$ t = omp_get_thread_num() + 1
      call multiply_part_panels(source, part_of(shared, item, int(LANES, i64), m, n), k, m, a, &
        bias, after, n, c, block_size, scratch(1, t))
    end do
    if (shared%across > 1) call finish_softmax(after, c, shared%team)
  end subroutine multiply_panels

  !> One part of the product, with bias and activation.
  subroutine multiply_part_panels(source, piece, k, m, a, bias, after, n, c, block_size, scratch)
    class(panel_source), intent(in) :: source
    type(part), intent(in) :: piece
    integer(i64), intent(in) :: k, m, n, block_size
    real(wp), intent(in) :: a(k, m), bias(*)
    type(epilogue), intent(in) :: after
    real(wp), intent(inout) :: c(n, m), scratch(*)
    integer(i64) :: start, step, steps, first, panels, p

    start = aligned_start(scratch, storage_size(scratch(1)))
    if (m <= source%few_rows) then
      call source%multiply_few_rows(k, m, a, piece, n, c, scratch(start))
    else
      first = piece%col/LANES + 1
      panels = (piece%last_col - piece%col + LANES - 1)/LANES
      do step = 0, k - 1, BLOCK_STEPS
        steps = min(BLOCK_STEPS, k - step)
        do p = 0, panels - 1
          call source%widen(first + p, step, steps, scratch(start + p*(steps + 1)*LANES))
        end do
        call clear_panels(panels, panels_read(piece%last_row - piece%row, panels), steps, &
          scratch(start))
        call multiply_block(k, a, .false., piece, step, steps, steps + 1, scratch(start), n, c, &
          scratch(start + block_size))
      end do
    end if
    call finish_rows(piece, bias, after, n, c)
  end subroutine multiply_part_panels

  !> Zeros in the panels that wide tiles read behind the last.
  pure subroutine clear_panels(filled, read, steps, block)
    integer(i64), intent(in) :: filled, read   !! panels that are there; and that are read
    integer(i64), intent(in) :: steps          !! steps of a panel
    real(wp), intent(inout) :: block(LANES, steps + 1, *)

    if (read > filled) block(:, 1:steps, filled + 1:read) = 0
  end subroutine clear_panels
end module fq_widened_panels_real32
