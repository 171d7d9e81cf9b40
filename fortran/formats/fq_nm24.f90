!> 2:4 weights, two of every four neighbours, times few rows of activations: an output a lane,
!> groups expanded to dense in registers.
!>
!> Four bits say where the two values of a group, its first and its second, lie among the four:
!>
!> | bit | if it is set             | if neither bit of the value is |
!> |-----|--------------------------|--------------------------------|
!> | 1   | the first lies at 0      | the first lies at 2            |
!> | 2   | the first lies at 1      |                                |
!> | 4   | the second lies at 3     | the second lies at 1           |
!> | 8   | the second lies at 2     |                                |
module fq_nm24_real32
  use fq_epilogue_real32, only: epilogue
  use fq_finish_real32, only: finish_rows, finish_softmax
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_layer_parts, only: layer_parts
  use fq_nonzeros_real32, only: read_position_bits, read_row_values
  use fq_precondition, only: CHECKED, require
  use fq_share, only: part
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_stored_layer, only: place, stored_layer
  use fq_weight_parts_real32, only: REAL_BYTES, row_scale
  use fq_work_size, only: SMALL_PRODUCT
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: multiply_nm24_layer, pack_nm24_layer, plan_nm24_layer

  integer(i64), parameter :: NM24_ROWS = 16   ! rows of weights side by side
  integer(i64), parameter :: WORD_GROUPS = 8   ! groups whose positions are one word
  integer(i64), parameter :: BATCH = 8         ! rows of x at a time

