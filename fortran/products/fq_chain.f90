!> Layers that follow each other, and what inputs and outputs pass.  Ends are mirrored in
!> `pyfq/products/model.py`.
module fq_chain
  use fq_activation_kind, only: is_activation
  use fq_kinds, only: i32, i64
  use fq_status, only: FQ_NOT_FITTING, FQ_NOT_KNOWN, FQ_OK
  use fq_stored_layer, only: are_inside, FORMAT_DENSE, FORMAT_STATIC, LAST_FORMAT, &
    starts_of, stored_layer
  implicit none (type, external)
  private

  !> What is done to inputs and outputs: `(x - input_mean)/input_scale`, `output_scale*y +
  !> output_mean`.  Where each array is; -1 if there is none.
  type, bind(c), public :: planned_ends
    integer(i64) :: input_mean, input_scale, output_mean, output_scale
  end type planned_ends

  public :: chain_status

contains

  !> What is wrong with a chain of layers, FQ_OK if they follow each other, are of formats and
  !> activations that there are, and have arrays that start in the memory.  How long these are is
  !> the caller's care.
  pure function chain_status(k, n, layers, bytes, ends) result(info)
    integer(i64), intent(in) :: k, n                  !! inputs and outputs
    type(stored_layer), intent(in) :: layers(:)      !! the layers, in order
    integer(i64), intent(in) :: bytes                 !! of the memory
    type(planned_ends), intent(in) :: ends            !! what inputs and outputs pass
    integer(i32) :: info
    integer(i64) :: l, inputs
    logical :: fit, known

    fit = size(layers, kind=i64) > 0 .and. k > 0
    known = .true.
    inputs = k
    do l = 1, size(layers, kind=i64)
      known = known .and. layers(l)%format >= FORMAT_DENSE .and. layers(l)%format <= LAST_FORMAT &
        .and. (layers(l)%format == FORMAT_STATIC .eqv. layers(1)%format == FORMAT_STATIC) &
        .and. layers(l)%activation == int(layers(l)%activation, i32) &
        .and. is_activation(int(layers(l)%activation, i32))
      fit = fit .and. layers(l)%k == inputs .and. layers(l)%n > 0 .and. layers(l)%rows >= 0 &
        .and. are_inside(starts_of(layers(l)), bytes) &
        .and. layers(l)%weights >= 0
      inputs = layers(l)%n
    end do
    fit = fit .and. inputs == n .and. are_inside([ends%input_mean, ends%input_scale, &
      ends%output_mean, ends%output_scale], bytes)
    info = merge(FQ_OK, FQ_NOT_KNOWN, known)
    if (.not. fit) info = FQ_NOT_FITTING
  end function chain_status
end module fq_chain
