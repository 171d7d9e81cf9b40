!> Weights as panels of 4-bit codes of a table's levels, times scales.
!>
!> A panel is LANES rows of codes, a lane each, step after step of k: the codes of two neighbouring
!> rows are a byte.
module fq_level_panels_real32
  use fq_code_values_real32, only: RUN_STEPS
  use fq_epilogue_real32, only: epilogue
  use fq_gemm_real32, only: LANES
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_layer_parts, only: layer_parts
  use fq_panel_row_real32, only: code_source
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_stored_layer, only: place, stored_layer
  use fq_weight_parts_real32, only: group_of_row, groups_of_row, read_codes, read_scales_by_panel, &
    REAL_BYTES, reals_at
  use fq_widened_panels_real32, only: multiply_panels
  use fq_work_size, only: SMALL_WORK
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: multiply_level_panels_layer, pack_level_panels_layer, plan_level_panels_layer

  type, extends(code_source) :: level_panels
    integer(i8), pointer, contiguous :: codes(:, :, :)
    real(wp), pointer, contiguous :: levels(:, :), scale(:, :, :)
  contains
    procedure :: widen => widen_levels
    procedure :: read => read_level_run
  end type level_panels

contains

  !> Places of a layer.
  pure subroutine plan_level_panels_layer(parts, layer, used)
    type(layer_parts), intent(in) :: parts       !! what it is made of: one table, at most 4 bits
    type(stored_layer), intent(inout) :: layer   !! of FORMAT_LEVEL_PANELS
    integer(i64), intent(inout) :: used          !! bytes of the memory
    integer(i64) :: rows

    layer%group_size = group_of_row(parts)
    layer%groups = groups_of_row(parts)
    rows = (layer%rows + LANES - 1)/LANES*LANES
    call place(rows/2*layer%k, used, layer%weights)
    call place(2*256*REAL_BYTES, used, layer%levels)
    call place(rows*layer%groups*REAL_BYTES, used, layer%scale)
  end subroutine plan_level_panels_layer

  !> Its arrays.
  subroutine pack_level_panels_layer(parts, layer, memory, threads, info)
    type(layer_parts), intent(in) :: parts                       !! what it is made of
    type(stored_layer), intent(in) :: layer                      !! where its arrays go
    integer(i8), intent(inout), target, contiguous :: memory(:)  !! the memory
    integer(i32), intent(in) :: threads                          !! threads to use, at least 1
    integer(i32), intent(out) :: info                            !! FQ_OK or FQ_NO_MEMORY
    integer(i8), allocatable :: rows(:, :)
    type(level_panels) :: weights
    integer(i64) :: panels, p
    integer :: stat

    panels = (layer%rows + LANES - 1)/LANES
    allocate (rows(layer%k, panels*LANES), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    weights = panels_of_levels(layer, memory)
    call read_codes(parts, 0_i32, rows(:, :layer%rows), threads)
    rows(:, layer%rows + 1:) = 0
    !$omp parallel do default(none) shared(layer, rows, weights, panels) schedule(static) &
    !$omp num_threads(threads) if(size(rows, kind=i64) > SMALL_WORK)
    do p = 1, panels
      call pack_level_panel(layer%k, rows(:, (p - 1)*LANES + 1:p*LANES), weights%codes(:, :, p))
    end do
    call pair_levels(reals_at(parts%levels), weights%levels)
    call read_scales_by_panel(parts, weights%scale)
  end subroutine pack_level_panels_layer

  !> The panels of a layer.
  function panels_of_levels(layer, memory) result(weights)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    type(level_panels) :: weights
    integer(i64) :: panels

    panels = (layer%rows + LANES - 1)/LANES
    weights%few_rows = 1
    weights%group_size = layer%group_size
    weights%has_zero = .false.
    call c_f_pointer(c_loc(memory(layer%weights + 1)), weights%codes, [LANES/2_i64, layer%k, &
      panels])
    call c_f_pointer(c_loc(memory(layer%levels + 1)), weights%levels, [2, 256])
    call c_f_pointer(c_loc(memory(layer%scale + 1)), weights%scale, [int(LANES, i64), &
      layer%groups, panels])
  end function panels_of_levels

  !> The codes of two rows in a byte, those of the first in its lower half.
  pure subroutine pack_level_panel(k, rows, panel)
    integer(i64), intent(in) :: k
    integer(i8), intent(in) :: rows(k, LANES)
    integer(i8), intent(out) :: panel(LANES/2, k)
    integer(i64) :: s

    do s = 1, k
      panel(:, s) = ior(rows(s, 1::2), shiftl(rows(s, 2::2), 4))
    end do
  end subroutine pack_level_panel

  !> The levels of both codes of each byte; zeros for codes that are not there.
  pure subroutine pair_levels(table, levels)
    real(wp), intent(in) :: table(:)
    real(wp), intent(out) :: levels(2, 0:255)
    real(wp) :: all_levels(0:15)
    integer :: code

    all_levels = 0
    all_levels(:size(table) - 1) = table
    do code = 0, 255
      levels(:, code) = [all_levels(iand(code, 15)), all_levels(shiftr(code, 4))]
    end do
  end subroutine pair_levels

  !> `y = activation(x w**T + bias)` of a layer of a network, w levels of a table times scales.
  !>
  !> The same bits as `matmul_blocked` with panels of these reals.
  subroutine multiply_level_panels_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer                   !! of FORMAT_LEVEL_PANELS
    integer(i8), intent(in), target, contiguous :: memory(:)  !! where its arrays are
    real(wp), intent(in), contiguous :: x(:, :)               !! inputs, `(k, m)`
    real(wp), intent(in) :: bias(*)                           !! added to each row, `(rows)`
    type(epilogue), intent(in) :: after                       !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)              !! outputs, `(rows, m)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! FQ_OK or FQ_NO_MEMORY

    call multiply_panels(panels_of_levels(layer, memory), x, bias, after, y, threads, info)
  end subroutine multiply_level_panels_layer

  !> Steps `step + 1 ... step + steps` of a panel as reals.
  pure subroutine widen_levels(self, p, step, steps, block)
    class(level_panels), intent(in) :: self
    integer(i64), intent(in) :: p, step, steps
    real(wp), intent(inout) :: block(LANES, steps + 1)

    associate (codes => self%codes, levels => self%levels, scale => self%scale)
      call dequantize_levels(step, steps, self%group_size, codes(:, step + 1:step + steps, p), &
        levels, scale(:, :, p), block)
    end associate
  end subroutine widen_levels

  !> Levels of a run of codes of a panel, and scales; there are no zero points.
  pure subroutine read_level_run(self, p, step, steps, values, zero, unit)
    class(level_panels), intent(in) :: self
    integer(i64), intent(in) :: p, step, steps
    real(wp), intent(inout) :: values(LANES, RUN_STEPS), zero(LANES), unit(LANES)

    zero = 0
    unit = self%scale(:, step/self%group_size + 1, p)
    associate (codes => self%codes, levels => self%levels)
      call read_levels(LANES/2*steps, codes(:, step + 1:step + steps, p), levels, values)
    end associate
  end subroutine read_level_run

  !> Some steps of a panel as reals, levels times scales; the codes are those of these steps.
  pure subroutine dequantize_levels(step, steps, group_size, codes, levels, scale, block)
    integer(i64), intent(in) :: step, steps, group_size
    integer(i8), intent(in) :: codes(LANES/2, steps)
    real(wp), intent(in) :: levels(2, 0:255), scale(LANES, *)
    real(wp), intent(inout) :: block(LANES, steps)
    integer(i64) :: first, last, g, s
    integer :: l

    first = 1
    do while (first <= steps)
      g = (step + first - 1)/group_size + 1
      last = min(steps, g*group_size - step, first + RUN_STEPS - 1)
      call read_levels(LANES/2*(last - first + 1), codes(1, first), levels, block(1, first))
      !GCC$ novector
      do s = first, last
        do l = 1, LANES
          block(l, s) = block(l, s)*scale(l, g)
        end do
      end do
      first = last + 1
    end do
  end subroutine dequantize_levels

  !> Levels of bytes of two codes: one load and one store of both, which is what a byte costs.
  pure subroutine read_levels(n, codes, levels, values)
    integer(i64), intent(in) :: n
    integer(i8), intent(in) :: codes(n)
    real(wp), intent(in) :: levels(2, 0:255)
    real(wp), intent(inout) :: values(2, n)
    integer(i64) :: i

    !GCC$ unroll 8
    do i = 1, n
      values(:, i) = levels(:, iand(int(codes(i)), 255))
    end do
  end subroutine read_levels
end module fq_level_panels_real32
