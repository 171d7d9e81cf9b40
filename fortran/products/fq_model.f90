!> A model in memory: one block of bytes, which its caller owns and Fortran fills.
!>
!> The block starts a line of cache.  First is its head, then the table of layers, then the arrays
!> of layers and ends, each from a line on, packed for the instruction set that built it.
module fq_model_real32
  use fq_align, only: aligned_start, whole_lines
  use fq_chain, only: chain_status, planned_ends
  use fq_format_choice_real32, only: find_batches
  use fq_gemm_int8, only: CODE_SHIFT
  use fq_gemm_real32, only: BLOCK_STEPS, LANES
  use fq_kinds, only: i8, i32, i64
  use fq_layer_parts, only: entries_of, layer_parts, span
  use fq_layer_real32, only: copy_array, pack_layer, plan_layer
  use fq_status, only: FQ_NOT_FITTING, FQ_NOT_GIVEN, FQ_NOT_KNOWN, FQ_OK
  use fq_stored_layer, only: place, stored_layer
  use fq_weight_parts_real32, only: REAL_BYTES
  use, intrinsic :: iso_c_binding, only: c_f_pointer, c_loc
  implicit none (type, external)
  private
  public :: build_model, find_model, find_only_layer, model_batches, plan_model

  ! "pyfqmodl", the lowest byte first.
  integer(i64), parameter :: MAGIC = int(z'6C646F6D71667970', i64)

  !> What a block starts with.
  type, bind(c) :: model_head
    integer(i64) :: magic = MAGIC
    integer(i64) :: bytes = 0                  !! of the block
    integer(i64) :: real_bytes = REAL_BYTES    !! of a real
    integer(i64) :: lanes = LANES              !! rows of a panel
    integer(i64) :: block_steps = BLOCK_STEPS  !! steps of a block of panels
    integer(i64) :: code_shift = CODE_SHIFT    !! what codes of inputs are shifted by
    integer(i64) :: k = 0, n = 0               !! inputs and outputs
    integer(i64) :: count = 0                  !! layers
    type(planned_ends) :: ends = planned_ends(-1, -1, -1, -1)
  end type model_head

  !> Arrays of the caller that inputs and outputs pass, all of reals; a null is none.
  type, bind(c), public :: end_parts
    type(span) :: input_mean, input_scale, output_mean, output_scale
  end type end_parts

  !> A model as kernels read it.
  type, public :: model
    type(stored_layer), pointer, contiguous :: layers(:) => null()  !! in order
    integer(i8), pointer, contiguous :: memory(:) => null()         !! the block
    type(planned_ends) :: ends = planned_ends(-1, -1, -1, -1)       !! what inputs and outputs pass
    integer(i64) :: k = 0, n = 0                                    !! inputs and outputs
  end type model

