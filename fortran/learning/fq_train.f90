!> Training of a network: forward pass, loss, backward pass and update, batch after batch.
!>
!> Python: `pyfq/train.py`.  Reference: `pyfq/reference/train.py`.
module fq_train_real32
  !$ use omp_lib, only: omp_get_num_procs, omp_get_num_threads, omp_get_thread_num
  use fq_activation_kind, only: ACT_GELU, ACT_GELU_TANH, ACT_LEAKY_RELU, ACT_NONE, ACT_RELU, &
    ACT_SIGMOID, ACT_SILU, ACT_SOFTMAX, ACT_SOFTPLUS, ACT_TANH
  use fq_activation_real32, only: activate_row
  use fq_barrier, only: barrier, wait_for_all
  use fq_align, only: aligned_start
  use fq_gemm_real32, only: BLOCK_STEPS, LANES, LINE
  use fq_code_rule, only: code_rule
  use fq_kinds, only: dp, i8, i32, i64, wp => sp
  use fq_matmul_real32, only: B_PACKED, B_PLAIN, matmul_blocked, pack_block, packed_vectors, &
    panel_at
  use fq_quantize_real32, only: dequantize, quantize
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_work_size, only: SMALL_WORK
  use fq_training, only: IMITATE_KL, IMITATE_MSE, IMITATE_NONE, &
    LOSS_CROSS_ENTROPY, LOSS_MSE, LOSS_NONE, OPTIMIZER_ADAMW, &
    OPTIMIZER_SGD, trained_layer, training, training_reals
  implicit none (type, external)
  private
  public :: train_epoch

  !> Where a layer's arrays start in the workspace.
  type, private :: places
    integer(i64) :: inputs    !! what it multiplies, `(k, batch)`; of the first layer, gathered
    integer(i64) :: sums      !! before the activation, `(n, batch)`; where it needs none, `outputs`
    integer(i64) :: outputs   !! after it, `(n, batch)`
    integer(i64) :: slopes    !! derivative of the loss, by outputs and then by sums, `(n, batch)`
    integer(i64) :: room      !! of a projection, slopes by its inputs, `(k, batch)`; else of losses
    integer(i64) :: forward   !! panels of the transposed weights
    integer(i64) :: backward  !! panels of the weights
    integer(i64) :: rounded   !! weights that their codes stand for, `(k, n)`
  end type places

