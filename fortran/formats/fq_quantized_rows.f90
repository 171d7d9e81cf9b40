!> Layers whose activations become 8-bit codes on the fly: what formats of codes have in common.
!>
!> With q the codes of a row of x and s their step, `y = activation(s*sum + bias)`; the format says
!> how codes and weights are summed.
module fq_quantized_rows_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_code_rule, only: code_rule
  use fq_epilogue_real32, only: epilogue
  use fq_finish_real32, only: fill_rows, finish_rows, finish_softmax
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_quantize_real32, only: quantize
  use fq_share, only: part, part_of, share
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_work_size, only: SMALL_PRODUCT
  implicit none (type, external)
  private
  public :: CHUNK_ROWS, multiply_quantized, quantize_to_reals, scale_rows, share_rows

  ! Bytes of the rows of weights of a part: they stay in L2 while rows of activations pass by.
  integer(i64), parameter :: BLOCK_BYTES = 262144
  ! Rows of weights of a part at most; and what their number is a multiple of, that of the columns
  ! of any tile.
  integer(i64), parameter :: MOST_COLS = 192, COL_STEP = 12
  ! Rows of activations whose integer sums are held at a time.
  integer(i64), parameter :: CHUNK_ROWS = 48

  !> Rows of a part whose sums are made together.
  type, extends(part), public :: row_chunk
    logical :: is_first = .true.  !! of its part: what all chunks of that share is to be made
    integer :: thread = 1         !! whose scratch to use
  end type row_chunk

  !> Weights that are multiplied by 8-bit codes of activations, and the scratch for it.
  type, abstract, public :: quantized_format
    integer(i64) :: k = 0   !! inputs, which `multiply_quantized` sets
  contains
    procedure(prepare_share), deferred :: prepare
    procedure(store_codes), deferred :: store_row
    procedure(multiply_rows), deferred :: multiply_chunk
  end type quantized_format

  abstract interface
    !> Say how a product is shared, and allocate the scratch that this takes.
    subroutine prepare_share(weights, m, n, shared, info)
      import :: i32, i64, quantized_format, share
      implicit none (type, external)
      class(quantized_format), intent(inout) :: weights
      integer(i64), intent(in) :: m, n            !! rows of x; outputs
      type(share), intent(inout) :: shared        !! in: team; out: all, a panel being a column
      integer(i32), intent(out) :: info           !! FQ_OK or FQ_NO_MEMORY
    end subroutine prepare_share

    !> Keep the codes of a row of x in the order in which they are multiplied.
    pure subroutine store_codes(weights, row, codes)
      import :: i8, i64, quantized_format
      implicit none (type, external)
      class(quantized_format), intent(inout) :: weights
      integer(i64), intent(in) :: row                  !! row of x, from 1
      integer(i8), intent(in), contiguous :: codes(:)  !! codes, `-127 ... 127`, `(k)`
    end subroutine store_codes

    !> The sums of a chunk of at most CHUNK_ROWS rows, times the scales of the weights.
    pure subroutine multiply_rows(weights, chunk, ldy, y)
      import :: i64, quantized_format, row_chunk, wp
      implicit none (type, external)
      class(quantized_format), intent(inout) :: weights
      type(row_chunk), intent(in) :: chunk        !! what to multiply
      integer(i64), intent(in) :: ldy             !! columns of y
      real(wp), intent(inout) :: y(ldy, *)        !! sums, `(n, m)`
    end subroutine multiply_rows
  end interface

