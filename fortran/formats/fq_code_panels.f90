!> Weights as panels of codes, which stay small until they are multiplied.
!>
!> A panel is LANES rows of codes, a lane each, step after step of k: a byte a code, or two steps a
!> byte, the first in its lower half.
module fq_code_panels_real32
  use fq_code_values_real32, only: code_layout, dequantize_panel, read_bytes, &
    read_two_per_byte, RUN_STEPS
  use fq_epilogue_real32, only: epilogue
  use fq_gemm_real32, only: LANES
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_layer_parts, only: is_there, layer_parts
  use fq_panel_row_real32, only: code_source
  use fq_precondition, only: CHECKED, require
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_stored_layer, only: place, stored_layer
  use fq_weight_parts_real32, only: group_of_row, groups_of_row, nibble_offset, read_codes, &
    read_minima_by_panel, read_scales_by_panel, read_zeros_by_panel, REAL_BYTES, reals_at, &
    sign_offset
  use fq_widened_panels_real32, only: multiply_panels
  use fq_work_size, only: SMALL_WORK
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: multiply_code_panels_layer, pack_code_panels_layer, plan_code_panels_layer, &
    takes_code_panels

  type, extends(code_source) :: code_panels
    type(code_layout) :: layout
    integer(i8), pointer, contiguous :: codes(:, :, :), zero_point(:, :, :)
    real(wp), pointer, contiguous :: scale(:, :, :), minimum(:, :, :)
  contains
    procedure :: widen => widen_codes
    procedure :: read => read_code_run
  end type code_panels