contains

  !> One pass over the samples: for each batch the gradient of the mean loss, and a step.
  !>
  !> The loss of a sample is `alpha*imitation + (1 - alpha)*data`, plus that of each hint; its share
  !> in the mean is its weight over the weights of the batch.  Members of the team share the samples
  !> of a batch to pass through the network, and the rows of the weights to update: no sum is
  !> divided among them, and results have the same bits for any number of threads.
  !>
  !> *Preconditions*: projections follow the layers, which come in order; entries of `order` are `0
  !> ... samples - 1`, labels `0 ... n - 1` for n outputs; the last layer has no softmax.
  subroutine train_epoch(x, order, labels, targets, teacher, hints, sample_weights, layers, &
    leaks, hint_weights, rules, choices, reals, rates, mask, parameters, first_moment, &
    second_moment, losses, threads, info)
    real(wp), intent(in), contiguous :: x(:, :)              !! inputs, `(k, samples)`
    integer(i64), intent(in), contiguous :: order(:)         !! samples in the order of use, from 0
    integer(i64), intent(in), contiguous :: labels(:)        !! classes, `(samples)` if labeled
    real(wp), intent(in), contiguous :: targets(:, :)        !! else `(n, samples)`
    real(wp), intent(in), contiguous :: teacher(:, :)        !! its outputs, `(n, samples)`
    real(wp), intent(in), contiguous :: hints(:, :)          !! its hidden layers, `(., samples)`
    real(wp), intent(in), contiguous :: sample_weights(:)    !! at least 0, `(samples)`
    type(trained_layer), intent(in), contiguous :: layers(:) !! layers, then projections
    real(wp), intent(in), contiguous :: leaks(:)             !! slope of ACT_LEAKY_RELU, `(layers)`
    real(wp), intent(in), contiguous :: hint_weights(:)      !! factor of a hint's loss, `(layers)`
    type(code_rule), intent(in), contiguous :: rules(:)      !! how a layer is quantized, `(layers)`
    type(training), intent(in) :: choices                    !! what is minimised, and how
    type(training_reals), intent(in) :: reals                !! the numbers of that
    real(wp), intent(in), contiguous :: rates(:)             !! of learning, `(steps)`
    integer(i8), intent(in), contiguous :: mask(:)           !! 0 where a parameter stays 0
    real(wp), intent(inout), contiguous :: parameters(:)     !! of all layers
    real(wp), intent(inout), contiguous :: first_moment(:)   !! velocity, or mean gradient
    real(wp), intent(inout), contiguous :: second_moment(:)  !! mean square of the gradient
    real(dp), intent(out), contiguous :: losses(:)           !! mean loss of each batch, `(steps)`
    integer(i32), intent(in) :: threads                      !! threads to use, at least 1
    integer(i32), intent(out) :: info  !! status code; the first loss that is not finite stays last
    type(places) :: at(size(layers))
    type(barrier) :: meeting
    real(wp), allocatable :: space(:), gradient(:)
    real(dp), allocatable :: sample_losses(:), squares(:)
    real(dp) :: loss
    integer(i64) :: start, batch, entries, step, before, count
    integer(i32) :: team, members, member, state
    integer :: stat

    batch = min(choices%batch_size, size(order, kind=i64))
    team = merge(threads, 1_i32, 3*batch*sum(layers%n*layers%k) > SMALL_WORK)
    !$ team = min(team, omp_get_num_procs())  ! members that wait look, and take a core
    call find_places(batch, layers, at, entries)
    losses = 0
    allocate (space(entries + LINE), stat=stat)
    if (stat == 0) allocate (gradient(size(parameters, kind=i64)), stat=stat)
    if (stat == 0) allocate (sample_losses(batch), stat=stat)
    if (stat == 0) allocate (squares(sum(layers%n)), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    start = aligned_start(space, storage_size(space))
    call clear_ends(layers, at, space(start))
    meeting = barrier(0, 0)
    !$omp parallel num_threads(team) if(team > 1) default(none) private(members, member, step, &
    !$omp   before, count, state, loss) shared(x, order, labels, targets, teacher, hints, &
    !$omp   sample_weights, layers, leaks, hint_weights, rules, choices, reals, rates, mask, &
    !$omp   parameters, first_moment, second_moment, losses, info, at, meeting, space, gradient, &
    !$omp   sample_losses, squares, start, batch)
    members = 1
    member = 0
    !$ members = omp_get_num_threads()
    !$ member = omp_get_thread_num()
    state = FQ_OK
    do step = 1, size(rates, kind=i64)
      before = (step - 1)*batch
      count = min(batch, size(order, kind=i64) - before)
      call pack_layers(member, members, layers, rules, at, parameters, space(start), state)
      call wait_for_all(meeting, members)
      call pass_samples(member, members, count, order(before + 1:before + count), x, labels, &
        targets, teacher, hints, sample_weights, layers, leaks, hint_weights, choices, reals, at, &
        parameters, space(start), sample_losses, state)
      if (state /= FQ_OK) then
        !$omp atomic write
        info = state
      end if
      call wait_for_all(meeting, members)
      loss = sum(sample_losses(1:count))
      if (member == 0) losses(step) = loss
      !$omp atomic read
      state = info
      ! All members see the same here: what goes wrong later is told in the next step.
      if (.not. abs(loss) <= huge(loss) .or. state /= FQ_OK) exit
      call update_layers(member, members, count, layers, choices, reals, choices%done + step, &
        rates(step), at, mask, parameters, first_moment, second_moment, gradient, squares, &
        meeting, space(start), state)
    end do
    if (state /= FQ_OK) then
      !$omp atomic write
      info = state
    end if
    !$omp end parallel
  end subroutine train_epoch

  !> Lay out the workspace.
  subroutine find_places(batch, layers, at, entries)
    integer(i64), intent(in) :: batch
    type(trained_layer), intent(in), contiguous :: layers(:)
    type(places), intent(out) :: at(:)
    integer(i64), intent(out) :: entries
    integer(i64) :: l, below, n, k, last
    logical :: projects

    entries = 0
    last = count_layers(layers)
    do l = 1, size(layers, kind=i64)
      below = l - 1
      n = layers(l)%n
      k = layers(l)%k
      projects = layers(l)%source > 0
      if (projects) then
        at(l)%inputs = at(layers(l)%source)%outputs
      else if (l == 1) then
        at(l)%inputs = taken(k*batch)
      else
        at(l)%inputs = at(below)%outputs
      end if
      at(l)%outputs = taken(n*batch)
      at(l)%sums = at(l)%outputs
      if (needs_sums(int(layers(l)%activation, i32))) at(l)%sums = taken(n*batch)
      at(l)%slopes = taken(n*batch)
      at(l)%room = taken(merge(k, merge(2*n, 0_i64, l == last), projects)*batch)
      at(l)%forward = taken(LANES*packed_vectors(n, k))
      at(l)%backward = taken(merge(LANES*packed_vectors(k, n), 0_i64, l > 1))
      at(l)%rounded = taken(merge(n*k, 0_i64, layers(l)%group_size > 0))
    end do

  contains

    !> Start of so many entries, which are taken.
    function taken(count) result(place)
      integer(i64), intent(in) :: count
      integer(i64) :: place

      place = entries + 1
      entries = entries + (count + LINE - 1)/LINE*LINE
    end function taken
  end subroutine find_places

  !> Zeros behind the panels, which wide tiles read.
  pure subroutine clear_ends(layers, at, space)
    type(trained_layer), intent(in), contiguous :: layers(:)
    type(places), intent(in) :: at(:)
    real(wp), intent(inout) :: space(*)
    integer(i64) :: l, n, k

    do l = 1, size(layers, kind=i64)
      n = layers(l)%n
      k = layers(l)%k
      space(at(l)%forward + LANES*(panel_at(n, k, 0_i64, 0_i64) - 1):at(l)%forward &
        + LANES*packed_vectors(n, k) - 1) = 0
      if (l > 1) space(at(l)%backward + LANES*(panel_at(k, n, 0_i64, 0_i64) - 1):at(l)%backward &
        + LANES*packed_vectors(k, n) - 1) = 0
    end do
  end subroutine clear_ends

  !> Whether the derivative of an activation function is found from what came before it.
  pure function needs_sums(activation) result(needs)
    integer(i32), intent(in) :: activation
    logical :: needs

    needs = all(activation /= [ACT_NONE, ACT_RELU, ACT_TANH, ACT_SIGMOID])
  end function needs_sums

  !> A member's part of so many: `first + 1 ... last`, but for the end a multiple of `grain`.
  pure subroutine find_share(count, grain, member, members, first, last)
    integer(i64), intent(in) :: count, grain
    integer(i32), intent(in) :: member, members
    integer(i64), intent(out) :: first, last
    integer(i64) :: grains

    grains = (count + grain - 1)/grain
    first = min(count, grains*member/members*grain)
    last = min(count, grains*(member + 1)/members*grain)
  end subroutine find_share

  !> A member's rows of all weights as both products read them.
  subroutine pack_layers(member, members, layers, rules, at, parameters, space, info)
    integer(i32), intent(in) :: member, members
    type(trained_layer), intent(in), contiguous :: layers(:)
    type(code_rule), intent(in), contiguous :: rules(:)
    type(places), intent(in) :: at(:)
    real(wp), intent(in) :: parameters(*)
    real(wp), intent(inout) :: space(*)
    integer(i32), intent(inout) :: info
    integer(i64) :: l, first, last

    do l = 1, size(layers, kind=i64)
      call find_share(layers(l)%n, int(LANES, i64), member, members, first, last)
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

  !> A member's samples through the network and back.
  subroutine pass_samples(member, members, count, order, x, labels, targets, teacher, hints, &
    sample_weights, layers, leaks, hint_weights, choices, reals, at, parameters, space, losses, &
    info)
    integer(i32), intent(in) :: member, members
    integer(i64), intent(in) :: count
    integer(i64), intent(in), contiguous :: order(:), labels(:)
    type(trained_layer), intent(in), contiguous :: layers(:)
    real(wp), intent(in) :: x(layers(1)%k, *)
    real(wp), intent(in), contiguous :: targets(:, :), teacher(:, :), hints(:, :)
    real(wp), intent(in), contiguous :: sample_weights(:), leaks(:), hint_weights(:)
    type(training), intent(in) :: choices
    type(training_reals), intent(in) :: reals
    type(places), intent(in) :: at(:)
    real(wp), intent(in) :: parameters(*)
    real(wp), intent(inout) :: space(*)
    real(dp), intent(inout), contiguous :: losses(:)
    integer(i32), intent(inout) :: info
    real(dp) :: total
    integer(i64) :: first, last, i, l, below, h, last_layer

    call find_share(count, 1_i64, member, members, first, last)
    if (last == first) return
    total = 0
    do i = 1, count
      total = total + sample_weights(order(i) + 1)
    end do
    if (total > 0) total = 1/total
    last_layer = count_layers(layers)
    do i = first, last - 1
      call copy_run(layers(1)%k, x(1, order(i + 1) + 1), space(at(1)%inputs + i*layers(1)%k))
    end do
    do l = 1, last_layer
      call pass_forward(first, last, layers(l), leaks(l), at(l), parameters, space, info)
    end do
    l = last_layer
    do i = first, last - 1
      call find_loss(layers(l)%n, order(i + 1) + 1, labels, targets, teacher, choices, reals, &
        space(at(l)%outputs + i*layers(l)%n), real(sample_weights(order(i + 1) + 1)*total, wp), &
        space(at(l)%slopes + i*layers(l)%n), space(at(l)%room + 2*i*layers(l)%n), losses(i + 1))
    end do
    do l = last_layer, 1, -1
      do h = last_layer + 1, size(layers, kind=i64)
        if (layers(h)%source /= l) cycle
        call pass_hint(first, last, order, hints, sample_weights, total, hint_weights(h), &
          layers(h), at(h), parameters, at(l)%slopes, space, losses, info)
      end do
      call multiply_slopes(int(layers(l)%activation, i32), leaks(l), (last - first)*layers(l)%n, &
        space(at(l)%sums + first*layers(l)%n), space(at(l)%outputs + first*layers(l)%n), &
        space(at(l)%slopes + first*layers(l)%n))
      below = l - 1
      if (below > 0) then
        call pass_backward(first, last, layers(l), at(l), at(below)%slopes, space, info)
      end if
    end do
  end subroutine pass_samples

  !> Layers before the first projection.
  pure function count_layers(layers) result(count)
    type(trained_layer), intent(in), contiguous :: layers(:)
    integer(i64) :: count

    count = size(layers, kind=i64)
    do while (layers(count)%source > 0)
      count = count - 1
    end do
  end function count_layers

  pure subroutine copy_run(n, from, to)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: from(n)
    real(wp), intent(inout) :: to(n)

    to = from
  end subroutine copy_run

  !> Outputs of a layer for samples `first + 1 ... last`.
  subroutine pass_forward(first, last, layer, leak, at, parameters, space, info)
    integer(i64), intent(in) :: first, last
    type(trained_layer), intent(in) :: layer
    real(wp), intent(in) :: leak
    type(places), intent(in) :: at
    real(wp), intent(in) :: parameters(*)
    real(wp), intent(inout) :: space(*)
    integer(i32), intent(inout) :: info
    integer(i64) :: from, to
    integer(i32) :: activation, state

    activation = int(layer%activation, i32)
    call matmul_blocked(last - first, layer%n, layer%k, layer%k, space(at%inputs &
      + first*layer%k), .false., int(LANES, i64), space(at%forward), B_PACKED, layer%bias >= 0, &
      parameters(max(layer%bias, 0_i64) + 1), merge(ACT_NONE, activation, needs_sums(activation)), &
      leak, space(at%sums + first*layer%n), 1_i32, state)
    if (state /= FQ_OK) info = state
    if (.not. needs_sums(activation)) return
    from = at%sums + first*layer%n
    to = at%outputs + first*layer%n
    call copy_run((last - first)*layer%n, space(from), space(to))
    call activate_row(activation, leak, space(to:to + (last - first)*layer%n - 1))
  end subroutine pass_forward

  !> Derivative of the loss by a layer's inputs, written to `slopes`.
  subroutine pass_backward(first, last, layer, at, slopes, space, info)
    integer(i64), intent(in) :: first, last, slopes
    type(trained_layer), intent(in) :: layer
    type(places), intent(in) :: at
    real(wp), intent(inout) :: space(*)
    integer(i32), intent(inout) :: info
    integer(i32) :: state

    call matmul_blocked(last - first, layer%k, layer%n, layer%n, space(at%slopes + first*layer%n), &
      .false., int(LANES, i64), space(at%backward), B_PACKED, .false., space(at%slopes:at%slopes), &
      ACT_NONE, 0.0_wp, space(slopes + first*layer%k), 1_i32, state)
    if (state /= FQ_OK) info = state
  end subroutine pass_backward

  !> Add the loss of a hint, and its derivative by the outputs of the layer that it projects: a
  !> factor of the mean square of the differences of the projection from the teacher's layer.
  subroutine pass_hint(first, last, order, hints, sample_weights, per_weight, factor, layer, at, &
    parameters, slopes, space, losses, info)
    integer(i64), intent(in) :: first, last, slopes
    integer(i64), intent(in), contiguous :: order(:)
    real(wp), intent(in), contiguous :: hints(:, :), sample_weights(:)
    real(dp), intent(in) :: per_weight
    real(wp), intent(in) :: factor
    type(trained_layer), intent(in) :: layer
    type(places), intent(in) :: at
    real(wp), intent(in) :: parameters(*)
    real(wp), intent(inout) :: space(*)
    real(dp), intent(inout), contiguous :: losses(:)
    integer(i32), intent(inout) :: info
    real(wp) :: error, share
    real(dp) :: total
    integer(i64) :: i, j, sample

    call pass_forward(first, last, layer, 0.0_wp, at, parameters, space, info)
    do i = first, last - 1
      sample = order(i + 1) + 1
      share = factor*real(sample_weights(sample)*per_weight, wp)/real(layer%n, wp)
      total = 0
      do j = 0, layer%n - 1
        error = space(at%outputs + i*layer%n + j) - hints(layer%target + j + 1, sample)
        total = total + real(error, dp)**2
        space(at%slopes + i*layer%n + j) = 2*share*error
      end do
      losses(i + 1) = losses(i + 1) + share*total
    end do
    call pass_backward(first, last, layer, at, at%room, space, info)
    do i = first*layer%k, last*layer%k - 1
      space(slopes + i) = space(slopes + i) + space(at%room + i)
    end do
  end subroutine pass_hint

  !> Loss of a sample, and its derivative by the network's outputs z.
  subroutine find_loss(n, sample, labels, targets, teacher, choices, reals, z, share, slopes, &
    room, loss)
    integer(i64), intent(in) :: n, sample
    integer(i64), intent(in), contiguous :: labels(:)
    real(wp), intent(in), contiguous :: targets(:, :), teacher(:, :)
    type(training), intent(in) :: choices
    type(training_reals), intent(in) :: reals
    real(wp), intent(in) :: z(n)
    real(wp), intent(in) :: share        !! of the sample in the mean
    real(wp), intent(inout) :: slopes(n), room(n, 2)
    real(dp), intent(out) :: loss
    real(dp) :: part
    real(wp) :: alpha

    alpha = real(reals%alpha, wp)
    slopes = 0
    loss = 0
    if (choices%loss /= LOSS_NONE) then
      select case (choices%loss)
      case (LOSS_CROSS_ENTROPY)
        if (choices%labeled /= 0) then
          call cross_entropy(n, z, labels(sample) + 1, room(:, 2), slopes, part)
        else
          call cross_entropy(n, z, 0_i64, targets(:, sample), slopes, part)
        end if
      case (LOSS_MSE)
        call squared_error(n, z, targets(:, sample), slopes, part)
      case default  ! LOSS_HUBER
        call huber(n, z, targets(:, sample), real(reals%delta, wp), slopes, part)
      end select
      slopes = (1 - alpha)*share*slopes
      loss = (1 - alpha)*share*part
    end if
    if (choices%imitation /= IMITATE_NONE) then
      select case (choices%imitation)
      case (IMITATE_KL)
        call divergence(n, z, teacher(:, sample), real(reals%temperature, wp), room(:, 2), &
          room(:, 1), part)
      case (IMITATE_MSE)
        call squared_error(n, z, teacher(:, sample), room(:, 1), part)
      case default  ! IMITATE_COSINE
        call cosine_distance(n, z, teacher(:, sample), room(:, 1), part)
      end select
      slopes = slopes + alpha*share*room(:, 1)
      loss = loss + alpha*share*part
    end if
  end subroutine find_loss

  !> \( p = \mathrm{softmax}(z) \), in place of z, and \( \log \sum e^z \).
  pure subroutine soften(z, log_sum)
    real(wp), intent(inout), contiguous :: z(:)
    real(dp), intent(out) :: log_sum
    integer :: top

    top = maxloc(z, 1)
    log_sum = z(top)
    call activate_row(ACT_SOFTMAX, 0.0_wp, z)
    log_sum = log_sum - log(real(z(top), dp))  ! at least 1/n: nothing is lost
  end subroutine soften

  !> \( -\sum_c t_c \log p_c \) with \( p = \mathrm{softmax}(z) \), and its derivative.
  subroutine cross_entropy(n, z, label, t, slopes, loss)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: z(n)
    integer(i64), intent(in) :: label  !! the class whose t is 1; 0: t is given
    real(wp), intent(in) :: t(n)
    real(wp), intent(out), contiguous :: slopes(:)
    real(dp), intent(out) :: loss
    real(dp) :: log_sum

    slopes = z
    call soften(slopes, log_sum)
    if (label > 0) then
      loss = log_sum - z(label)
      slopes(label) = slopes(label) - 1
    else
      loss = sum(real(t, dp)*(log_sum - z))
      slopes = slopes*sum(t) - t
    end if
  end subroutine cross_entropy

  !> \( T^2 \sum_c q_c \log(q_c/p_c) \), q the softened teacher, and its derivative \( T (p - q) \).
  subroutine divergence(n, z, teacher, temperature, q, slopes, loss)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: z(n), teacher(n), temperature
    real(wp), intent(out), contiguous :: q(:), slopes(:)
    real(dp), intent(out) :: loss
    real(dp) :: log_sum, log_sum_q
    integer(i64) :: c

    slopes = z/temperature
    q = teacher/temperature
    call soften(slopes, log_sum)
    call soften(q, log_sum_q)
    loss = 0
    do c = 1, n
      ! A class that the teacher excludes adds nothing, whatever its logit.
      if (q(c) > 0) loss = loss + q(c)*((real(teacher(c), dp) - z(c))/temperature + (log_sum &
        - log_sum_q))
    end do
    loss = real(temperature, dp)**2*loss
    slopes = temperature*(slopes - q)
  end subroutine divergence

  !> Mean of \( (y - t)^2 \), and its derivative.
  subroutine squared_error(n, y, t, slopes, loss)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: y(n), t(n)
    real(wp), intent(out), contiguous :: slopes(:)
    real(dp), intent(out) :: loss

    slopes = y - t
    loss = sum(real(slopes, dp)**2)/n
    slopes = slopes*(2.0_wp/real(n, wp))
  end subroutine squared_error

  !> Mean of \( e^2/2 \) where \( |e| = |y - t| \le \delta \), else of \( \delta (|e| -
  !> \delta/2) \), and its derivative.
  subroutine huber(n, y, t, delta, slopes, loss)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: y(n), t(n), delta
    real(wp), intent(out), contiguous :: slopes(:)
    real(dp), intent(out) :: loss
    real(wp) :: error, within
    integer(i64) :: c

    loss = 0
    do c = 1, n
      error = y(c) - t(c)
      within = max(-delta, min(delta, error))
      if (error /= error) within = error  ! NaN
      loss = loss + real(within, dp)*(error - within/2)
      slopes(c) = within*(1.0_wp/real(n, wp))
    end do
    loss = loss/n
  end subroutine huber

  !> \( 1 - y \cdot t/(|y| |t|) \), and its derivative; 1 and 0 where a norm is 0.
  subroutine cosine_distance(n, y, t, slopes, loss)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: y(n), t(n)
    real(wp), intent(out), contiguous :: slopes(:)
    real(dp), intent(out) :: loss
    real(dp) :: square, norms, cosine

    square = sum(real(y, dp)**2)
    norms = sqrt(square*sum(real(t, dp)**2))
    slopes = 0
    loss = 1
    if (norms == 0) return
    cosine = sum(real(y, dp)*t)/norms
    loss = 1 - cosine
    slopes = real(cosine/square*y - t/norms, wp)
  end subroutine cosine_distance

  !> Slopes by outputs become slopes by sums: times the derivative of the activation function.
  subroutine multiply_slopes(activation, leak, n, sums, outputs, slopes)
    integer(i32), intent(in) :: activation
    real(wp), intent(in) :: leak
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: sums(n), outputs(n)
    real(wp), intent(inout) :: slopes(n)
    integer(i64), parameter :: RUN = 512
    real(wp) :: factor(RUN)
    integer(i64) :: first, last

    if (activation == ACT_NONE) return
    do first = 1, n, RUN
      last = min(first + RUN - 1, n)
      call find_derivative(activation, leak, last - first + 1, sums(first), outputs(first), factor)
      slopes(first:last) = slopes(first:last)*factor(1:last - first + 1)
    end do
  end subroutine multiply_slopes

  !> Derivative of an activation function at z, where its value is y.
  subroutine find_derivative(activation, leak, n, z, y, d)
    integer(i32), intent(in) :: activation
    real(wp), intent(in) :: leak
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: z(n), y(n)
    real(wp), intent(out) :: d(n)
    real(wp), parameter :: CUBIC = 3*0.044715_wp, FAR = 30  ! where it is 0 or 1
    real(wp), parameter :: PI = 3.14159265358979323846_wp

    select case (activation)
    case (ACT_RELU)
      d = merge(1.0_wp, 0.0_wp, y > 0)
    case (ACT_LEAKY_RELU)
      d = merge(1.0_wp, leak, z > 0)
    case (ACT_TANH)
      d = 1 - y*y
    case (ACT_SIGMOID)
      d = y*(1 - y)
    case (ACT_SILU)
      d = ratio(y, z)
      d = d + y*(1 - d)
    case (ACT_SOFTPLUS)
      d = z
      call activate_row(ACT_SIGMOID, 0.0_wp, d)
    case (ACT_GELU)  ! e**(-z**2/2) = s/(1 - s), s its sigmoid
      d = max(-z*z/2, -FAR*FAR/2)
      call activate_row(ACT_SIGMOID, 0.0_wp, d)
      d = ratio(y, z) + z*(d/(1 - d)/sqrt(2*PI))
    case (ACT_GELU_TANH)
      d = ratio(y, z)
      d = d + z*(2*d*(1 - d))*(sqrt(2/PI)*(1 + CUBIC*min(abs(z), FAR)**2))
    case default  ! ACT_NONE
      d = 1
    end select
  end subroutine find_derivative

  !> `y/z`, which is 1/2 at 0 for the activation functions that are z times a distribution.
  pure elemental function ratio(y, z) result(r)
    real(wp), intent(in) :: y, z
    real(wp) :: r

    r = merge(y/z, 0.5_wp, abs(z) > sqrt(tiny(z)))
  end function ratio

  !> Gradient of a member's rows of all weights, and a step of the optimizer.
  subroutine update_layers(member, members, count, layers, choices, reals, step, rate, at, mask, &
    parameters, first_moment, second_moment, gradient, squares, meeting, space, info)
    integer(i32), intent(in) :: member, members
    integer(i64), intent(in) :: count
    type(trained_layer), intent(in), contiguous :: layers(:)
    type(training), intent(in) :: choices
    type(training_reals), intent(in) :: reals
    integer(i64), intent(in) :: step
    real(wp), intent(in) :: rate
    type(places), intent(in) :: at(:)
    integer(i8), intent(in) :: mask(*)
    real(wp), intent(inout) :: parameters(*), first_moment(*), second_moment(*)
    real(wp), intent(inout) :: gradient(*)
    real(dp), intent(inout), contiguous :: squares(:)
    type(barrier), intent(inout) :: meeting
    real(wp), intent(inout) :: space(*)
    integer(i32), intent(inout) :: info
    real(wp) :: factor
    integer(i64) :: l, first, last, before

    factor = 1
    before = 0
    do l = 1, size(layers, kind=i64)
      call find_share(layers(l)%n, int(LANES, i64), member, members, first, last)
      if (last > first) then
        call find_gradient(count, first, last, layers(l), at(l), choices%masked /= 0, mask, space, &
          gradient, info)
        if (reals%clip > 0) then
          call add_squares(first, last, layers(l), gradient, squares(before + 1:))
        else
          call step_rows(first, last, layers(l), choices, reals, step, rate, factor, gradient, &
            parameters, first_moment, second_moment)
        end if
      end if
      before = before + layers(l)%n
    end do
    if (reals%clip <= 0) return
    call wait_for_all(meeting, members)
    factor = real(min(1.0_dp, reals%clip/(sqrt(sum(squares)) + 1e-6_dp)), wp)
    do l = 1, size(layers, kind=i64)
      call find_share(layers(l)%n, int(LANES, i64), member, members, first, last)
      if (last > first) call step_rows(first, last, layers(l), choices, reals, step, rate, factor, &
        gradient, parameters, first_moment, second_moment)
    end do
  end subroutine update_layers

  !> Gradient of rows `first + 1 ... last` of a layer's weights, and of their biases.
  subroutine find_gradient(count, first, last, layer, at, masked, mask, space, gradient, info)
    integer(i64), intent(in) :: count, first, last
    type(trained_layer), intent(in) :: layer
    type(places), intent(in) :: at
    logical, intent(in) :: masked
    integer(i8), intent(in) :: mask(*)
    real(wp), intent(inout) :: space(*)
    real(wp), intent(inout) :: gradient(*)
    integer(i32), intent(inout) :: info
    integer(i64) :: from, to, i
    integer(i32) :: state

    from = layer%weights + first*layer%k + 1
    to = layer%weights + last*layer%k
    call matmul_blocked(last - first, layer%k, count, layer%n, space(at%slopes + first), .true., &
      layer%k, space(at%inputs), B_PLAIN, .false., space(at%slopes:at%slopes), ACT_NONE, 0.0_wp, &
      gradient(from), 1_i32, state)
    if (state /= FQ_OK) info = state
    if (masked) gradient(from:to) = merge(gradient(from:to), 0.0_wp, mask(from:to) /= 0)
    if (layer%bias < 0) return
    from = layer%bias + first + 1
    to = layer%bias + last
    gradient(from:to) = 0
    do i = 0, count - 1
      call add_run(last - first, space(at%slopes + i*layer%n + first), gradient(from))
    end do
  end subroutine find_gradient

  pure subroutine add_run(n, x, sums)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: x(n)
    real(wp), intent(inout) :: sums(n)

    sums = sums + x
  end subroutine add_run

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
  pure subroutine step_rows(first, last, layer, choices, reals, step, rate, factor, gradient, &
    parameters, first_moment, second_moment)
    integer(i64), intent(in) :: first, last, step
    type(trained_layer), intent(in) :: layer
    type(training), intent(in) :: choices
    type(training_reals), intent(in) :: reals
    real(wp), intent(in) :: rate, factor
    real(wp), intent(in) :: gradient(*)
    real(wp), intent(inout) :: parameters(*), first_moment(*), second_moment(*)
    integer(i64) :: at

    at = layer%weights + first*layer%k + 1
    call step_run((last - first)*layer%k, choices, reals, step, rate, &
      real(reals%weight_decay, wp), factor, gradient(at), parameters(at), first_moment(at), &
      second_moment(at))
    if (layer%bias < 0) return
    at = layer%bias + first + 1
    call step_run(last - first, choices, reals, step, rate, 0.0_wp, factor, gradient(at), &
      parameters(at), first_moment(at), second_moment(at))
  end subroutine step_rows

  !> A step of the optimizer, as PyTorch defines it.
  pure subroutine step_run(n, choices, reals, step, rate, decay, factor, gradient, w, v, s)
    integer(i64), intent(in) :: n, step
    type(training), intent(in) :: choices
    type(training_reals), intent(in) :: reals
    real(wp), intent(in) :: rate, decay, factor, gradient(n)
    real(wp), intent(inout) :: w(n), v(n), s(n)
    real(wp) :: g, momentum, beta2, epsilon, shrink, added, pace, per_root
    integer(i64) :: i

    momentum = real(reals%momentum, wp)
    if (choices%optimizer == OPTIMIZER_SGD) then
      do i = 1, n
        g = factor*gradient(i) + decay*w(i)
        v(i) = momentum*v(i) + g
        w(i) = w(i) - rate*merge(g + momentum*v(i), v(i), choices%nesterov /= 0)
      end do
      return
    end if
    beta2 = real(reals%beta2, wp)
    epsilon = real(reals%epsilon, wp)
    shrink = merge(1 - rate*decay, 1.0_wp, choices%optimizer == OPTIMIZER_ADAMW)
    added = merge(0.0_wp, decay, choices%optimizer == OPTIMIZER_ADAMW)
    pace = real(rate/(1 - reals%momentum**real(step, dp)), wp)
    per_root = real(1/sqrt(1 - reals%beta2**real(step, dp)), wp)
    do i = 1, n
      g = factor*gradient(i) + added*w(i)
      v(i) = v(i) + real(1 - reals%momentum, wp)*(g - v(i))
      s(i) = beta2*s(i) + real(1 - reals%beta2, wp)*g*g
      w(i) = shrink*w(i) - pace*v(i)/(sqrt(s(i))*per_root + epsilon)
    end do
  end subroutine step_run
end module fq_train_real32
