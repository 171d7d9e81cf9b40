!> Gradients of weights and biases, and a step of the optimizer.
module fq_optimizer_real32
  use fq_barrier, only: barrier, wait_for_all
  use fq_epilogue_real32, only: epilogue
  use fq_factors, only: B_PLAIN, factors
  use fq_gemm_real32, only: LANES
  use fq_kinds, only: dp, i8, i32, i64, wp => sp
  use fq_matmul_real32, only: matmul_blocked
  use fq_status, only: FQ_OK
  use fq_team, only: find_share, team_member
  use fq_training, only: OPTIMIZER_ADAMW, OPTIMIZER_SGD, trained_layer, training, training_reals
  use fq_training_arrays_real32, only: trained_parameters
  use fq_workspace_map_real32, only: workspace_map
  implicit none (type, external)
  private
  public :: optimizer_step_of, update_layers

  !> The numbers of one step.
  type, public :: optimizer_step
    integer(i64) :: optimizer   !! one of OPTIMIZER_...
    logical :: nesterov         !! momentum of Nesterov
    logical :: masked           !! weights whose mask is 0 stay 0
    real(dp) :: clip            !! largest norm of the gradient; 0: any
    real(wp) :: rate            !! of learning
    real(wp) :: weight_decay    !! of weights; biases do not decay
    real(wp) :: momentum        !! of SGD
    real(wp) :: beta2           !! decay of the mean square of Adam
    real(wp) :: new_mean        !! weight of a gradient in the mean of Adam, `1 - beta1`
    real(wp) :: new_square      !! weight of its square in the mean square, `1 - beta2`
    real(wp) :: epsilon         !! added to the root mean square of Adam
    real(wp) :: pace            !! rate over what of the mean is not of its start
    real(wp) :: per_root        !! 1 over the root of the same of the mean square
  end type optimizer_step