contains

  !> `y = activation(x w**T + bias)`, x quantized to 8 bits per row.
  !>
  !> A row of x has the step `max|x|/127`.  Sums of products of codes are exact; they are scaled as
  !> the format says, and the results multiplied by the step of the row.
  subroutine multiply_quantized(weights, x, bias, after, y, threads, info)
    class(quantized_format), intent(inout) :: weights  !! w, in a format of codes
    real(wp), intent(in), contiguous :: x(:, :)        !! activations, `(k, m)`
    real(wp), intent(in) :: bias(*)                    !! added to each row, `(n)`
    type(epilogue), intent(in) :: after                !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)       !! results, `(n, m)`
    integer(i32), intent(in) :: threads                !! threads to use, at least 1
    integer(i32), intent(out) :: info                  !! status code
    integer(i8), allocatable :: codes(:, :)
    real(wp), allocatable :: step(:, :)
    type(share) :: shared
    integer(i64) :: k, m, n, row, item
    integer :: thread

    k = size(x, 1, kind=i64)
    m = size(x, 2, kind=i64)
    n = size(y, 1, kind=i64)
    info = FQ_OK
    if (min(m, n) == 0) return
    if (k == 0) then
      call fill_rows(bias, after, y)
      return
    end if
    shared%team = merge(threads, 1_i32, m*n*k > SMALL_PRODUCT)
    weights%k = k
    call weights%prepare(m, n, shared, info)
    if (info == FQ_OK) call quantize_rows(x, codes, step, shared%team, info)
    if (info /= FQ_OK) return
    !$omp parallel default(none) num_threads(shared%team) if(shared%team > 1) private(thread) &
    !$omp shared(weights, m, n, shared, codes, step, bias, after, y)
    thread = 1
    !$ thread = omp_get_thread_num() + 1
    !$omp do schedule(static)
    do row = 1, m
      call weights%store_row(row, codes(:, row))
    end do
    !$omp do schedule(dynamic)
    do item = 0, shared%items - 1
      call multiply_part_quantized(weights, part_of(shared, item, 1_i64, m, n), thread, step, &
        bias, after, n, y)
    end do
    !$omp end parallel
    if (shared%across > 1) call finish_softmax(after, y, shared%team)
  end subroutine multiply_quantized

  !> A part of the results.
  pure subroutine multiply_part_quantized(weights, piece, thread, step, bias, after, ldy, y)
    class(quantized_format), intent(inout) :: weights
    type(part), intent(in) :: piece
    integer, intent(in) :: thread
    real(wp), intent(in) :: step(*), bias(*)
    type(epilogue), intent(in) :: after
    integer(i64), intent(in) :: ldy
    real(wp), intent(inout) :: y(ldy, *)
    type(row_chunk) :: chunk
    integer(i64) :: first, i

    chunk%part = piece
    chunk%thread = thread
    do first = piece%row, piece%last_row - 1, CHUNK_ROWS
      chunk%row = first
      chunk%last_row = min(first + CHUNK_ROWS, piece%last_row)
      chunk%is_first = first == piece%row
      call weights%multiply_chunk(chunk, ldy, y)
      do i = chunk%row + 1, chunk%last_row
        y(chunk%col + 1:chunk%last_col, i) = y(chunk%col + 1:chunk%last_col, i)*step(i)
      end do
      call finish_rows(chunk%part, bias, after, ldy, y)
    end do
  end subroutine multiply_part_quantized

  !> Parts for weights in rows: as many columns as fit L2, and rows enough for all threads.
  pure subroutine share_rows(m, n, row_bytes, shared)
    integer(i64), intent(in) :: m, n        !! rows of x; rows of weights; at least 1
    integer(i64), intent(in) :: row_bytes   !! bytes of a row of weights
    type(share), intent(inout) :: shared    !! in: team; out: all, a panel being a column
    integer(i64) :: team

    team = shared%team
    shared%panels = max(COL_STEP, min(MOST_COLS, BLOCK_BYTES/row_bytes)/COL_STEP*COL_STEP)
    shared%panels = min(shared%panels, ((n + team - 1)/team + COL_STEP - 1)/COL_STEP*COL_STEP)
    shared%across = (n + shared%panels - 1)/shared%panels
    shared%rows = m
    if (shared%across < 4*team) then
      shared%rows = min(m, max(4*CHUNK_ROWS, (m*shared%across + 4*team - 1)/(4*team)))
    end if
    shared%items = shared%across*((m + shared%rows - 1)/shared%rows)
  end subroutine share_rows

  !> 8-bit codes of activations, symmetric and per row, and their steps.
  subroutine quantize_rows(x, codes, step, threads, info)
    real(wp), intent(in), contiguous :: x(:, :)             !! activations, `(k, m)`
    integer(i8), intent(out), allocatable :: codes(:, :)    !! `-127 ... 127`, `(k, m)`
    real(wp), intent(out), allocatable :: step(:, :)        !! step of each row, `(1, m)`
    integer(i32), intent(in) :: threads                     !! threads to use, at least 1
    integer(i32), intent(out) :: info                       !! status code
    type(code_rule), parameter :: INT8 = code_rule(8, -127, 127, 0, 0, 0, 0, 0, 0)
    integer(i32), allocatable :: zeros(:, :)
    real(wp), allocatable :: minima(:, :)
    integer(i64) :: k, m
    integer :: stat

    k = size(x, 1, kind=i64)
    m = size(x, 2, kind=i64)
    allocate (codes(k, m), stat=stat)
    if (stat == 0) allocate (step(1, m), stat=stat)
    if (stat == 0) allocate (zeros(1, m), stat=stat)
    if (stat == 0) allocate (minima(1, m), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info == FQ_OK) call quantize(x, INT8, k, step, zeros, minima, codes, threads, info)
  end subroutine quantize_rows

  !> The same codes, held as reals, if they are wanted; else nothing.
  subroutine quantize_to_reals(x, wanted, codes, step, threads, info)
    real(wp), intent(in), contiguous :: x(:, :)         !! activations, `(k, m)`
    logical, intent(in) :: wanted                       !! else both results are empty
    real(wp), intent(out), allocatable :: codes(:, :)   !! `-127 ... 127`, `(k, m)`
    real(wp), intent(out), allocatable :: step(:, :)    !! step of each row, `(1, m)`
    integer(i32), intent(in) :: threads                 !! threads to use, at least 1
    integer(i32), intent(out) :: info                   !! status code
    integer(i8), allocatable :: bytes(:, :)
    integer(i64) :: k, m
    integer :: stat

    k = merge(size(x, 1, kind=i64), 0_i64, wanted)
    m = merge(size(x, 2, kind=i64), 0_i64, wanted)
    allocate (codes(k, m), stat=stat)
    if (stat == 0 .and. .not. wanted) allocate (step(1, m), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info == FQ_OK .and. wanted) call quantize_rows(x, bytes, step, threads, info)
    if (info == FQ_OK .and. wanted) codes(:, :) = bytes
  end subroutine quantize_to_reals

  !> Multiply a part of the sums by the scale of the column, then by the step of the row.
  pure subroutine scale_rows(piece, scale, step, ldy, y)
    type(part), intent(in) :: piece           !! the part
    real(wp), intent(in) :: scale(*)          !! factor of each column of y, `(n)`
    real(wp), intent(in) :: step(*)           !! factor of each row of y, `(m)`
    integer(i64), intent(in) :: ldy           !! columns of y
    real(wp), intent(inout) :: y(ldy, *)      !! in: sums; out: their products, `(n, m)`
    integer(i64) :: i, j

    do i = piece%row + 1, piece%last_row
      do j = piece%col + 1, piece%last_col
        y(j, i) = scale(j)*y(j, i)*step(i)
      end do
    end do
  end subroutine scale_rows
end module fq_quantized_rows_real32