contains

  !> Whether codes give the same as the reals that they stand for: these do not overflow on the way.
  function takes_code_panels(parts) result(takes)
    type(layer_parts), intent(in) :: parts   !! of FORM_QUANTIZED
    logical :: takes
    real(wp), pointer, contiguous :: scale(:), minimum(:)

    takes = .false.
    if (parts%bits > 8) return
    scale => reals_at(parts%scale)
    takes = maxval(abs(scale)) <= huge(1.0_wp)/2**17
    if (.not. is_there(parts%minimum)) return
    minimum => reals_at(parts%minimum)
    takes = takes .and. maxval(abs(minimum)) <= huge(1.0_wp)/2
  end function takes_code_panels

  !> Places of a layer.
  pure subroutine plan_code_panels_layer(parts, layer, used)
    type(layer_parts), intent(in) :: parts       !! what it is made of, codes of at most 8 bits
    type(stored_layer), intent(inout) :: layer   !! of FORMAT_CODE_PANELS
    integer(i64), intent(inout) :: used          !! bytes of the memory
    integer(i64) :: rows, parameters

    layer%group_size = group_of_row(parts)
    layer%groups = groups_of_row(parts)
    layer%two_per_byte = merge(1, 0, parts%bits <= 4 .and. (mod(layer%group_size, 2_i64) == 0 &
      .or. layer%groups == 1))
    layer%row_steps = merge((layer%k + 1)/2, layer%k, layer%two_per_byte == 1)
    rows = (layer%rows + LANES - 1)/LANES*LANES
    parameters = rows*layer%groups
    call place(rows*layer%row_steps, used, layer%weights)
    call place(parameters*REAL_BYTES, used, layer%scale)
    call place(parameters, used, layer%zero_point)
    if (is_there(parts%minimum)) call place(parameters*REAL_BYTES, used, layer%minimum)
  end subroutine plan_code_panels_layer

  !> Its arrays.
  subroutine pack_code_panels_layer(parts, layer, memory, threads, info)
    type(layer_parts), intent(in) :: parts                       !! what it is made of
    type(stored_layer), intent(in) :: layer                      !! where its arrays go
    integer(i8), intent(inout), target, contiguous :: memory(:)  !! the memory
    integer(i32), intent(in) :: threads                          !! threads to use, at least 1
    integer(i32), intent(out) :: info                            !! FQ_OK or FQ_NO_MEMORY
    integer(i8), allocatable :: rows(:, :)
    type(code_panels) :: weights
    integer(i32) :: offset
    integer :: stat

    allocate (rows(layer%k, layer%rows), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    weights = panels_of_codes(layer, memory)
    offset = merge(nibble_offset(parts), sign_offset(parts), weights%layout%two_per_byte)
    call read_codes(parts, offset, rows, threads)
    call pack_code_panels(layer%rows, layer%k, rows, weights%layout%two_per_byte, weights%codes, &
      threads)
    call read_scales_by_panel(parts, weights%scale)
    call read_zeros_by_panel(parts, offset, weights%zero_point)
    if (weights%layout%has_minimum) call read_minima_by_panel(parts, weights%minimum)
  end subroutine pack_code_panels_layer

  !> The panels of a layer.
  function panels_of_codes(layer, memory) result(weights)
    type(stored_layer), intent(in) :: layer
    integer(i8), intent(in), target, contiguous :: memory(:)
    type(code_panels) :: weights
    integer(i64) :: groups(3)

    groups = [int(LANES, i64), layer%groups, (layer%rows + LANES - 1)/LANES]
    weights%layout = code_layout(layer%group_size, layer%two_per_byte /= 0, layer%minimum >= 0)
    weights%few_rows = merge(0, 1, weights%layout%has_minimum)
    weights%group_size = layer%group_size
    weights%is_split = weights%layout%two_per_byte
    call c_f_pointer(c_loc(memory(layer%weights + 1)), weights%codes, [groups(1), &
      layer%row_steps, groups(3)])
    call c_f_pointer(c_loc(memory(layer%scale + 1)), weights%scale, groups)
    call c_f_pointer(c_loc(memory(layer%zero_point + 1)), weights%zero_point, groups)
    weights%minimum => weights%scale  ! which is not looked at
    if (layer%minimum >= 0) then
      call c_f_pointer(c_loc(memory(layer%minimum + 1)), weights%minimum, groups)
    end if
  end function panels_of_codes

  !> `y = activation(x dequantize(w)**T + bias)` of a layer of a network.
  !>
  !> The same bits as `matmul_blocked` with the reals that the codes stand for.
  !>
  !> *Preconditions*: with two codes a byte, the size of a group is even, or there is one group.
  subroutine multiply_code_panels_layer(layer, memory, x, bias, after, y, threads, info)
    type(stored_layer), intent(in) :: layer                   !! of FORMAT_CODE_PANELS
    integer(i8), intent(in), target, contiguous :: memory(:)  !! where its arrays are
    real(wp), intent(in), contiguous :: x(:, :)               !! inputs, `(k, m)`
    real(wp), intent(in) :: bias(*)                           !! added to each row, `(rows)`
    type(epilogue), intent(in) :: after                       !! what is done to each sum
    real(wp), intent(out), contiguous :: y(:, :)              !! outputs, `(rows, m)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! FQ_OK or FQ_NO_MEMORY

    if (CHECKED) call require(layer%two_per_byte == 0 .or. mod(layer%group_size, 2_i64) == 0 &
      .or. layer%groups == 1, 'multiply_code_panels_layer: a group of two codes a byte is even')
    call multiply_panels(panels_of_codes(layer, memory), x, bias, after, y, threads, info)
  end subroutine multiply_code_panels_layer

  !> Steps `step + 1 ... step + steps` of a panel as reals.
  pure subroutine widen_codes(self, p, step, steps, block)
    class(code_panels), intent(in) :: self
    integer(i64), intent(in) :: p, step, steps
    real(wp), intent(inout) :: block(LANES, steps + 1)

    associate (codes => self%codes, scale => self%scale, zero_point => self%zero_point, &
      minimum => self%minimum)
      call dequantize_panel(step, steps, self%layout, codes(:, :, p), scale(:, :, p), &
        zero_point(:, :, p), minimum(:, :, p), block)
    end associate
  end subroutine widen_codes

  !> A run of codes of a panel as reals, with zero points and scales.
  pure subroutine read_code_run(self, p, step, steps, values, zero, unit)
    class(code_panels), intent(in) :: self
    integer(i64), intent(in) :: p, step, steps
    real(wp), intent(inout) :: values(LANES, RUN_STEPS), zero(LANES), unit(LANES)
    integer(i64) :: g

    g = step/self%layout%group_size + 1
    zero = self%zero_point(:, g, p)
    unit = self%scale(:, g, p)
    associate (codes => self%codes)
      if (self%layout%two_per_byte) then
        call read_two_per_byte(steps, codes(:, step/2 + 1:step/2 + (steps + 1)/2, p), values)
      else
        call read_bytes(LANES*steps, codes(:, step + 1:step + steps, p), values)
      end if
    end associate
  end subroutine read_code_run

  !> Panels of codes; rows that are not there are zeros.
  subroutine pack_code_panels(n, k, codes, two_per_byte, panels, threads)
    integer(i64), intent(in) :: n, k                         !! rows of weights; steps
    integer(i8), intent(in), contiguous :: codes(:, :)       !! `(k, n)`; `0 ... 15` if two a byte
    logical, intent(in) :: two_per_byte                      !! two codes a byte
    integer(i8), intent(out), contiguous :: panels(:, :, :)  !! `(LANES, bytes, panels)`
    integer(i32), intent(in) :: threads                      !! threads to use, at least 1
    integer(i64) :: p

    !$omp parallel do default(none) shared(n, k, codes, two_per_byte, panels) schedule(static) &
    !$omp num_threads(threads) if(n*k > SMALL_WORK)
    do p = 1, size(panels, 3, kind=i64)
      call pack_code_panel(k, min(int(LANES, i64), n - (p - 1)*LANES), codes(:, (p - 1)*LANES &
        + 1:), two_per_byte, panels(:, :, p))
    end do
  end subroutine pack_code_panels

  pure subroutine pack_code_panel(k, rows, codes, two_per_byte, panel)
    integer(i64), intent(in) :: k, rows
    integer(i8), intent(in) :: codes(k, *)
    logical, intent(in) :: two_per_byte
    integer(i8), intent(out) :: panel(LANES, *)
    integer(i64) :: r

    if (two_per_byte) then
      panel(:, 1:(k + 1)/2) = 0
      do r = 1, rows
        panel(r, 1:(k + 1)/2) = codes(1:k:2, r)
        panel(r, 1:k/2) = ior(panel(r, 1:k/2), shiftl(codes(2:k:2, r), 4))
      end do
    else
      panel(:, 1:k) = 0
      do r = 1, rows
        panel(r, 1:k) = codes(:, r)
      end do
    end if
  end subroutine pack_code_panel
end module fq_code_panels_real32
