!> Weights as reals: rows as they are (DENSE), or panels as the tiles read them (PANELS).
!> `fq_matmul` multiplies both.
!>
!> A panel is LANES columns of the right matrix, step after step of k.
module fq_dense_real32
  use fq_gemm_real32, only: BLOCK_STEPS, LANES, SINGLE_PANELS, transpose_block
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_layer_parts, only: layer_parts
  use fq_status, only: FQ_OK
  use fq_stored_layer, only: FORMAT_DENSE, place, stored_layer
  use fq_weight_parts_real32, only: point_to_reals, read_reals, REAL_BYTES
  use fq_work_size, only: SMALL_WORK
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: pack_block, pack_dense_layer, packed_vectors, panel_at, plan_dense_layer

contains

  !> Places of a layer whose weights are reals, rows as they are or panels.
  pure subroutine plan_dense_layer(layer, used)
    type(stored_layer), intent(inout) :: layer   !! of FORMAT_DENSE or FORMAT_PANELS
    integer(i64), intent(inout) :: used          !! bytes of the memory

    if (layer%format == FORMAT_DENSE) then
      layer%vectors = layer%rows
      call place(layer%rows*layer%k*REAL_BYTES, used, layer%weights)
    else
      layer%vectors = packed_vectors(layer%rows, layer%k)
      call place(layer%vectors*LANES*REAL_BYTES, used, layer%weights)
    end if
  end subroutine plan_dense_layer

  !> Its arrays.
  subroutine pack_dense_layer(parts, layer, memory, threads, info)
    type(layer_parts), intent(in) :: parts                       !! what it is made of
    type(stored_layer), intent(in) :: layer                      !! where its arrays go
    integer(i8), intent(inout), target, contiguous :: memory(:)  !! the memory
    integer(i32), intent(in) :: threads                          !! threads to use, at least 1
    integer(i32), intent(out) :: info                            !! FQ_OK or FQ_NO_MEMORY
    real(wp), allocatable, target :: own(:, :)
    real(wp), pointer, contiguous :: w(:, :), packed(:, :)

    if (layer%format == FORMAT_DENSE) then
      call c_f_pointer(c_loc(memory(layer%weights + 1)), w, [layer%k, layer%rows])
      call read_reals(parts, w, threads, info)
      return
    end if
    call point_to_reals(parts, own, w, threads, info)
    if (info /= FQ_OK) return
    call c_f_pointer(c_loc(memory(layer%weights + 1)), packed, [int(LANES, i64), layer%vectors])
    call pack_panels(layer%rows, layer%k, w, .true., packed, threads)
  end subroutine pack_dense_layer

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
    integer(i64), intent(in) :: n, k   !! columns of the right matrix; rows
    integer(i64) :: vectors, panels

    panels = (n + LANES - 1)/LANES
    vectors = panels*k + (SINGLE_PANELS - 1)*min(k, BLOCK_STEPS)
  end function packed_vectors

  !> Vector of a packed matrix where a panel of a block of steps starts.
  pure function panel_at(n, step, steps, col) result(at)
    integer(i64), intent(in) :: n             !! columns of the right matrix
    integer(i64), intent(in) :: step, steps   !! steps before the block; and in it
    integer(i64), intent(in) :: col           !! columns before the panel
    integer(i64) :: at

    at = (n + LANES - 1)/LANES*step + col/LANES*steps + 1
  end function panel_at

  !> Columns `col + 1 ... last_col` of some steps of op(b) as panels, filled up with zeros.
  pure subroutine pack_block(ldb, b, transposed, step, steps, col, last_col, panels, stride, block)
    integer(i64), intent(in) :: ldb             !! columns of b as it is given
    real(wp), intent(in) :: b(ldb, *)           !! right matrix, `(n, k)`, or `(k, n)` if transposed
    logical, intent(in) :: transposed           !! whether b is given as its transpose
    integer(i64), intent(in) :: step, steps     !! steps before; and to take
    integer(i64), intent(in) :: col, last_col   !! columns before; and last column
    integer(i64), intent(in) :: panels, stride  !! panels to fill; and steps from one to the next
    real(wp), intent(inout) :: block(LANES, stride, panels)  !! panels
    integer(i64) :: whole, rest, j, s

    whole = (last_col - col)/LANES
    rest = last_col - col - whole*LANES
    do j = whole + 1, panels
      block(:, 1:steps, j) = 0
    end do
    if (transposed) then
      do j = 1, whole
        call transpose_block(steps, ldb, b(step + 1, col + (j - 1)*LANES + 1), block(1, 1, j))
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
end module fq_dense_real32
