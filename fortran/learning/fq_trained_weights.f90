!> Weights in training as products read them, rounded first if they will be quantized.
module fq_trained_weights_real32
  use fq_code_rule, only: code_rule
  use fq_dense_real32, only: pack_block, panel_at
  use fq_gemm_real32, only: BLOCK_STEPS, LANES
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_quantize_real32, only: dequantize, quantize
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_team, only: find_share, team_member
  use fq_training, only: trained_layer
  use fq_workspace_map_real32, only: workspace_map
  implicit none (type, external)
  private
  public :: pack_layers

contains

  !> A member's rows of all weights as both products read them.
  subroutine pack_layers(member, layers, rules, at, parameters, space, info)
    type(team_member), intent(in) :: member                   !! whose rows
    type(trained_layer), intent(in), contiguous :: layers(:)  !! the layers, then projections
    type(code_rule), intent(in), contiguous :: rules(:)       !! how one is quantized, `(layers)`
    type(workspace_map), intent(in) :: at(:)                  !! of each layer
    real(wp), intent(in) :: parameters(*)                     !! of all layers
    real(wp), intent(inout) :: space(*)                       !! workspace
    integer(i32), intent(inout) :: info                       !! status code, if not FQ_OK
    integer(i64) :: l, first, last

    do l = 1, size(layers, kind=i64)
      call find_share(layers(l)%n, int(LANES, i64), member, first, last)
      if (last == first) cycle
      if (layers(l)%group_size > 0) then
        call round_rows(layers(l)%k, last - first, rules(l), layers(l)%group_size, &
          parameters(layers(l)%weights + first*layers(l)%k + 1), &
          space(at(l)%rounded + first*layers(l)%k), info)
        call pack_rows(layers(l)%n, layers(l)%k, first, last, space(at(l)%rounded), l > 1, &
          space(at(l)%forward), space(at(l)%backward))
      else
        call pack_rows(layers(l)%n, layers(l)%k, first, last, parameters(layers(l)%weights + 1), &
          l > 1, space(at(l)%forward), space(at(l)%backward))
      end if
    end do
  end subroutine pack_layers

  !> What the codes of some rows stand for.
  subroutine round_rows(k, rows, rule, group_size, w, rounded, info)
    integer(i64), intent(in) :: k, rows, group_size
    type(code_rule), intent(in) :: rule
    real(wp), intent(in) :: w(k, rows)
    real(wp), intent(inout) :: rounded(k, rows)
    integer(i32), intent(inout) :: info
    real(wp), allocatable :: scale(:, :), minimum(:, :)
    integer(i32), allocatable :: zero_point(:, :)
    integer(i8), allocatable :: packed(:, :)
    integer(i64) :: groups
    integer(i32) :: state
    integer :: stat

    groups = (k + group_size - 1)/group_size
    allocate (scale(groups, rows), stat=stat)
    if (stat == 0) allocate (minimum(groups, rows), stat=stat)
    if (stat == 0) allocate (zero_point(groups, rows), stat=stat)
    if (stat == 0) allocate (packed((k*rule%bits + 7)/8, rows), stat=stat)
    state = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (state == FQ_OK) call quantize(w, rule, group_size, scale, zero_point, minimum, packed, &
      1_i32, state)
    if (state == FQ_OK) call dequantize(packed, int(rule%bits, i32), rule%qmin < 0, group_size, &
      scale, zero_point, minimum, rounded, 1_i32)
    if (state /= FQ_OK) info = state
  end subroutine round_rows

  !> Rows `first + 1 ... last` of weights, as columns of their transpose and as steps of their own
  !> panels.
  pure subroutine pack_rows(n, k, first, last, w, is_passed_back, forward, backward)
    integer(i64), intent(in) :: n, k, first, last
    real(wp), intent(in) :: w(k, n)
    logical, intent(in) :: is_passed_back
    real(wp), intent(inout) :: forward(LANES, *), backward(LANES, *)
    integer(i64) :: step, steps, from, to

    do step = 0, k - 1, BLOCK_STEPS
      steps = min(BLOCK_STEPS, k - step)
      call pack_block(k, w, .true., step, steps, first, last, (last - first + LANES - 1)/LANES, &
        steps, forward(1, panel_at(n, step, steps, first)))
    end do
    if (.not. is_passed_back) return
    do step = first/BLOCK_STEPS*BLOCK_STEPS, last - 1, BLOCK_STEPS
      steps = min(BLOCK_STEPS, n - step)
      from = max(step, first)
      to = min(step + steps, last)
      call pack_block(k, w, .false., from, to - from, 0_i64, k, (k + LANES - 1)/LANES, steps, &
        backward(1, panel_at(k, step, steps, 0_i64) + from - step))
    end do
  end subroutine pack_rows
end module fq_trained_weights_real32