contains

  !> Places of a layer.
  pure subroutine plan_nm24_layer(layer, used)
    type(stored_layer), intent(inout) :: layer   !! of FORMAT_NM24
    integer(i64), intent(inout) :: used          !! bytes of the memory
    integer(i64) :: groups

    groups = (layer%k + 3)/4
    layer%groups = (groups + WORD_GROUPS - 1)/WORD_GROUPS*WORD_GROUPS
    layer%panels = (layer%n + NM24_ROWS - 1)/NM24_ROWS
    call place(layer%panels*NM24_ROWS*2*layer%groups*REAL_BYTES, used, layer%weights)
    call place(layer%panels*NM24_ROWS*layer%groups/WORD_GROUPS*4, used, layer%positions)
  end subroutine plan_nm24_layer

  !> Its arrays.
  subroutine pack_nm24_layer(parts, layer, memory)
    type(layer_parts), intent(in) :: parts                       !! what it is made of, 2:4
    type(stored_layer), intent(in) :: layer                      !! where its arrays go
    integer(i8), intent(inout), target, contiguous :: memory(:)  !! the memory
    real(wp), pointer, contiguous :: values(:, :, :)
    integer(i32), pointer, contiguous :: positions(:, :, :)
    integer(i32) :: bits((layer%k + 3)/4)
    real(wp) :: row(2*size(bits, kind=i64))
    integer(i64) :: r, g, lane, panel, word

    call c_f_pointer(c_loc(memory(layer%weights + 1)), values, [NM24_ROWS, 2*layer%groups, &
      layer%panels])
    call c_f_pointer(c_loc(memory(layer%positions + 1)), positions, [NM24_ROWS, &
      layer%groups/WORD_GROUPS, layer%panels])
    values = 0
    positions = 0
    do r = 1, layer%n
      lane = mod(r - 1, NM24_ROWS) + 1
      panel = (r - 1)/NM24_ROWS + 1
      call read_row_values(parts, (r - 1)*size(row, kind=i64), row)
      values(lane, :size(row), panel) = row*row_scale(parts, r)
      call read_position_bits(parts, r, bits)
      do g = 0, size(bits, kind=i64) - 1
        word = g/WORD_GROUPS + 1
        positions(lane, word, panel) = ior(positions(lane, word, panel), shiftl(bits(g + 1), &
          4*mod(g, WORD_GROUPS)))
      end do
    end do
  end subroutine pack_nm24_layer

  !> `y = activation(x w**T + bias)`.
  !>
  !> *Preconditions*: NM24_ROWS rows of w lie side by side, the first values of a group before its
  !> second ones; groups are filled up to a multiple of WORD_GROUPS with zeros; the bits of group g
  !> start at bit `4*mod(g - 1, WORD_GROUPS)` of a word.
  subroutine multiply_nm24(x, groups, values, positions, bias, after, y, threads, info)
    real(wp), intent(in), contiguous :: x(:, :)              !! activations, `(k, m)`
    integer(i64), intent(in) :: groups                       !! groups of a row, a multiple of 8
    real(wp), intent(in), contiguous :: values(:, :)         !! `(16*2*groups, panels)`
    integer(i32), intent(in), contiguous :: positions(:, :)  !! `(16*groups/8, panels)`
    real(wp), intent(in) :: bias(*)                          !! added to each row of y, `(n)`
    type(epilogue), intent(in) :: after                      !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)             !! results, `(n, m)`
    integer(i32), intent(in) :: threads                      !! threads to use, at least 1
    integer(i32), intent(out) :: info                        !! FQ_OK or FQ_NO_MEMORY
    real(wp), allocatable :: batches(:, :)
    real(wp) :: sums(NM24_ROWS, BATCH)
    type(part) :: piece
    integer(i64) :: m, n, panel, first, i
    integer(i32) :: team
    integer :: stat

    m = size(x, 2, kind=i64)
    n = size(y, 1, kind=i64)
    if (CHECKED) then
      call require(mod(groups, WORD_GROUPS) == 0 .and. 4*groups >= size(x, 1, kind=i64), &
        'multiply_nm24: groups are filled up to a multiple of WORD_GROUPS')
      call require(size(values, 1, kind=i64) == 2*NM24_ROWS*groups &
        .and. size(positions, 1, kind=i64) == NM24_ROWS*groups/WORD_GROUPS &
        .and. NM24_ROWS*size(values, 2, kind=i64) >= n, &
        'multiply_nm24: NM24_ROWS rows lie side by side')
      call require(all(abs(values((size(x, 1, kind=i64) + 3)/4*2*NM24_ROWS + 1:, :)) <= 0), &
        'multiply_nm24: zeros behind the last group')
    end if
    team = merge(threads, 1_i32, size(values, kind=i64)*m > SMALL_PRODUCT)
    allocate (batches(4*groups*BATCH, (m + BATCH - 1)/BATCH), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    !$omp parallel default(none) num_threads(team) if(team > 1) private(sums, first, piece, i) &
    !$omp shared(x, groups, values, positions, bias, after, y, batches, m, n)
    !$omp do schedule(static)
    do first = 0, m - 1, BATCH
      call interleave(size(x, 1, kind=i64), min(BATCH, m - first), x(:, first + 1:), &
        batch_height(m - first), 4*groups, batches(:, first/BATCH + 1))
    end do
    !$omp do schedule(dynamic)
    do panel = 1, size(values, 2, kind=i64)
      piece = part(0_i64, m, (panel - 1)*NM24_ROWS, min(panel*NM24_ROWS, n))
      do first = 0, m - 1, BATCH
        call multiply_batch(batch_height(m - first), groups, values(:, panel), &
          positions(:, panel), batches(:, first/BATCH + 1), sums)
        do i = 1, min(BATCH, m - first)
          y(piece%col + 1:piece%last_col, first + i) = sums(1:piece%last_col - piece%col, i)
        end do
      end do
      call finish_rows(piece, bias, after, n, y)
    end do
    !$omp end parallel
    if (n > NM24_ROWS) call finish_softmax(after, y, team)
  end subroutine multiply_nm24

  !> Rows of x multiplied at a time when so many are left: 1, 4 or 8.
  pure function batch_height(left) result(high)
    integer(i64), intent(in) :: left
    integer(i64) :: high

    high = BATCH
    if (left <= 4) high = 4
    if (left == 1) high = 1
  end function batch_height

  !> Rows of x step by step of k, and zeros where there are none.
  pure subroutine interleave(k, count, x, high, steps, batches)
    integer(i64), intent(in) :: k, count, high, steps
    real(wp), intent(in) :: x(k, count)
    real(wp), intent(out) :: batches(high, steps)
    integer(i64) :: i

    do i = 1, high
      if (i > count) then
        batches(i, :) = 0
      else
        batches(i, 1:k) = x(:, i)
        batches(i, k + 1:) = 0
      end if
    end do
  end subroutine interleave

  pure subroutine multiply_batch(high, groups, values, positions, x, sums)
    integer(i64), intent(in) :: high, groups
    real(wp), intent(in) :: values(*), x(*)
    integer(i32), intent(in) :: positions(*)
    real(wp), intent(inout) :: sums(NM24_ROWS, BATCH)

    if (high == 1) then
      call multiply_nm24_row(groups, values, positions, x, sums)
    else if (high == 4) then
      call multiply_nm24_four(groups, values, positions, x, sums)
    else
      call multiply_nm24_eight(groups, values, positions, x, sums)
    end if
  end subroutine multiply_batch

  pure subroutine multiply_nm24_row(groups, values, positions, x, sums)
    integer, parameter :: B = 1, C = 4  ! four chains hide the latency of an addition
    include 'fq_tile_nm24.inc'
  end subroutine multiply_nm24_row

  pure subroutine multiply_nm24_four(groups, values, positions, x, sums)
    integer, parameter :: B = 4, C = 1
    include 'fq_tile_nm24.inc'
  end subroutine multiply_nm24_four

  pure subroutine multiply_nm24_eight(groups, values, positions, x, sums)
    integer, parameter :: B = BATCH, C = 1
    include 'fq_tile_nm24.inc'
  end subroutine multiply_nm24_eight

  !> A layer of a network.
  subroutine multiply_nm24_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer                   !! of FORMAT_NM24
    integer(i8), intent(in), target, contiguous :: memory(:)  !! arrays of the layer
    real(wp), intent(in), contiguous :: x(:, :)               !! activations, `(k, m)`
    real(wp), intent(in) :: bias(*)                           !! added to each row, `(rows)`
    type(epilogue), intent(in) :: after                       !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)              !! results, `(rows, m)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! FQ_OK or FQ_NO_MEMORY
    real(wp), pointer, contiguous :: values(:, :)
    integer(i32), pointer, contiguous :: positions(:, :)

    call c_f_pointer(c_loc(memory(layer%weights + 1)), values, [32*layer%groups, layer%panels])
    call c_f_pointer(c_loc(memory(layer%positions + 1)), positions, [2*layer%groups, layer%panels])
    call multiply_nm24(x, layer%groups, values, positions, bias, after, y, threads, info)
  end subroutine multiply_nm24_layer
end module fq_nm24_real32
