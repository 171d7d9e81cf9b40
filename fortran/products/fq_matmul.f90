!> Products of matrices of reals, blocked for registers and caches, threaded over tiles of the
!> output.
!>
!> Python: `pyfq/products/matmul.py`.  Reference: `pyfq/reference/products/matmul.py`.
module fq_matmul_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: is_activation
  use fq_align, only: aligned_start
  use fq_arguments, only: status_of
  use fq_dense_real32, only: pack_block, packed_vectors, panel_at
  use fq_epilogue_real32, only: epilogue
  use fq_factors, only: B_PACKED, B_PLAIN, B_TRANSPOSED, factors, is_order
  use fq_finish_real32, only: fill_rows, finish_rows, finish_softmax
  use fq_gemm_real32, only: block_entries, BLOCK_COLS, BLOCK_STEPS, copy_rows, divide, dot_rows, &
    LANES, LINE, multiply_block, panels_read, ROW_STEPS, TILE_ROWS
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_share, only: part, part_of, share
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_stored_layer, only: FORMAT_PANELS, stored_layer
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: matmul_blocked, multiply_dense_layer, status_of_product

  ! Columns of an item of few rows: their sums stay in L1, and b is read in long runs.
  integer(i64), parameter :: FEW_COLS = 2048
  ! Rows of the left matrix that do not pay for packing.
  integer(i64), parameter :: FEW_PLAIN = 4
  integer(i64), parameter, public :: FEW_DOTS = 3
  ! Columns of the product that would fill less than a vector.
  integer(i64), parameter :: NARROW = max(FEW_DOTS, shiftr(3*int(LANES, i64), 2))

