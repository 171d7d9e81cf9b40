!> The arrays of an epoch of training, for its driver; loops over entries get the arrays themselves.
module fq_training_arrays_real32
  use fq_code_rule, only: code_rule
  use fq_kinds, only: i8, i64, wp => sp
  use fq_training, only: trained_layer
  implicit none (type, external)
  private

  !> What is learned from.  What the choices of a training do not look at need not be there.
  type, public :: training_samples
    real(wp), pointer, contiguous :: x(:, :) => null()        !! inputs, `(k, samples)`
    integer(i64), pointer, contiguous :: labels(:) => null()  !! classes, `(samples)` if labeled
    real(wp), pointer, contiguous :: targets(:, :) => null()  !! else `(n, samples)`
    real(wp), pointer, contiguous :: teacher(:, :) => null()  !! its outputs, `(n, samples)`
    real(wp), pointer, contiguous :: hints(:, :) => null()    !! its hidden layers, `(., samples)`
    real(wp), pointer, contiguous :: weights(:) => null()     !! at least 0, `(samples)`
  end type training_samples

  !> What learns: layers in their order, then projections, which hints compare with the teacher.
  type, public :: trained_network
    type(trained_layer), pointer, contiguous :: layers(:) => null()
    real(wp), pointer, contiguous :: slopes(:) => null()  !! of activations, `(layers)`
    real(wp), pointer, contiguous :: hint_weights(:) => null()  !! factor of a loss, `(layers)`
    type(code_rule), pointer, contiguous :: rules(:) => null()  !! how one is quantized, `(layers)`
  end type trained_network

  !> What changes, of all layers.
  type, public :: trained_parameters
    real(wp), pointer, contiguous :: values(:) => null()
    real(wp), pointer, contiguous :: first_moment(:) => null()   !! velocity, or mean gradient
    real(wp), pointer, contiguous :: second_moment(:) => null()  !! mean square of the gradient
    integer(i8), pointer, contiguous :: mask(:) => null()        !! 0 where a value stays 0
  end type trained_parameters
end module fq_training_arrays_real32
