!> A layer's weights in a block of memory: in which format they are, and where each array starts.
module fq_stored_layer
  use fq_align, only: whole_lines
  use fq_kinds, only: i64
  use fq_layer_parts, only: INPUTS_CODED, layer_parts, row_scales
  use, intrinsic :: iso_c_binding, only: c_double
  implicit none (type, external)
  private
  public :: are_inside, depends_on_company, place, stored_for, starts_of, takes_codes

  !> What multiplies by the weights of a layer.  All layers of a network are FORMAT_STATIC, whose
  !> inputs are codes of a fixed scale, or none is.
  integer(i64), parameter, public :: FORMAT_DENSE = 1, FORMAT_PANELS = 2, FORMAT_CODES = 3, &
    FORMAT_NIBBLES = 4, FORMAT_CODE_PANELS = 5, FORMAT_CSR = 6, FORMAT_BLOCKED_CSR = 7, &
    FORMAT_NM24 = 8, FORMAT_NM24_INT8 = 9, FORMAT_STATIC = 10, FORMAT_HALF = 11, &
    FORMAT_LEVEL_PANELS = 12
  integer(i64), parameter, public :: LAST_FORMAT = FORMAT_LEVEL_PANELS

  !> A layer: where an array starts is in bytes from the first of the memory, a multiple of 64; -1
  !> if there is none.
  type, bind(c), public :: stored_layer
    integer(i64) :: format = -1        !! one of FORMAT_...
    integer(i64) :: n = -1             !! outputs
    integer(i64) :: k = -1             !! inputs
    integer(i64) :: activation = -1    !! one of ACT_...
    real(c_double) :: slope = 0        !! parameter of the activation
    integer(i64) :: rows = 0           !! rows of weights that are stored
    integer(i64) :: group_size = -1    !! weights of a group
    integer(i64) :: groups = -1        !! groups of a row
    integer(i64) :: vectors = -1       !! rows of DENSE, vectors of PANELS
    integer(i64) :: row_steps = -1     !! codes of a row of CODES; steps of CODE_PANELS and HALF
    integer(i64) :: group_stride = -1  !! codes from group to group of CODES
    integer(i64) :: two_per_byte = 0   !! 1: a byte of CODE_PANELS holds two codes
    integer(i64) :: float_format = -1  !! one of HALF_..., of HALF
    integer(i64) :: block_cols = -1    !! columns of a block of BLOCKED_CSR
    integer(i64) :: panels = -1        !! panels of NM24
    integer(i64) :: run_bytes = -1     !! bytes of a run of NM24_INT8
    integer(i64) :: coded_inputs = 0   !! 1: inputs of CSR and BLOCKED_CSR become codes first
    integer(i64) :: input_zero = -1    !! code of 0 of the inputs of STATIC, -1 if they are signed
    integer(i64) :: bias = -1          !! where its bias is, `(n)`
    integer(i64) :: kept = -1          !! where the numbers of its nonzero rows are
    integer(i64) :: weights = -1       !! where values or codes are
    integer(i64) :: scale = -1         !! where scales are
    integer(i64) :: zero_point = -1    !! where zero points are
    integer(i64) :: minimum = -1       !! where minima are
    integer(i64) :: levels = -1        !! where pairs of levels are, of LEVEL_PANELS
    integer(i64) :: starts = -1        !! where `indptr` of CSR is; where blocks of rows start
    integer(i64) :: indices = -1       !! where column indices are
    integer(i64) :: positions = -1     !! where positions in groups are, of NM24
    integer(i64) :: code_sums = -1     !! where sums of codes of rows are, of STATIC and NM24_INT8
    integer(i64) :: input_scale = -1   !! where the step between codes of inputs is, of STATIC
  end type stored_layer

contains

  !> A layer whose arrays have no place yet.
  pure function stored_for(parts, format) result(layer)
    type(layer_parts), intent(in) :: parts   !! what it is made of
    integer(i64), intent(in) :: format       !! one of FORMAT_...
    type(stored_layer) :: layer

    layer%format = format
    layer%n = parts%n
    layer%k = parts%k
    layer%activation = parts%activation
    layer%slope = parts%slope
    layer%rows = row_scales(parts)
    layer%coded_inputs = merge(1_i64, 0_i64, parts%inputs == INPUTS_CODED)
  end function stored_for

  !> Whether inputs of a layer become codes, so that it has no derivative.
  elemental function takes_codes(layer) result(takes)
    type(stored_layer), intent(in) :: layer   !! a layer
    logical :: takes

    takes = layer%coded_inputs /= 0 .or. any(layer%format == [FORMAT_CODES, FORMAT_NIBBLES, &
      FORMAT_NM24_INT8, FORMAT_STATIC])
  end function takes_codes

  !> Whether the sums of a layer have an order that depends on how many samples come together.
  elemental function depends_on_company(layer) result(depends)
    type(stored_layer), intent(in) :: layer   !! a layer
    logical :: depends

    depends = layer%format == FORMAT_NM24
  end function depends_on_company

  !> Find a place for an array behind what is used: it starts a line of cache.
  pure subroutine place(bytes, used, start)
    integer(i64), intent(in) :: bytes      !! of the array
    integer(i64), intent(inout) :: used    !! bytes that are used, a multiple of 64
    integer(i64), intent(out) :: start     !! where the array starts

    start = used
    used = used + whole_lines(max(bytes, 1_i64))  ! one without entries starts inside, too
  end subroutine place

  !> Where the arrays of a layer start.
  pure function starts_of(layer) result(starts)
    type(stored_layer), intent(in) :: layer   !! a layer
    integer(i64) :: starts(12)

    starts = [layer%bias, layer%kept, layer%weights, layer%scale, layer%zero_point, &
      layer%minimum, layer%levels, layer%starts, layer%indices, layer%positions, &
      layer%code_sums, layer%input_scale]
  end function starts_of

  !> Whether arrays that there are start in the memory, on a line of cache.
  pure function are_inside(starts, bytes) result(inside)
    integer(i64), intent(in) :: starts(:)   !! -1 if there is none
    integer(i64), intent(in) :: bytes       !! of the memory
    logical :: inside

    inside = all(starts == -1 .or. (starts >= 0 .and. starts < bytes &
      .and. mod(starts, 64_i64) == 0))
  end function are_inside
end module fq_stored_layer
