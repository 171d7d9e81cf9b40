!> How a network's weights lie in one block of memory.  Mirrored in `pyfq/networks/memory_plan.py`.
module fq_plan
  use fq_activation_kind, only: is_activation
  use fq_kinds, only: i32, i64
  use fq_status, only: FQ_NOT_FITTING, FQ_NOT_KNOWN, FQ_OK
  implicit none (type, external)
  private

  !> What multiplies by the weights of a layer; all are FORMAT_STATIC, inputs codes of a fixed scale,
  !> or none is.
  integer(i64), parameter, public :: FORMAT_DENSE = 1, FORMAT_PANELS = 2, FORMAT_CODES = 3, &
    FORMAT_NIBBLES = 4, FORMAT_CODE_PANELS = 5, FORMAT_CSR = 6, FORMAT_BLOCKED_CSR = 7, FORMAT_NM24 = 8, &
    FORMAT_NM24_INT8 = 9, FORMAT_STATIC = 10, FORMAT_HALF = 11, FORMAT_LEVEL_PANELS = 12

  !> A layer: where an array starts is in bytes from the first, a multiple of 64; -1 if there is
  !> none.  In NumPy an array of int64.
  type, bind(c), public :: planned_layer
    integer(i64) :: format        !! one of FORMAT_...
    integer(i64) :: n             !! outputs
    integer(i64) :: k             !! inputs
    integer(i64) :: activation    !! one of ACT_...
    integer(i64) :: rows          !! rows of weights that are stored
    integer(i64) :: group_size    !! weights of a group
    integer(i64) :: groups        !! groups of a row
    integer(i64) :: vectors       !! rows of DENSE, vectors of PANELS
    integer(i64) :: row_steps     !! codes of a stored row of CODES; steps of CODE_PANELS and HALF
    integer(i64) :: group_stride  !! codes from group to group of CODES
    integer(i64) :: two_per_byte  !! 1: a byte of CODE_PANELS holds two codes
    integer(i64) :: float_format  !! one of HALF_..., of HALF
    integer(i64) :: block_cols    !! columns of a block of BLOCKED_CSR
    integer(i64) :: panels        !! panels of NM24
    integer(i64) :: run_bytes     !! bytes of a run of NM24_INT8
    integer(i64) :: coded_inputs  !! 1: inputs of CSR and BLOCKED_CSR become codes first
    integer(i64) :: input_zero    !! code of 0 of the inputs of STATIC, -1 if they are signed
    integer(i64) :: bias          !! where its bias is, `(n)`
    integer(i64) :: kept          !! where the numbers of its nonzero rows are; -1: all are computed
    integer(i64) :: weights       !! where values or codes are
    integer(i64) :: scale         !! where scales are
    integer(i64) :: zero_point    !! where zero points are
    integer(i64) :: minimum       !! where minima are
    integer(i64) :: levels        !! where pairs of levels are, of LEVEL_PANELS
    integer(i64) :: starts        !! where `indptr` of CSR is; where blocks of rows start
    integer(i64) :: indices       !! where column indices are
    integer(i64) :: positions     !! where positions in groups are, of NM24
    integer(i64) :: code_sums     !! where sums of the codes of rows are, of STATIC and NM24_INT8
    integer(i64) :: input_scale   !! where the step between codes of inputs is, of STATIC
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
      known = known .and. layers(l)%format >= FORMAT_DENSE .and. layers(l)%format <= FORMAT_LEVEL_PANELS &
        .and. (layers(l)%format == FORMAT_STATIC .eqv. layers(1)%format == FORMAT_STATIC) &
        .and. layers(l)%activation == int(layers(l)%activation, i32) &
        .and. is_activation(int(layers(l)%activation, i32))
      fit = fit .and. layers(l)%k == inputs .and. layers(l)%n > 0 .and. layers(l)%rows >= 0 &
        .and. is_inside(places_of(layers(l)), bytes) &
        .and. layers(l)%weights >= 0
      inputs = layers(l)%n
    end do
    fit = fit .and. inputs == n .and. is_inside([ends%input_mean, ends%input_scale, &
      ends%output_mean, ends%output_scale], bytes)
    info = merge(FQ_OK, FQ_NOT_KNOWN, known)
    if (.not. fit) info = FQ_NOT_FITTING
  end function plan_status

  !> Where the arrays of a layer start.
  pure function places_of(layer) result(places)
    type(planned_layer), intent(in) :: layer
    integer(i64) :: places(12)

    places = [layer%bias, layer%kept, layer%weights, layer%scale, layer%zero_point, &
      layer%minimum, layer%levels, layer%starts, layer%indices, layer%positions, &
      layer%code_sums, layer%input_scale]
  end function places_of

  !> Whether arrays that there are start in the memory, on a line of cache.
  pure function is_inside(starts, bytes) result(inside)
    integer(i64), intent(in) :: starts(:), bytes
    logical :: inside

    inside = all(starts == -1 .or. (starts >= 0 .and. starts < bytes &
      .and. mod(starts, 64_i64) == 0))
  end function is_inside
end module fq_plan
