!> C boundary of `fq_train`; `docs/boundary.md` says what all bindings have in common.
module fq_train_c_real32
  use fq_arguments, only: is_given, status_of
  use fq_code_rule, only: code_rule
  use fq_kinds, only: dp, i8, i32, i64, wp => sp
  use fq_train_real32, only: train_epoch
  use fq_training, only: fits_training, knows_training, trained_layer, training, training_reals
  use fq_training_arrays_real32, only: trained_network, trained_parameters, training_samples
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_train_epoch

contains

  !> One pass over the samples: see `train_epoch`, and `fq_training` for all codes.
  subroutine fq_train_epoch(samples, cols, used, labeled, target_rows, target_cols, teacher_rows, &
    teacher_cols, hint_rows, hint_cols, count, steps, masked, size, x, order, labels, targets, &
    teacher, hints, sample_weights, layers, slopes, hint_weights, rules, choices, reals, rates, &
    mask, parameters, first_moment, second_moment, losses, threads, info) &
    bind(c, name='fq_train_epoch_f32')
    integer(i64), intent(in), value :: samples, cols         !! extents of x
    integer(i64), intent(in), value :: used                  !! samples of the epoch
    integer(i64), intent(in), value :: labeled  !! entries of labels: samples, if it is looked at
    !> Extents of targets, if it is looked at.
    integer(i64), intent(in), value :: target_rows, target_cols
    !> Extents of teacher, if it is looked at.
    integer(i64), intent(in), value :: teacher_rows, teacher_cols
    integer(i64), intent(in), value :: hint_rows, hint_cols  !! extents of hints, if it is looked at
    integer(i64), intent(in), value :: count                 !! layers and projections
    integer(i64), intent(in), value :: steps                 !! batches, `ceiling(used/batch_size)`
    integer(i64), intent(in), value :: masked  !! entries of mask: size, if it is looked at
    integer(i64), intent(in), value :: size                  !! parameters of all layers
    real(wp), intent(in), optional, target :: x(cols, samples)  !! inputs, `(samples, cols)`
    integer(i64), intent(in), optional :: order(used)        !! samples in order, from 0, `(used)`
    integer(i64), intent(in), optional, target :: labels(labeled)  !! classes, from 0, `(samples)`
    real(wp), intent(in), optional, target :: targets(target_cols, target_rows)  !! `(samples, n)`
    real(wp), intent(in), optional, target :: teacher(teacher_cols, teacher_rows)  !! `(samples, n)`
    real(wp), intent(in), optional, target :: hints(hint_cols, hint_rows)  !! `(samples, hint_cols)`
    real(wp), intent(in), optional, target :: sample_weights(samples)  !! at least 0, `(samples)`
    type(trained_layer), intent(in), optional, target :: layers(count)  !! in order, `(count)`
    real(wp), intent(in), optional, target :: slopes(count)  !! of activations, `(count)`
    real(wp), intent(in), optional, target :: hint_weights(count)  !! factors of losses, `(count)`
    type(code_rule), intent(in), optional, target :: rules(count)  !! of quantized layers, `(count)`
    type(training), intent(in), optional :: choices          !! what is minimised, and how
    type(training_reals), intent(in), optional :: reals      !! the numbers of that
    real(wp), intent(in), optional :: rates(steps)           !! learning rates, `(steps)`
    integer(i8), intent(in), optional, target :: mask(masked)  !! 0 where a value stays 0, `(size)`
    real(wp), intent(inout), optional, target :: parameters(size)  !! what is learned, `(size)`
    real(wp), intent(inout), optional, target :: first_moment(size)  !! of the optimizer, `(size)`
    real(wp), intent(inout), optional, target :: second_moment(size)  !! of the optimizer, `(size)`
    real(dp), intent(out), optional :: losses(steps)         !! mean loss of each batch, `(steps)`
    integer(i32), intent(in), value :: threads               !! threads to use, at least 1
    integer(i32), intent(out) :: info                        !! status code, FQ_NO_MEMORY among them
    type(training_samples) :: data
    type(trained_network) :: network
    type(trained_parameters) :: state

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [cols, samples])) return
    if (.not. is_given(present(targets), [target_cols, target_rows])) return
    if (.not. is_given(present(teacher), [teacher_cols, teacher_rows])) return
    if (.not. is_given(present(hints), [hint_cols, hint_rows])) return
    if (.not. is_given(present(order), [used])) return
    if (.not. is_given(present(labels), [labeled])) return
    if (.not. is_given(present(sample_weights), [samples])) return
    if (.not. is_given(present(slopes), [count])) return
    if (.not. is_given(present(hint_weights), [count])) return
    if (.not. is_given(present(layers), [count])) return
    if (.not. is_given(present(rules), [count])) return
    if (.not. is_given(present(rates), [steps])) return
    if (.not. is_given(present(mask), [masked])) return
    if (.not. is_given(present(parameters), [size])) return
    if (.not. is_given(present(first_moment), [size])) return
    if (.not. is_given(present(second_moment), [size])) return
    if (.not. is_given(present(losses), [steps])) return
    if (.not. present(choices)) return
    if (.not. present(reals)) return
    info = status_of([samples, cols, used, labeled, target_rows, target_cols, teacher_rows, &
      teacher_cols, hint_rows, hint_cols, count, steps, masked, size], &
      fits_training(samples, cols, used, labeled, [target_rows, target_cols], [teacher_rows, &
        teacher_cols], [hint_rows, hint_cols], steps, masked, size, layers, choices), &
      knows_training(samples, order, labels, layers, rules, choices) .and. threads >= 1)
    if (info /= FQ_OK) return
    data%x => x
    if (present(labels)) data%labels => labels
    if (present(targets)) data%targets => targets
    if (present(teacher)) data%teacher => teacher
    if (present(hints)) data%hints => hints
    data%weights => sample_weights
    network = trained_network(layers, slopes, hint_weights, rules)
    state = trained_parameters(parameters, first_moment, second_moment)
    if (present(mask)) state%mask => mask
    call train_epoch(data, order, network, choices, reals, rates, state, losses, threads, info)
  end subroutine fq_train_epoch
end module fq_train_c_real32