contains

  !> Find the parts of a block.
  subroutine find_model(memory, network, info)
    integer(i8), intent(in), target, contiguous :: memory(:)   !! the block
    type(model), intent(out) :: network                        !! what lies where
    integer(i32), intent(out) :: info  !! FQ_OK, or FQ_NOT_KNOWN: no model of this instruction set
    type(model_head), pointer :: head
    type(model_head) :: expected

    info = FQ_NOT_FITTING
    if (size(memory, kind=i64) < head_bytes(1_i64)) return
    if (aligned_start(memory, storage_size(memory)) /= 1) return
    call c_f_pointer(c_loc(memory), head)
    info = FQ_NOT_KNOWN
    if (head%magic /= MAGIC .or. any([head%real_bytes, head%lanes, head%block_steps, &
      head%code_shift] /= [expected%real_bytes, expected%lanes, expected%block_steps, &
      expected%code_shift])) return
    info = FQ_NOT_FITTING
    if (head%bytes /= size(memory, kind=i64) .or. head%count < 1) return
    if (head%count > head%bytes/8 .or. head_bytes(head%count) > head%bytes) return
    network%memory => memory
    call c_f_pointer(c_loc(memory(table_start() + 1)), network%layers, [head%count])
    network%ends = head%ends
    network%k = head%k
    network%n = head%n
    info = chain_status(head%k, head%n, network%layers, head%bytes, head%ends)
  end subroutine find_model

  !> The same of a model that is one layer, whose inputs and outputs are as many as the caller's.
  subroutine find_only_layer(memory, k, n, network, info)
    integer(i8), intent(in), target, contiguous :: memory(:)   !! the block
    integer(i64), intent(in) :: k, n                           !! inputs and outputs
    type(model), intent(out) :: network                        !! what lies where
    integer(i32), intent(out) :: info                          !! as `find_model`

    call find_model(memory, network, info)
    if (info /= FQ_OK) return
    if (size(network%layers) /= 1 .or. network%k /= k .or. network%n /= n) info = FQ_NOT_FITTING
  end subroutine find_only_layer

  !> Where the table of layers starts.
  pure function table_start() result(start)
    integer(i64) :: start
    type(model_head) :: head

    start = whole_lines(storage_size(head)/8_i64)
  end function table_start

  !> Bytes of the head and the table of layers, a multiple of a line.
  pure function head_bytes(count) result(bytes)
    integer(i64), intent(in) :: count
    integer(i64) :: bytes
    type(stored_layer) :: layer

    bytes = table_start() + whole_lines(count*(storage_size(layer)/8))
  end function head_bytes

  !> Find a place for everything: how long a block is.
  subroutine plan_model(parts, ends, batch, layers, places, bytes, info)
    type(layer_parts), intent(in), contiguous :: parts(:)    !! the layers, in order
    type(end_parts), intent(in) :: ends                      !! what inputs and outputs pass
    integer(i64), intent(in) :: batch          !! samples that come together, at least 1
    type(stored_layer), intent(out), contiguous :: layers(:) !! the layers with their places
    type(planned_ends), intent(out) :: places                !! places of the ends
    integer(i64), intent(out) :: bytes                       !! of the block
    integer(i32), intent(out) :: info                        !! what is wrong with the parts
    integer(i64) :: used
    integer :: l

    bytes = 0
    places = planned_ends(-1, -1, -1, -1)
    used = head_bytes(size(parts, kind=i64))
    do l = 1, size(parts)
      call plan_layer(parts(l), batch, layers(l), used, info)
      if (info /= FQ_OK) return
    end do
    associate (k => parts(1)%k, n => parts(size(parts))%n)
      call place_ends(ends%input_mean, ends%input_scale, k, used, places%input_mean, &
        places%input_scale, info)
      if (info == FQ_OK) call place_ends(ends%output_mean, ends%output_scale, n, used, &
        places%output_mean, places%output_scale, info)
      if (info /= FQ_OK) return
      bytes = used
      info = chain_status(k, n, layers, bytes, places)
    end associate
  end subroutine plan_model

  !> Places of a mean and a scale, if they are there.
  pure subroutine place_ends(mean, scale, entries, used, mean_start, scale_start, info)
    type(span), intent(in) :: mean, scale
    integer(i64), intent(in) :: entries
    integer(i64), intent(inout) :: used
    integer(i64), intent(inout) :: mean_start, scale_start
    integer(i32), intent(out) :: info
    integer(i64) :: found(2)

    found = [entries_of(mean, REAL_BYTES), entries_of(scale, REAL_BYTES)]
    info = FQ_OK
    if (all(found == 0)) return
    info = FQ_NOT_FITTING
    if (any(found == -1)) info = FQ_NOT_GIVEN
    if (any(found /= entries)) return
    info = FQ_OK
    call place(mean%bytes, used, mean_start)
    call place(scale%bytes, used, scale_start)
  end subroutine place_ends

  !> For how many samples a block is the one that `build_model` would fill.
  subroutine model_batches(parts, batch, least, most)
    type(layer_parts), intent(in), contiguous :: parts(:)    !! the layers; `plan_model` takes them
    integer(i64), intent(in) :: batch                        !! samples that come together
    integer(i64), intent(out) :: least, most                 !! the fewest and the most
    integer(i64) :: from, to
    integer :: l

    least = 1
    most = huge(most)
    do l = 1, size(parts)
      call find_batches(parts(l), batch, from, to)
      least = max(least, from)
      most = min(most, to)
    end do
  end subroutine model_batches

  !> Fill a block.
  subroutine build_model(parts, ends, batch, memory, threads, info)
    type(layer_parts), intent(in), contiguous :: parts(:)        !! the layers, in order
    type(end_parts), intent(in) :: ends                          !! what inputs and outputs pass
    integer(i64), intent(in) :: batch          !! samples that come together, at least 1
    integer(i8), intent(inout), target, contiguous :: memory(:)  !! the block, as `plan_model` says
    integer(i32), intent(in) :: threads                          !! threads to use, at least 1
    integer(i32), intent(out) :: info                            !! status code
    type(model_head), pointer :: head
    type(stored_layer), pointer, contiguous :: layers(:)
    type(stored_layer) :: planned(size(parts))
    type(planned_ends) :: places
    integer(i64) :: bytes
    integer :: l

    call plan_model(parts, ends, batch, planned, places, bytes, info)
    if (info /= FQ_OK) return
    info = FQ_NOT_FITTING
    if (bytes /= size(memory, kind=i64)) return
    if (aligned_start(memory, storage_size(memory)) /= 1) return
    call c_f_pointer(c_loc(memory), head)
    call c_f_pointer(c_loc(memory(table_start() + 1)), layers, [size(parts)])
    head%magic = 0  ! until all is there
    layers = planned
    do l = 1, size(parts)
      call pack_layer(parts(l), layers(l), memory, threads, info)
      if (info /= FQ_OK) return
    end do
    call copy_array(ends%input_mean, places%input_mean, memory)
    call copy_array(ends%input_scale, places%input_scale, memory)
    call copy_array(ends%output_mean, places%output_mean, memory)
    call copy_array(ends%output_scale, places%output_scale, memory)
    head = model_head(bytes=bytes, k=parts(1)%k, n=parts(size(parts))%n, count=size(parts, &
      kind=i64), ends=places)
  end subroutine build_model
end module fq_model_real32
