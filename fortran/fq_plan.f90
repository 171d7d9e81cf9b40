!> How a network's weights lie in one block of memory.  Mirrored in `pyfq/plan.py`.
module fq_plan
  use fq_activation_kind, only: is_activation
  use fq_kinds, only: i32, i64
  use fq_status, only: FQ_NOT_FITTING, FQ_NOT_KNOWN, FQ_OK
  implicit none (type, external)
  private

  !> What multiplies by the weights of a layer; all are FORM_STATIC, inputs codes of a fixed scale,
  !> or none is.
  integer(i64), parameter, public :: FORM_ROWS = 1, FORM_PANELS = 2, FORM_CODES = 3, &
    FORM_NIBBLES = 4, FORM_CODE_PANELS = 5, FORM_CSR = 6, FORM_STREAM = 7, FORM_PAIRS = 8, &
    FORM_PAIR_CODES = 9, FORM_STATIC = 10, FORM_HALF = 11, FORM_LEVELS = 12

  !> A layer: where an array starts is in bytes from the first, a multiple of 64; -1 if there is
  !> none.  In NumPy an array of int64.
  type, bind(c), public :: planned_layer
    integer(i64) :: form        !! one of FORM_...
    integer(i64) :: n           !! outputs
    integer(i64) :: k           !! inputs
    integer(i64) :: activation  !! one of ACT_...
    integer(i64) :: bias        !! where its bias is, `(n)`
    integer(i64) :: kept        !! where the numbers of its nonzero rows are; -1: all are computed
    integer(i64) :: rows        !! rows of weights that are stored
    integer(i64) :: coded       !! 1: inputs become codes first, for FORM_CSR and FORM_STREAM
    integer(i64) :: weights     !! where values or codes are
    integer(i64) :: first       !! where `indptr`, starts, positions, sums of codes or levels are
    integer(i64) :: second      !! where column indices are; of FORM_STATIC the step of inputs
    integer(i64) :: scale       !! where scales are
    integer(i64) :: zero_point  !! where zero points are
    integer(i64) :: minimum     !! where minima are
    integer(i64) :: group_size  !! weights of a group
    integer(i64) :: groups      !! groups of a row
    integer(i64) :: stride      !! codes of a row, steps, columns of a block, or bytes of a run
    integer(i64) :: extent      !! panels; codes from group to group; 1: halves of bytes; a format;
                                !! of FORM_STATIC the code of 0 of inputs, -1 if they are signed
  end type planned_layer

  !> What is done to inputs and outputs: `(x - input_mean)/input_scale`, `output_scale*y +
  !> output_mean`.  Where each array is; -1 if there is none.
  type, bind(c), public :: planned_ends
    integer(i64) :: input_mean, input_scale, output_mean, output_scale
  end type planned_ends

  public :: plan_status

contains

  !> What is wrong with a plan, FQ_OK if layers follow each other, are of forms and activations that
  !> there are, and have arrays that start in the memory.  How long they are is the caller's care.
  pure function plan_status(k, n, layers, bytes, ends) result(info)
    integer(i64), intent(in) :: k, n                  !! inputs and outputs
    type(planned_layer), intent(in) :: layers(:)      !! the layers, in order
    integer(i64), intent(in) :: bytes                 !! of the memory
    type(planned_ends), intent(in) :: ends            !! what inputs and outputs pass
    integer(i32) :: info
    integer(i64) :: l, inputs
    logical :: fit, known

    fit = size(layers, kind=i64) > 0 .and. k > 0
    known = .true.
    inputs = k
    do l = 1, size(layers, kind=i64)
      known = known .and. layers(l)%form >= FORM_ROWS .and. layers(l)%form <= FORM_LEVELS &
        .and. (layers(l)%form == FORM_STATIC .eqv. layers(1)%form == FORM_STATIC) &
        .and. layers(l)%activation == int(layers(l)%activation, i32) &
        .and. is_activation(int(layers(l)%activation, i32))
      fit = fit .and. layers(l)%k == inputs .and. layers(l)%n > 0 .and. layers(l)%rows >= 0 &
        .and. is_inside([layers(l)%bias, layers(l)%kept, layers(l)%weights, layers(l)%first, &
        layers(l)%second, layers(l)%scale, layers(l)%zero_point, layers(l)%minimum], bytes) &
        .and. layers(l)%weights >= 0
      inputs = layers(l)%n
    end do
    fit = fit .and. inputs == n .and. is_inside([ends%input_mean, ends%input_scale, &
      ends%output_mean, ends%output_scale], bytes)
    info = merge(FQ_OK, FQ_NOT_KNOWN, known)
    if (.not. fit) info = FQ_NOT_FITTING
  end function plan_status

  !> Whether arrays that there are start in the memory, on a line of cache.
  pure function is_inside(starts, bytes) result(inside)
    integer(i64), intent(in) :: starts(:), bytes
    logical :: inside

    inside = all(starts == -1 .or. (starts >= 0 .and. starts < bytes &
      .and. mod(starts, 64_i64) == 0))
  end function is_inside
end module fq_plan