contains

  !> `c = activation(op(a) op(b) + bias)`.
  !>
  !> A sum over k is made of blocks of BLOCK_STEPS steps, each from 0 and in order, added in order:
  !> the same bits for any shape, packing and number of threads.  Only where there are no more than
  !> FEW_DOTS columns, or rows if b is given as its transpose, are sums made in lanes.
  subroutine matmul_blocked(given, a, b, bias, after, c, threads, info)
    type(factors), intent(in) :: given         !! extents of a, b and c, and how a and b lie
    real(wp), intent(in) :: a(given%lda, *)    !! left matrix, `(k, m)`, or `(m, k)` if transposed
    real(wp), intent(in) :: b(given%ldb, *)    !! right matrix, `(n, k)`, `(k, n)` or panels
    real(wp), intent(in) :: bias(*)            !! added to each row of the product, `(n)`
    type(epilogue), intent(in) :: after        !! what is done to each sum
    real(wp), intent(out) :: c(given%n, given%m)  !! product, `(n, m)`
    integer(i32), intent(in) :: threads        !! threads to use, at least 1
    integer(i32), intent(out) :: info          !! status code; of no entries nothing is written
    integer(i64) :: m, n

    m = given%m
    n = given%n
    info = status_of([m, n, given%k], .true., is_order(given%b_order) .and. &
      is_activation(after%activation) .and. threads >= 1)
    if (info /= FQ_OK .or. min(m, n) == 0) return
    if (given%k == 0) then
      call fill_rows(bias, after, c)
    else if (given%b_order == B_PACKED .or. n > NARROW .or. (n > FEW_DOTS .and. m < 4*LANES)) then
      call multiply_parts(given, a, b, bias, after, c, threads, info)
    else
      call multiply_flipped(given, a, b, c, threads, info)
      if (info == FQ_OK) call finish_rows(part(0_i64, m, 0_i64, n), bias, after, n, c)
    end if
  end subroutine matmul_blocked

  !> Sums of few columns, which would leave vectors empty: the transpose of the product has few rows
  !> instead.
  subroutine multiply_flipped(given, a, b, c, threads, info)
    type(factors), intent(in) :: given
    real(wp), intent(in) :: a(given%lda, *), b(given%ldb, *)
    real(wp), intent(inout) :: c(given%n, given%m)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    real(wp), allocatable :: flipped(:, :), columns(:, :)
    real(wp) :: no_bias(1)
    type(factors) :: swapped
    integer(i64) :: j
    integer :: stat

    allocate (flipped(given%m, given%n), stat=stat)
    if (stat == 0) allocate (columns(given%k, merge(given%n, 0_i64, given%b_order == B_PLAIN)), &
      stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    no_bias = 0
    swapped = factors(m=given%n, n=given%m, k=given%k, lda=given%k, ldb=given%lda, &
      b_order=merge(B_PLAIN, B_TRANSPOSED, given%a_transposed))
    if (given%b_order == B_PLAIN) then
      do j = 1, given%n
        columns(:, j) = b(j, 1:given%k)
      end do
      call multiply_parts(swapped, columns, a, no_bias, epilogue(), flipped, threads, info)
    else
      call multiply_parts(swapped, b, a, no_bias, epilogue(), flipped, threads, info)
    end if
    if (info /= FQ_OK) return
    do j = 1, given%n
      c(j, :) = flipped(:, j)
    end do
  end subroutine multiply_flipped

  !> What `matmul_blocked` does, without a look at the shape.
  subroutine multiply_parts(given, a, b, bias, after, c, threads, info)
    type(factors), intent(in) :: given
    real(wp), intent(in) :: a(given%lda, *), b(given%ldb, *), bias(*)
    type(epilogue), intent(in) :: after
    real(wp), intent(out) :: c(given%n, given%m)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    real(wp), allocatable :: scratch(:, :)
    type(share) :: shared
    integer(i64) :: item, block_size
    integer :: t, stat
    logical :: few

    few = given%b_order == B_PLAIN .and. given%m <= FEW_PLAIN
    shared = divide(given%m, given%n, given%k, merge(FEW_COLS, BLOCK_COLS, few), threads)
    block_size = block_entries(min(given%k, BLOCK_STEPS), panels_read(1_i64, shared%panels))
    if (given%b_order == B_PACKED) block_size = 0
    if (few) block_size = FEW_PLAIN*LANES*shared%panels
    allocate (scratch(block_size + ROW_STEPS*TILE_ROWS + LINE, shared%team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    if (shared%team == 1) then  ! a region, even of one thread, costs more than a small product
      do item = 0, shared%items - 1
        call multiply_part_dense(part_of(shared, item, int(LANES, i64), given%m, given%n), given, &
          a, b, bias, after, c, block_size, scratch)
      end do
    else
      !$omp parallel do default(none) private(t) num_threads(shared%team) schedule(dynamic) &
      !$omp   shared(given, a, b, bias, after, c, scratch, shared, block_size)
      do item = 0, shared%items - 1
        t = 1
        !$ t = omp_get_thread_num() + 1
        call multiply_part_dense(part_of(shared, item, int(LANES, i64), given%m, given%n), given, &
          a, b, bias, after, c, block_size, scratch(1, t))
      end do
    end if
    if (shared%across > 1) call finish_softmax(after, c, shared%team)
  end subroutine multiply_parts

  !> One part of the product, with bias and activation.
  subroutine multiply_part_dense(piece, given, a, b, bias, after, c, block_size, scratch)
    type(part), intent(in) :: piece
    type(factors), intent(in) :: given
    real(wp), intent(in) :: a(given%lda, *), b(given%ldb, *), bias(*)
    type(epilogue), intent(in) :: after
    real(wp), intent(inout) :: c(given%n, *), scratch(*)
    integer(i64), intent(in) :: block_size
    integer(i64) :: start

    start = aligned_start(scratch, storage_size(scratch(1)))
    call sum_part(piece, given, a, b, c, scratch(start), scratch(start + block_size))
    call finish_rows(piece, bias, after, given%n, c)
  end subroutine multiply_part_dense

  !> The sums of one part.
  pure subroutine sum_part(piece, given, a, b, c, block, rows)
    type(part), intent(in) :: piece
    type(factors), intent(in) :: given
    real(wp), intent(in) :: a(given%lda, *), b(given%ldb, *)
    real(wp), intent(inout) :: c(given%n, *), block(*), rows(*)
    integer(i64) :: n, m, k, lda, ldb, step, steps, panels
    logical :: is_transposed

    n = given%n
    m = given%m
    k = given%k
    lda = given%lda
    ldb = given%ldb
    is_transposed = given%b_order == B_TRANSPOSED
    if (is_transposed .and. m <= FEW_DOTS .and. .not. given%a_transposed) then
      call dot_rows(k, m, a, b, n, c, piece%col, piece%last_col)
      return
    end if
    panels = (piece%last_col - piece%col + LANES - 1)/LANES
    do step = 0, k - 1, BLOCK_STEPS
      steps = min(BLOCK_STEPS, k - step)
      if (given%b_order == B_PACKED) then
        call multiply_block(lda, a, given%a_transposed, piece, step, steps, steps, b(1, &
          panel_at(n, step, steps, piece%col)), n, c, rows)
      else if (given%b_order == B_PLAIN .and. m <= FEW_PLAIN) then
        call copy_rows(lda, a, given%a_transposed, piece%row, m, m, step, steps, rows)
        call add_plain(m, step, steps, rows, ldb, b, n, c, piece%col, piece%last_col, block)
      else
        call pack_block(ldb, b, is_transposed, step, steps, piece%col, piece%last_col, &
          panels_read(piece%last_row - piece%row, panels), steps + 1, block)
        call multiply_block(lda, a, given%a_transposed, piece, step, steps, steps + 1, block, n, &
          c, rows)
      end if
    end do
  end subroutine sum_part

  !> Columns of the product of a few rows: rows of b, scaled, are added where they lie, four at a
  !> time.
  pure subroutine add_plain(m, step, steps, rows, ldb, b, ldc, c, col, last_col, sums)
    integer(i64), intent(in) :: m, step, steps, ldb, ldc, col, last_col
    real(wp), intent(in) :: rows(ROW_STEPS, *), b(ldb, *)
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
      if (step == 0) then
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

  !> `y = activation(x w**T + bias)` of a layer whose weights are reals, in rows or in panels.
  subroutine multiply_dense_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer                   !! of FORMAT_DENSE or FORMAT_PANELS
    integer(i8), intent(in), target, contiguous :: memory(:)  !! where its arrays are
    real(wp), intent(in), contiguous :: x(:, :)               !! inputs, `(k, m)`
    real(wp), intent(in) :: bias(*)                           !! added to each row, `(rows)`
    type(epilogue), intent(in) :: after                       !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)              !! outputs, `(rows, m)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! status code
    real(wp), pointer, contiguous :: w(:, :)
    type(factors) :: given
    logical :: is_packed

    is_packed = layer%format == FORMAT_PANELS
    given = factors(m=size(x, 2, kind=i64), n=layer%rows, k=layer%k, lda=layer%k, &
      ldb=merge(int(LANES, i64), layer%k, is_packed), &
      b_order=merge(B_PACKED, B_TRANSPOSED, is_packed))
    call c_f_pointer(c_loc(memory(layer%weights + 1)), w, [given%ldb, layer%vectors])
    call matmul_blocked(given, x, w, bias, after, y, threads, info)
  end subroutine multiply_dense_layer

  !> What is wrong with the extents and codes of a product, FQ_OK if nothing is.
  pure function status_of_product(given, a_shape, b_shape, bias_cols, after, threads) result(info)
    type(factors), intent(in) :: given       !! extents of the product, and how a and b lie
    integer(i64), intent(in) :: a_shape(2)   !! rows and columns of a as NumPy counts them
    integer(i64), intent(in) :: b_shape(2)   !! the same of b
    integer(i64), intent(in) :: bias_cols    !! entries of the bias
    type(epilogue), intent(in) :: after      !! what is done to each sum
    integer(i32), intent(in) :: threads      !! threads to use
    integer(i32) :: info

    info = status_of([given%m, given%n, given%k, a_shape, b_shape, bias_cols], &
      fits_left(given, a_shape(1), a_shape(2)) .and. fits_right(given, b_shape(1), b_shape(2)) &
        .and. (bias_cols == given%n .or. .not. after%has_bias), &
      is_order(given%b_order) .and. is_activation(after%activation) .and. threads >= 1)
  end function status_of_product

  !> Whether a left matrix of so many rows and columns is that of a product.
  pure function fits_left(given, rows, cols) result(fits)
    type(factors), intent(in) :: given       !! the product
    integer(i64), intent(in) :: rows, cols   !! rows and columns as NumPy counts them
    logical :: fits

    fits = merge(rows == given%k .and. cols == given%m, rows == given%m .and. cols == given%k, &
      given%a_transposed)
  end function fits_left

  !> Whether a right matrix of so many rows and columns is that of a product.
  pure function fits_right(given, rows, cols) result(fits)
    type(factors), intent(in) :: given       !! the product
    integer(i64), intent(in) :: rows, cols   !! rows and columns as NumPy counts them
    logical :: fits

    select case (given%b_order)
    case (B_PLAIN)
      fits = rows == given%k .and. cols == given%n
    case (B_TRANSPOSED)
      fits = rows == given%n .and. cols == given%k
    case (B_PACKED)
      fits = rows == packed_vectors(given%n, given%k) .and. cols == LANES
    case default  ! which is told as an order that there is not
      fits = .true.
    end select
  end function fits_right
end module fq_matmul_real32