contains

  !> The numbers of a step, from 1.
  pure function optimizer_step_of(choices, reals, number, rate) result(step)
    type(training), intent(in) :: choices      !! which optimizer
    type(training_reals), intent(in) :: reals  !! its numbers
    integer(i64), intent(in) :: number         !! of the step, from 1
    real(wp), intent(in) :: rate               !! of learning
    type(optimizer_step) :: step

    step%optimizer = choices%optimizer
    step%nesterov = choices%nesterov /= 0
    step%masked = choices%masked /= 0
    step%clip = reals%clip
    step%rate = rate
    step%weight_decay = real(reals%weight_decay, wp)
    step%momentum = real(reals%momentum, wp)
    step%beta2 = real(reals%beta2, wp)
    step%new_mean = real(1 - reals%momentum, wp)
    step%new_square = real(1 - reals%beta2, wp)
    step%epsilon = real(reals%epsilon, wp)
    step%pace = real(rate/(1 - reals%momentum**real(number, dp)), wp)
    step%per_root = real(1/sqrt(1 - reals%beta2**real(number, dp)), wp)
  end function optimizer_step_of

  !> Gradient of a member's rows of all weights, and a step of the optimizer.
  !>
  !> *Preconditions*: `pass_batch` of all members has been here.
  subroutine update_layers(member, count, layers, step, at, parameters, gradient, squares, &
    meeting, space, info)
    type(team_member), intent(in) :: member                   !! whose rows
    integer(i64), intent(in) :: count                         !! samples of the batch
    type(trained_layer), intent(in), contiguous :: layers(:)  !! the layers, then projections
    type(optimizer_step), intent(in) :: step                  !! its numbers
    type(workspace_map), intent(in) :: at(:)                  !! of each layer
    type(trained_parameters), intent(in) :: parameters        !! of all layers
    real(wp), intent(inout) :: gradient(*)                    !! of all parameters
    real(dp), intent(inout), contiguous :: squares(:)         !! sums of each row, of all layers
    type(barrier), intent(inout) :: meeting                   !! of the team
    real(wp), intent(inout) :: space(*)                       !! workspace
    integer(i32), intent(inout) :: info                       !! status code, if not FQ_OK
    real(wp) :: factor
    integer(i64) :: l, first, last, before

    factor = 1
    before = 0
    do l = 1, size(layers, kind=i64)
      call find_share(layers(l)%n, int(LANES, i64), member, first, last)
      if (last > first) then
        call find_gradient(count, first, last, layers(l), at(l), space, gradient, info)
        if (step%masked) call mask_gradient(first, last, layers(l), parameters%mask, gradient)
        if (step%clip > 0) then
          call add_squares(first, last, layers(l), gradient, squares(before + 1:))
        else
          call step_rows(first, last, layers(l), step, factor, gradient, parameters%values, &
            parameters%first_moment, parameters%second_moment)
        end if
      end if
      before = before + layers(l)%n
    end do
    if (step%clip <= 0) return
    call wait_for_all(meeting, member%members)
    factor = real(min(1.0_dp, step%clip/(sqrt(sum(squares)) + 1e-6_dp)), wp)
    do l = 1, size(layers, kind=i64)
      call find_share(layers(l)%n, int(LANES, i64), member, first, last)
      if (last > first) call step_rows(first, last, layers(l), step, factor, gradient, &
        parameters%values, parameters%first_moment, parameters%second_moment)
    end do
  end subroutine update_layers

  !> Gradient of rows `first + 1 ... last` of a layer's weights, and of their biases.
  subroutine find_gradient(count, first, last, layer, at, space, gradient, info)
    integer(i64), intent(in) :: count, first, last
    type(trained_layer), intent(in) :: layer
    type(workspace_map), intent(in) :: at
    real(wp), intent(inout) :: space(*)
    real(wp), intent(inout) :: gradient(*)
    integer(i32), intent(inout) :: info
    integer(i64) :: from, to, i
    integer(i32) :: state

    from = layer%weights + first*layer%k + 1
    call matmul_blocked(factors(m=last - first, n=layer%k, k=count, lda=layer%n, &
      a_transposed=.true., ldb=layer%k, b_order=B_PLAIN), space(at%output_gradient + first), &
      space(at%inputs), space(at%output_gradient:at%output_gradient), epilogue(), gradient(from), &
      1_i32, state)
    if (state /= FQ_OK) info = state
    if (layer%bias < 0) return
    from = layer%bias + first + 1
    to = layer%bias + last
    gradient(from:to) = 0
    do i = 0, count - 1
      call add_row(last - first, space(at%output_gradient + i*layer%n + first), gradient(from))
    end do
  end subroutine find_gradient

  !> Zeros where the mask of a layer's rows is 0.
  pure subroutine mask_gradient(first, last, layer, mask, gradient)
    integer(i64), intent(in) :: first, last
    type(trained_layer), intent(in) :: layer
    integer(i8), intent(in) :: mask(*)
    real(wp), intent(inout) :: gradient(*)
    integer(i64) :: from, to

    from = layer%weights + first*layer%k + 1
    to = layer%weights + last*layer%k
    gradient(from:to) = merge(gradient(from:to), 0.0_wp, mask(from:to) /= 0)
  end subroutine mask_gradient

  pure subroutine add_row(n, x, sums)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: x(n)
    real(wp), intent(inout) :: sums(n)

    sums = sums + x
  end subroutine add_row

  !> Sum of the squares of each row's gradient.
  pure subroutine add_squares(first, last, layer, gradient, squares)
    integer(i64), intent(in) :: first, last
    type(trained_layer), intent(in) :: layer
    real(wp), intent(in) :: gradient(*)
    real(dp), intent(inout), contiguous :: squares(:)
    integer(i64) :: r, from

    do r = first + 1, last
      from = layer%weights + (r - 1)*layer%k
      squares(r) = sum(real(gradient(from + 1:from + layer%k), dp)**2)
      if (layer%bias >= 0) squares(r) = squares(r) + real(gradient(layer%bias + r), dp)**2
    end do
  end subroutine add_squares

  !> A step for rows `first + 1 ... last` of a layer's weights, and their biases.
  pure subroutine step_rows(first, last, layer, step, factor, gradient, values, first_moment, &
    second_moment)
    integer(i64), intent(in) :: first, last
    type(trained_layer), intent(in) :: layer
    type(optimizer_step), intent(in) :: step
    real(wp), intent(in) :: factor, gradient(*)
    real(wp), intent(inout) :: values(*), first_moment(*), second_moment(*)
    integer(i64) :: at

    at = layer%weights + first*layer%k + 1
    call step_run((last - first)*layer%k, step, step%weight_decay, factor, gradient(at), &
      values(at), first_moment(at), second_moment(at))
    if (layer%bias < 0) return
    at = layer%bias + first + 1
    call step_run(last - first, step, 0.0_wp, factor, gradient(at), values(at), &
      first_moment(at), second_moment(at))
  end subroutine step_rows

  !> A step of the optimizer, as PyTorch defines it.
  pure subroutine step_run(n, step, decay, factor, gradient, w, v, s)
    integer(i64), intent(in) :: n
    type(optimizer_step), intent(in) :: step
    real(wp), intent(in) :: decay, factor, gradient(n)
    real(wp), intent(inout) :: w(n), v(n), s(n)
    real(wp) :: g, shrink, added
    integer(i64) :: i

    if (step%optimizer == OPTIMIZER_SGD) then
      do i = 1, n
        g = factor*gradient(i) + decay*w(i)
        v(i) = step%momentum*v(i) + g
        w(i) = w(i) - step%rate*merge(g + step%momentum*v(i), v(i), step%nesterov)
      end do
      return
    end if
    shrink = merge(1 - step%rate*decay, 1.0_wp, step%optimizer == OPTIMIZER_ADAMW)
    added = merge(0.0_wp, decay, step%optimizer == OPTIMIZER_ADAMW)
    do i = 1, n
      g = factor*gradient(i) + added*w(i)
      v(i) = v(i) + step%new_mean*(g - v(i))
      s(i) = step%beta2*s(i) + step%new_square*g*g
      w(i) = shrink*w(i) - step%pace*v(i)/(sqrt(s(i))*step%per_root + step%epsilon)
    end do
  end subroutine step_run
end module fq_optimizer_real32
