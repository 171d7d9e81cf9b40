!> How a network is trained: what all steps share.  Mirrored in `pyfq/learning/`.
module fq_training
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: is_rule
  use fq_code_rule, only: code_rule
  use fq_extents, only: pieces
  use fq_kinds, only: dp, i32, i64
  implicit none (type, external)
  private

  integer(i64), parameter, public :: LOSS_NONE = 0, LOSS_CROSS_ENTROPY = 1, LOSS_MSE = 2, &
    LOSS_HUBER = 3
  integer(i64), parameter, public :: IMITATE_NONE = 0, IMITATE_KL = 1, IMITATE_MSE = 2, &
    IMITATE_COSINE = 3
  integer(i64), parameter, public :: OPTIMIZER_SGD = 0, OPTIMIZER_ADAM = 1, OPTIMIZER_ADAMW = 2

  !> Integers, in NumPy an array of int64.
  type, bind(c), public :: training
    integer(i64) :: loss        !! of the data: one of LOSS_...
    integer(i64) :: labeled     !! 1: cross-entropy of labels; 0: of probabilities
    integer(i64) :: imitation   !! of the teacher: one of IMITATE_...
    integer(i64) :: optimizer   !! one of OPTIMIZER_...
    integer(i64) :: nesterov    !! 1: momentum of Nesterov
    integer(i64) :: masked      !! 1: weights whose mask is 0 stay 0
    integer(i64) :: batch_size  !! samples of a step, at least 1
    integer(i64) :: done        !! steps before the first of this call
  end type training

  !> Reals, in NumPy an array of float64.
  type, bind(c), public :: training_reals
    real(dp) :: alpha         !! share of the teacher's loss, `0 ... 1`
    real(dp) :: temperature   !! that logits are divided by, above 0
    real(dp) :: delta         !! error from which the Huber loss is linear, above 0
    real(dp) :: momentum      !! of SGD; `beta1` of Adam
    real(dp) :: beta2         !! decay of the mean square of Adam
    real(dp) :: epsilon       !! added to the root mean square of Adam
    real(dp) :: weight_decay  !! at least 0; biases do not decay
    real(dp) :: clip          !! largest norm of a step's gradient; 0: any
  end type training_reals

  !> A layer, or a projection that a hint compares with a teacher's hidden layer.
  type, bind(c), public :: trained_layer
    integer(i64) :: n           !! outputs
    integer(i64) :: k           !! inputs
    integer(i64) :: activation  !! one of ACT_...
    integer(i64) :: weights     !! parameters before its weights
    integer(i64) :: bias        !! parameters before its bias; -1: it has none
    integer(i64) :: source      !! 0: a layer; else the layer that is projected
    integer(i64) :: target      !! entries of a hint before those of this projection
    integer(i64) :: group_size  !! weights of a row with a scale of their own; 0: not quantized
  end type trained_layer

  public :: fits_training, knows_training

contains

  !> Whether samples, layers and parameters fit each other; shapes are those of NumPy.
  pure function fits_training(samples, cols, used, labeled, targets, teacher, hints, steps, &
    masked, size_of_all, layers, choices) result(fits)
    integer(i64), intent(in) :: samples, cols            !! of the inputs
    integer(i64), intent(in) :: used, labeled            !! samples of the epoch, and labels
    integer(i64), intent(in) :: targets(2), teacher(2), hints(2)  !! shapes, rows first
    integer(i64), intent(in) :: steps, masked            !! batches, and entries of the mask
    integer(i64), intent(in) :: size_of_all              !! parameters of all layers
    type(trained_layer), intent(in) :: layers(:)         !! the layers, then projections
    type(training), intent(in) :: choices                !! what is minimised, and how
    logical :: fits
    integer(i64) :: l, below, last

    fits = size(layers, kind=i64) > 0 .and. samples > 0 .and. used > 0 .and. choices%batch_size > 0
    if (.not. fits) return
    last = count(layers%source == 0, kind=i64)
    fits = last > 0 .and. steps == pieces(used, min(choices%batch_size, used)) &
      .and. (choices%masked == 0 .or. masked == size_of_all)
    do l = 1, size(layers, kind=i64)
      if (.not. fits) return
      below = l - 1
      fits = fits_layer(layers(l), size_of_all) .and. (layers(l)%source == 0 .eqv. l <= last)
      if (l == 1) then
        fits = fits .and. layers(1)%k == cols
      else if (l <= last) then
        fits = fits .and. layers(l)%k == layers(below)%n
      else if (layers(l)%source < 1 .or. layers(l)%source > last) then
        fits = .false.
      else
        fits = fits .and. layers(l)%k == layers(layers(l)%source)%n .and. hints(1) == samples &
          .and. layers(l)%target >= 0 .and. layers(l)%target + layers(l)%n <= hints(2)
      end if
    end do
    if (.not. fits) return
    if (choices%imitation /= IMITATE_NONE) fits = all(teacher == [samples, layers(last)%n])
    if (choices%loss == LOSS_NONE) return
    if (choices%labeled == 1) then
      fits = fits .and. labeled == samples
    else
      fits = fits .and. all(targets == [samples, layers(last)%n])
    end if
  end function fits_training

  !> Whether the parameters of a layer are among all.
  pure function fits_layer(layer, size_of_all) result(fits)
    type(trained_layer), intent(in) :: layer
    integer(i64), intent(in) :: size_of_all
    logical :: fits

    fits = layer%n > 0 .and. layer%k > 0 .and. layer%weights >= 0 .and. layer%group_size >= 0 &
      .and. layer%bias >= -1 .and. layer%bias + layer%n <= size_of_all
    if (.not. fits) return
    fits = layer%n <= size_of_all/layer%k
    if (fits) fits = layer%weights <= size_of_all - layer%n*layer%k
  end function fits_layer

  !> Whether all codes are known, and samples and labels are among those there are.
  pure function knows_training(samples, order, labels, layers, rules, choices) result(known)
    integer(i64), intent(in) :: samples                  !! of the inputs
    integer(i64), intent(in) :: order(:)                 !! samples, from 0
    integer(i64), intent(in), optional :: labels(:)      !! classes, from 0, if there are samples
    type(trained_layer), intent(in) :: layers(:)         !! the layers, then projections
    type(code_rule), intent(in) :: rules(:)              !! of quantized ones
    type(training), intent(in) :: choices                !! what is minimised, and how
    logical :: known
    integer(i64) :: l, last

    known = all(order >= 0 .and. order < samples) &
      .and. choices%loss >= LOSS_NONE .and. choices%loss <= LOSS_HUBER &
      .and. choices%imitation >= IMITATE_NONE .and. choices%imitation <= IMITATE_COSINE &
      .and. choices%optimizer >= OPTIMIZER_SGD .and. choices%optimizer <= OPTIMIZER_ADAMW
    do l = 1, size(layers, kind=i64)
      known = known .and. layers(l)%activation == int(layers(l)%activation, i32) &
        .and. is_activation(int(layers(l)%activation, i32)) &
        .and. (layers(l)%group_size < 1 .or. is_rule(rules(l)))
    end do
    last = count(layers%source == 0, kind=i64)
    if (choices%loss == LOSS_NONE .or. choices%labeled == 0 .or. last == 0) return
    if (present(labels)) known = known .and. all(labels >= 0 .and. labels < layers(last)%n)
  end function knows_training
end module fq_training
