!> Samples through a network and back: outputs, losses, and their gradient by what layers sum.
module fq_backward_real32
  use fq_activation_derivative_real32, only: differentiate, needs_sums
  use fq_activation_kind, only: ACT_NONE
  use fq_activation_real32, only: activate_row
  use fq_epilogue_real32, only: epilogue
  use fq_factors, only: B_PACKED, factors
  use fq_gemm_real32, only: LANES
  use fq_kinds, only: dp, i32, i64, wp => sp
  use fq_loss_real32, only: find_loss
  use fq_matmul_real32, only: matmul_blocked
  use fq_status, only: FQ_OK
  use fq_team, only: find_share, team_member
  use fq_training, only: trained_layer, training, training_reals
  use fq_training_arrays_real32, only: trained_network, training_samples
  use fq_workspace_map_real32, only: count_layers, workspace_map
  implicit none (type, external)
  private
  public :: pass_batch

  !> A member's samples of a batch.
  type, private :: batch_part
    integer(i64) :: first, last  !! samples before the first; and the last
    real(dp) :: per_weight       !! share in the mean loss that a weight of 1 has
  end type batch_part

contains

  !> A member's samples through the network and back.
  !>
  !> *Preconditions*: `pack_layers` of all members has been here.
  subroutine pass_batch(member, order, samples, network, choices, reals, at, parameters, space, &
    losses, info)
    type(team_member), intent(in) :: member              !! whose samples
    integer(i64), intent(in), contiguous :: order(:)     !! samples of the batch, from 0
    type(training_samples), intent(in) :: samples        !! all samples
    type(trained_network), intent(in) :: network         !! what learns
    type(training), intent(in) :: choices                !! what is minimised
    type(training_reals), intent(in) :: reals            !! the numbers of that
    type(workspace_map), intent(in) :: at(:)             !! of each layer
    real(wp), intent(in) :: parameters(*)                !! of all layers
    real(wp), intent(inout) :: space(*)                  !! workspace
    real(dp), intent(inout), contiguous :: losses(:)     !! of each sample, `(batch)`
    integer(i32), intent(inout) :: info                  !! status code, if not FQ_OK
    type(batch_part) :: piece
    integer(i64) :: k

    call find_share(size(order, kind=i64), 1_i64, member, piece%first, piece%last)
    if (piece%last == piece%first) return
    piece%per_weight = share_of_weight(order, samples%weights)
    k = network%layers(1)%k
    call gather(piece, order, k, samples%x, space(at(1)%inputs))
    call pass_all_forward(piece, network, at, parameters, space, info)
    call find_losses(piece, order, samples, network, choices, reals, at, space, losses)
    call pass_all_backward(piece, order, samples, network, at, parameters, space, losses, info)
  end subroutine pass_batch

  !> One over the sum of the weights of a batch, 0 if they are zeros.
  pure function share_of_weight(order, weights) result(share)
    integer(i64), intent(in), contiguous :: order(:)
    real(wp), intent(in), contiguous :: weights(:)
    real(dp) :: share
    integer(i64) :: i

    share = 0
    do i = 1, size(order, kind=i64)
      share = share + weights(order(i) + 1)
    end do
    if (share > 0) share = 1/share
  end function share_of_weight

  !> Inputs of a part of the batch, one behind the other.
  pure subroutine gather(piece, order, k, x, inputs)
    type(batch_part), intent(in) :: piece
    integer(i64), intent(in), contiguous :: order(:)
    integer(i64), intent(in) :: k
    real(wp), intent(in) :: x(k, *)
    real(wp), intent(inout) :: inputs(k, *)
    integer(i64) :: i

    do i = piece%first + 1, piece%last
      call copy_run(k, x(1, order(i) + 1), inputs(1, i))
    end do
  end subroutine gather

  pure subroutine copy_run(n, from, to)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: from(n)
    real(wp), intent(inout) :: to(n)

    to = from
  end subroutine copy_run

  !> Outputs of all layers, without projections.
  subroutine pass_all_forward(piece, network, at, parameters, space, info)
    type(batch_part), intent(in) :: piece
    type(trained_network), intent(in) :: network
    type(workspace_map), intent(in) :: at(:)
    real(wp), intent(in) :: parameters(*)
    real(wp), intent(inout) :: space(*)
    integer(i32), intent(inout) :: info
    integer(i64) :: l

    do l = 1, count_layers(network%layers)
      call pass_forward(piece, network%layers(l), network%slopes(l), at(l), parameters, space, info)
    end do
  end subroutine pass_all_forward

  !> Outputs of a layer.
  subroutine pass_forward(piece, layer, slope, at, parameters, space, info)
    type(batch_part), intent(in) :: piece
    type(trained_layer), intent(in) :: layer
    real(wp), intent(in) :: slope
    type(workspace_map), intent(in) :: at
    real(wp), intent(in) :: parameters(*)
    real(wp), intent(inout) :: space(*)
    integer(i32), intent(inout) :: info
    integer(i64) :: from, to, count
    integer(i32) :: activation, state

    activation = int(layer%activation, i32)
    count = piece%last - piece%first
    from = at%sums + piece%first*layer%n
    call matmul_blocked(factors(m=count, n=layer%n, k=layer%k, lda=layer%k, ldb=int(LANES, i64), &
      b_order=B_PACKED), space(at%inputs + piece%first*layer%k), space(at%forward), &
      parameters(max(layer%bias, 0_i64) + 1), epilogue(layer%bias >= 0, merge(ACT_NONE, &
      activation, needs_sums(activation)), slope), space(from), 1_i32, state)
    if (state /= FQ_OK) info = state
    if (.not. needs_sums(activation)) return
    to = at%outputs + piece%first*layer%n
    call copy_run(count*layer%n, space(from), space(to))
    call activate_row(activation, slope, space(to:to + count*layer%n - 1))
  end subroutine pass_forward

  !> Losses of samples, and their gradient by the outputs of the last layer.
  subroutine find_losses(piece, order, samples, network, choices, reals, at, space, losses)
    type(batch_part), intent(in) :: piece
    integer(i64), intent(in), contiguous :: order(:)
    type(training_samples), intent(in) :: samples
    type(trained_network), intent(in) :: network
    type(training), intent(in) :: choices
    type(training_reals), intent(in) :: reals
    type(workspace_map), intent(in) :: at(:)
    real(wp), intent(inout) :: space(*)
    real(dp), intent(inout), contiguous :: losses(:)
    integer(i64) :: last, n, i, sample

    last = count_layers(network%layers)
    n = network%layers(last)%n
    do i = piece%first, piece%last - 1
      sample = order(i + 1) + 1
      call find_loss(n, sample, samples, choices, reals, space(at(last)%outputs + i*n), &
        real(samples%weights(sample)*piece%per_weight, wp), space(at(last)%output_gradient + i*n), &
        space(at(last)%scratch + 2*i*n), losses(i + 1))
    end do
  end subroutine find_losses

  !> The gradient by the sums of all layers, the last one first, and losses of hints.
  subroutine pass_all_backward(piece, order, samples, network, at, parameters, space, losses, info)
    type(batch_part), intent(in) :: piece
    integer(i64), intent(in), contiguous :: order(:)
    type(training_samples), intent(in) :: samples
    type(trained_network), intent(in) :: network
    type(workspace_map), intent(in) :: at(:)
    real(wp), intent(in) :: parameters(*)
    real(wp), intent(inout) :: space(*)
    real(dp), intent(inout), contiguous :: losses(:)
    integer(i32), intent(inout) :: info
    type(trained_layer) :: layer
    integer(i64) :: l, below, h, last, skipped

    last = count_layers(network%layers)
    do l = last, 1, -1
      layer = network%layers(l)
      do h = last + 1, size(network%layers, kind=i64)
        if (network%layers(h)%source /= l) cycle
        call pass_hint(piece, order, samples, network%hint_weights(h), network%layers(h), at(h), &
          parameters, at(l)%output_gradient, space, losses, info)
      end do
      skipped = piece%first*layer%n
      call differentiate(int(layer%activation, i32), network%slopes(l), (piece%last &
        - piece%first)*layer%n, space(at(l)%sums + skipped), space(at(l)%outputs + skipped), &
        space(at(l)%output_gradient + skipped))
      below = l - 1
      if (below > 0) call pass_backward(piece, layer, at(l), at(below)%output_gradient, space, info)
    end do
  end subroutine pass_all_backward

  !> The gradient by a layer's inputs, written to where `input_gradient` is.
  subroutine pass_backward(piece, layer, at, input_gradient, space, info)
    type(batch_part), intent(in) :: piece
    type(trained_layer), intent(in) :: layer
    type(workspace_map), intent(in) :: at
    integer(i64), intent(in) :: input_gradient
    real(wp), intent(inout) :: space(*)
    integer(i32), intent(inout) :: info
    integer(i32) :: state

    call matmul_blocked(factors(m=piece%last - piece%first, n=layer%k, k=layer%n, lda=layer%n, &
      ldb=int(LANES, i64), b_order=B_PACKED), space(at%output_gradient + piece%first*layer%n), &
      space(at%backward), space(at%output_gradient:at%output_gradient), epilogue(), &
      space(input_gradient + piece%first*layer%k), 1_i32, state)
    if (state /= FQ_OK) info = state
  end subroutine pass_backward

  !> Add the loss of a hint, and its gradient by the outputs of the layer that it projects: a factor
  !> of the mean square of the differences of the projection from the teacher's layer.
  subroutine pass_hint(piece, order, samples, factor, layer, at, parameters, source_gradient, &
    space, losses, info)
    type(batch_part), intent(in) :: piece
    integer(i64), intent(in), contiguous :: order(:)
    type(training_samples), intent(in) :: samples
    real(wp), intent(in) :: factor
    type(trained_layer), intent(in) :: layer        !! the projection
    type(workspace_map), intent(in) :: at           !! its own
    real(wp), intent(in) :: parameters(*)
    integer(i64), intent(in) :: source_gradient     !! where that of the projected layer is
    real(wp), intent(inout) :: space(*)
    real(dp), intent(inout), contiguous :: losses(:)
    integer(i32), intent(inout) :: info
    real(wp) :: error, share
    real(dp) :: total
    integer(i64) :: i, j, sample

    call pass_forward(piece, layer, 0.0_wp, at, parameters, space, info)
    do i = piece%first, piece%last - 1
      sample = order(i + 1) + 1
      share = factor*real(samples%weights(sample)*piece%per_weight, wp)/real(layer%n, wp)
      total = 0
      do j = 0, layer%n - 1
        error = space(at%outputs + i*layer%n + j) - samples%hints(layer%target + j + 1, sample)
        total = total + real(error, dp)**2
        space(at%output_gradient + i*layer%n + j) = 2*share*error
      end do
      losses(i + 1) = losses(i + 1) + share*total
    end do
    call pass_backward(piece, layer, at, at%scratch, space, info)
    do i = piece%first*layer%k, piece%last*layer%k - 1
      space(source_gradient + i) = space(source_gradient + i) + space(at%scratch + i)
    end do
  end subroutine pass_hint
end module fq_backward_real32
