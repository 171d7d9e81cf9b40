!> Compressed sparse rows, as in SciPy's csr_array, times one row of activations.
module fq_csr_real32
  use fq_epilogue_real32, only: epilogue
  use fq_finish_real32, only: finish_rows, finish_softmax
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_layer_parts, only: INPUTS_CODED, layer_parts
  use fq_nonzeros_real32, only: count_nonzeros, nonzeros, read_nonzeros, store_scale
  use fq_quantized_rows_real32, only: quantize_to_reals, scale_rows
  use fq_share, only: part
  use fq_status, only: FQ_OK
  use fq_stored_layer, only: place, stored_layer
  use fq_weight_parts_real32, only: REAL_BYTES
  use fq_work_size, only: SMALL_WORK
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: multiply_csr_layer, pack_csr_layer, plan_csr_layer

  integer(i64), parameter :: ITEM_ROWS = 128   ! rows of weights of an item

contains

  !> Places of a layer.
  subroutine plan_csr_layer(parts, layer, used)
    type(layer_parts), intent(in) :: parts       !! what it is made of: `count_nonzeros` takes it
    type(stored_layer), intent(inout) :: layer   !! of FORMAT_CSR
    integer(i64), intent(inout) :: used          !! bytes of the memory
    integer(i64) :: total, most

    call count_nonzeros(parts, total, most)
    layer%rows = layer%n
    call place((layer%n + 1)*8, used, layer%starts)
    call place(total*4, used, layer%indices)
    call place(total*REAL_BYTES, used, layer%weights)
    if (parts%inputs == INPUTS_CODED) call place(layer%n*REAL_BYTES, used, layer%scale)
  end subroutine plan_csr_layer

  !> Its arrays.
  subroutine pack_csr_layer(parts, layer, memory, info)
    type(layer_parts), intent(in) :: parts                       !! what it is made of
    type(stored_layer), intent(in) :: layer                      !! where its arrays go
    integer(i8), intent(inout), target, contiguous :: memory(:)  !! the memory
    integer(i32), intent(out) :: info                            !! FQ_OK or FQ_NO_MEMORY
    type(nonzeros) :: found
    integer(i64), pointer, contiguous :: indptr(:)
    integer(i32), pointer, contiguous :: indices(:)
    real(wp), pointer, contiguous :: values(:)
    integer(i64) :: count

    call read_nonzeros(parts, layer%coded_inputs /= 0, found, info)
    if (info /= FQ_OK) return
    count = found%starts(layer%n + 1)
    call c_f_pointer(c_loc(memory(layer%starts + 1)), indptr, [layer%n + 1])
    call c_f_pointer(c_loc(memory(layer%indices + 1)), indices, [count])
    call c_f_pointer(c_loc(memory(layer%weights + 1)), values, [count])
    indptr = found%starts
    indices = found%cols(:count)
    values = found%values(:count)
    call store_scale(parts, layer, memory)
  end subroutine pack_csr_layer

  !> `y = activation(scale*(x w**T)*step + bias)` for one row of x, the zeros of w skipped.
  !>
  !> Entry i of a row goes to lane `mod(i, 16)` of its sum, those behind the last 16 one by one.
  subroutine multiply_csr(x, indptr, indices, values, has_scale, scale, step, bias, after, y, &
    threads)
    real(wp), intent(in) :: x(*)                  !! activations, `(k)`
    integer(i64), intent(in) :: indptr(0:*)       !! nonzeros before each row, and all, `(0:n)`
    integer(i32), intent(in) :: indices(*)        !! column of each nonzero, from 0
    real(wp), intent(in) :: values(*)             !! nonzeros
    logical, intent(in) :: has_scale              !! else scale and step are not looked at
    real(wp), intent(in) :: scale(*), step(*)     !! factors of each entry of y `(n)`, and of all
    real(wp), intent(in) :: bias(*)               !! added, `(n)`
    type(epilogue), intent(in) :: after           !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)    !! result, `(n, 1)`
    integer(i32), intent(in) :: threads           !! threads to use, at least 1
    type(part) :: piece
    integer(i64) :: n, row, j

    n = size(y, 1, kind=i64)
    !$omp parallel do default(none) private(piece, j) schedule(dynamic) num_threads(threads) &
    !$omp shared(x, indptr, indices, values, has_scale, scale, step, bias, after, y, n) &
    !$omp if(indptr(n) > SMALL_WORK)
    do row = 0, n - 1, ITEM_ROWS
      piece%row = 0
      piece%last_row = 1
      piece%col = row
      piece%last_col = min(row + ITEM_ROWS, n)
      do j = row + 1, piece%last_col
        y(j, 1) = gather_dot(indptr(j) - indptr(j - 1), indices(indptr(j - 1) + 1), &
          values(indptr(j - 1) + 1), x)
      end do
      if (has_scale) call scale_rows(piece, scale, step, n, y)
      call finish_rows(piece, bias, after, n, y)
    end do
    if (n > ITEM_ROWS) call finish_softmax(after, y, 1_i32)
  end subroutine multiply_csr

  pure function gather_dot(count, indices, values, x) result(total)
    integer(i64), intent(in) :: count
    integer(i32), intent(in) :: indices(count)
    real(wp), intent(in) :: values(count), x(*)
    real(wp) :: total
    real(wp) :: lane(16)
    integer(i64) :: t
    integer :: l

    lane = 0
    do t = 0, count - 16, 16
      do l = 1, 16  ! vgatherdps
        lane(l) = lane(l) + values(t + l)*x(indices(t + l) + 1)
      end do
    end do
    total = 0
    do t = count/16*16 + 1, count
      total = total + values(t)*x(indices(t) + 1)
    end do
    lane(1:8) = lane(1:8) + lane(9:16)
    lane(1:4) = lane(1:4) + lane(5:8)
    lane(1:2) = lane(1:2) + lane(3:4)
    total = total + (lane(1) + lane(2))
  end function gather_dot

  !> A layer of a network, for one row of x.
  subroutine multiply_csr_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer                   !! of FORMAT_CSR
    integer(i8), intent(in), target, contiguous :: memory(:)  !! arrays of the layer
    real(wp), intent(in), target, contiguous :: x(:, :)       !! activations, `(k, 1)`
    real(wp), intent(in) :: bias(*)                           !! added, `(rows)`
    type(epilogue), intent(in) :: after                       !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)              !! result, `(rows, 1)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! status code
    real(wp), allocatable, target :: codes(:, :)
    real(wp), allocatable :: step(:, :)
    real(wp), pointer, contiguous :: inputs(:, :), values(:), scale(:)
    integer(i64), pointer, contiguous :: indptr(:)
    integer(i32), pointer, contiguous :: indices(:)
    integer(i64) :: count

    call quantize_to_reals(x, layer%coded_inputs /= 0, codes, step, threads, info)
    if (info /= FQ_OK) return
    inputs => x
    if (layer%coded_inputs /= 0) inputs => codes
    call c_f_pointer(c_loc(memory(layer%starts + 1)), indptr, [layer%rows + 1])
    count = indptr(layer%rows + 1)
    call c_f_pointer(c_loc(memory(layer%indices + 1)), indices, [count])
    call c_f_pointer(c_loc(memory(layer%weights + 1)), values, [count])
    call c_f_pointer(c_loc(memory(max(layer%scale, 0_i64) + 1)), scale, [layer%rows])
    call multiply_csr(inputs, indptr, indices, values, layer%coded_inputs /= 0, scale, step, bias, &
      after, y, threads)
  end subroutine multiply_csr_layer
end module fq_csr_real32
