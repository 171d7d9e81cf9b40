!> C boundary of `fq_train`: flat arrays, explicit extents.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
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

  subroutine fq_train_epoch(samples, cols, used, labeled, target_rows, target_cols, teacher_rows, &
    teacher_cols, hint_rows, hint_cols, count, steps, masked, size, x, order, labels, targets, &
    teacher, hints, sample_weights, layers, leaks, hint_weights, rules, choices, reals, rates, &
    mask, parameters, first_moment, second_moment, losses, threads, info) &
    bind(c, name='fq_train_epoch_f32')
    integer(i64), intent(in), value :: samples, cols, used, labeled, target_rows, target_cols
    integer(i64), intent(in), value :: teacher_rows, teacher_cols, hint_rows, hint_cols, count
    integer(i64), intent(in), value :: steps, masked, size
    real(wp), intent(in), optional, target :: x(cols, samples), targets(target_cols, target_rows)
    real(wp), intent(in), optional, target :: teacher(teacher_cols, teacher_rows)
    real(wp), intent(in), optional, target :: hints(hint_cols, hint_rows)
    integer(i64), intent(in), optional :: order(used)
    integer(i64), intent(in), optional, target :: labels(labeled)
    real(wp), intent(in), optional, target :: sample_weights(samples), leaks(count)
    real(wp), intent(in), optional, target :: hint_weights(count)
    type(trained_layer), intent(in), optional, target :: layers(count)
    type(code_rule), intent(in), optional, target :: rules(count)
    type(training), intent(in), optional :: choices
    type(training_reals), intent(in), optional :: reals
    real(wp), intent(in), optional :: rates(steps)
    integer(i8), intent(in), optional, target :: mask(masked)
    real(wp), intent(inout), optional, target :: parameters(size), first_moment(size)
    real(wp), intent(inout), optional, target :: second_moment(size)
    real(dp), intent(out), optional :: losses(steps)
    integer(i32), intent(in), value :: threads
    integer(i32), intent(out) :: info
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
    if (.not. is_given(present(leaks), [count])) return
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
    network = trained_network(layers, leaks, hint_weights, rules)
    state = trained_parameters(parameters, first_moment, second_moment)
    if (present(mask)) state%mask => mask
    call train_epoch(data, order, network, choices, reals, rates, state, losses, threads, info)
  end subroutine fq_train_epoch
end module fq_train_c_real32
