!> How a network is trained: what all steps share.  Mirrored in `pyfq/train.py`.
module fq_training
  use fq_kinds, only: dp, i64
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

  !> Of a layer, or of a projection that a hint compares with a teacher's hidden layer.
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
end module fq_training
