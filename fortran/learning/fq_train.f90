!> Training of a network: forward pass, loss, backward pass and update, batch after batch.
!>
!> Python: `pyfq/learning/train.py`.  Reference: `pyfq/reference/learning/train.py`.
module fq_train_real32
  !$ use omp_lib, only: omp_get_num_procs, omp_get_num_threads, omp_get_thread_num
  use fq_activation_kind, only: ACT_SOFTMAX
  use fq_align, only: aligned_start
  use fq_backward_real32, only: pass_batch
  use fq_barrier, only: barrier, wait_for_all
  use fq_gemm_real32, only: LINE
  use fq_kinds, only: dp, i32, i64, wp => sp
  use fq_optimizer_real32, only: optimizer_step_of, update_layers
  use fq_precondition, only: CHECKED, require
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_team, only: team_member
  use fq_trained_weights_real32, only: pack_layers
  use fq_training, only: LOSS_NONE, training, training_reals
  use fq_training_arrays_real32, only: trained_network, trained_parameters, training_samples
  use fq_work_size, only: SMALL_WORK
  use fq_workspace_map_real32, only: clear_panel_ends, count_layers, map_workspace, &
    workspace_map
  implicit none (type, external)
  private
  public :: train_epoch

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
  subroutine train_epoch(samples, order, network, choices, reals, rates, parameters, losses, &
    threads, info)
    type(training_samples), intent(in) :: samples            !! what is learned from
    integer(i64), intent(in), contiguous :: order(:)         !! samples in the order of use, from 0
    type(trained_network), intent(in) :: network             !! what learns
    type(training), intent(in) :: choices                    !! what is minimised, and how
    type(training_reals), intent(in) :: reals                !! the numbers of that
    real(wp), intent(in), contiguous :: rates(:)             !! of learning, `(steps)`
    type(trained_parameters), intent(in) :: parameters       !! of all layers; their values change
    real(dp), intent(out), contiguous :: losses(:)           !! mean loss of each batch, `(steps)`
    integer(i32), intent(in) :: threads                      !! threads to use, at least 1
    integer(i32), intent(out) :: info  !! status code; the first loss that is not finite stays last
    type(workspace_map) :: at(size(network%layers))
    type(team_member) :: member
    type(barrier) :: meeting
    real(wp), allocatable :: space(:), gradient(:)
    real(dp), allocatable :: sample_losses(:), squares(:)
    real(dp) :: loss
    integer(i64) :: start, batch, entries, step, before, count
    integer(i32) :: team, state
    integer :: stat

    if (CHECKED) call require_training(samples, order, network, choices)
    batch = min(choices%batch_size, size(order, kind=i64))
    team = merge(threads, 1_i32, 3*batch*sum(network%layers%n*network%layers%k) > SMALL_WORK)
    !$ team = min(team, omp_get_num_procs())  ! members that wait look, and take a core
    call map_workspace(batch, network%layers, at, entries)
    losses = 0
    allocate (space(entries + LINE), stat=stat)
    if (stat == 0) allocate (gradient(size(parameters%values, kind=i64)), stat=stat)
    if (stat == 0) allocate (sample_losses(batch), stat=stat)
    if (stat == 0) allocate (squares(sum(network%layers%n)), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info /= FQ_OK) return
    start = aligned_start(space, storage_size(space))
    call clear_panel_ends(network%layers, at, space(start))
    meeting = barrier(0, 0)
    !$omp parallel num_threads(team) if(team > 1) default(none) private(member, step, before, &
    !$omp   count, state, loss) shared(samples, order, network, choices, reals, rates, parameters, &
    !$omp   losses, info, at, meeting, space, gradient, sample_losses, squares, start, batch)
    member%number = 0
    member%members = 1
    !$ member%number = omp_get_thread_num()
    !$ member%members = omp_get_num_threads()
    state = FQ_OK
    do step = 1, size(rates, kind=i64)
      before = (step - 1)*batch
      count = min(batch, size(order, kind=i64) - before)
      call pack_layers(member, network%layers, network%rules, at, parameters%values, space(start), &
        state)
      call wait_for_all(meeting, member%members)
      call pass_batch(member, order(before + 1:before + count), samples, network, choices, &
        reals, at, parameters%values, space(start), sample_losses, state)
      if (state /= FQ_OK) then
        !$omp atomic write
        info = state
      end if
      call wait_for_all(meeting, member%members)
      loss = sum(sample_losses(1:count))
      if (member%number == 0) losses(step) = loss
      !$omp atomic read
      state = info
      ! All members see the same here: what goes wrong later is told in the next step.
      if (.not. abs(loss) <= huge(loss) .or. state /= FQ_OK) exit
      call update_layers(member, count, network%layers, optimizer_step_of(choices, reals, &
        choices%done + step, rates(step)), at, parameters, gradient, squares, meeting, &
        space(start), state)
    end do
    if (state /= FQ_OK) then
      !$omp atomic write
      info = state
    end if
    !$omp end parallel
  end subroutine train_epoch

  !> What is expected of samples and layers.
  pure subroutine require_training(samples, order, network, choices)
    type(training_samples), intent(in) :: samples
    integer(i64), intent(in), contiguous :: order(:)
    type(trained_network), intent(in) :: network
    type(training), intent(in) :: choices
    integer(i64) :: last

    if (.not. CHECKED) return
    last = count_layers(network%layers)
    call require(all(network%layers(last + 1:)%source > 0), &
      'train_epoch: projections follow the layers')
    call require(network%layers(last)%activation /= ACT_SOFTMAX, &
      'train_epoch: the last layer has no softmax')
    call require(all(order >= 0 .and. order < size(samples%x, 2, kind=i64)), &
      'train_epoch: entries of order are 0 ... samples - 1')
    if (choices%loss == LOSS_NONE .or. choices%labeled == 0) return
    call require(all(samples%labels >= 0 .and. samples%labels < network%layers(last)%n), &
      'train_epoch: labels are 0 ... n - 1')
  end subroutine require_training
end module fq_train_real32
