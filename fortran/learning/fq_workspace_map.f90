!> Where what a step of training holds lies in one workspace.
module fq_workspace_map_real32
  use fq_activation_derivative_real32, only: needs_sums
  use fq_dense_real32, only: packed_vectors, panel_at
  use fq_gemm_real32, only: LANES, LINE
  use fq_kinds, only: i32, i64, wp => sp
  use fq_training, only: trained_layer
  implicit none (type, external)
  private
  public :: clear_panel_ends, count_layers, map_workspace

  !> Where a layer's arrays start in the workspace.
  type, public :: workspace_map
    integer(i64) :: inputs    !! what it multiplies, `(k, batch)`; of the first layer, gathered
    integer(i64) :: sums      !! before the activation, `(n, batch)`; where it needs none, `outputs`
    integer(i64) :: outputs   !! after it, `(n, batch)`
    integer(i64) :: output_gradient  !! of the loss, by outputs and then by sums, `(n, batch)`
    integer(i64) :: scratch   !! of a projection, gradient by inputs, `(k, batch)`; else of losses
    integer(i64) :: forward   !! panels of the transposed weights
    integer(i64) :: backward  !! panels of the weights
    integer(i64) :: rounded   !! weights that their codes stand for, `(k, n)`
  end type workspace_map

contains

  !> Where the arrays of all layers start in a workspace, and how many entries that has.
  subroutine map_workspace(batch, layers, at, entries)
    integer(i64), intent(in) :: batch                         !! samples of a step
    type(trained_layer), intent(in), contiguous :: layers(:)  !! the layers, then projections
    type(workspace_map), intent(out) :: at(:)                 !! of each layer
    integer(i64), intent(out) :: entries                      !! of the workspace
    integer(i64) :: l, below, n, k, last
    logical :: projects

    entries = 0
    last = count_layers(layers)
    do l = 1, size(layers, kind=i64)
      below = l - 1
      n = layers(l)%n
      k = layers(l)%k
      projects = layers(l)%source > 0
      if (projects) then
        at(l)%inputs = at(layers(l)%source)%outputs
      else if (l == 1) then
        at(l)%inputs = taken(k*batch)
      else
        at(l)%inputs = at(below)%outputs
      end if
      at(l)%outputs = taken(n*batch)
      at(l)%sums = at(l)%outputs
      if (needs_sums(int(layers(l)%activation, i32))) at(l)%sums = taken(n*batch)
      at(l)%output_gradient = taken(n*batch)
      at(l)%scratch = taken(merge(k, merge(2*n, 0_i64, l == last), projects)*batch)
      at(l)%forward = taken(LANES*packed_vectors(n, k))
      at(l)%backward = taken(merge(LANES*packed_vectors(k, n), 0_i64, l > 1))
      at(l)%rounded = taken(merge(n*k, 0_i64, layers(l)%group_size > 0))
    end do

  contains

    !> Start of so many entries, which are taken.
    function taken(count) result(start)
      integer(i64), intent(in) :: count
      integer(i64) :: start

      start = entries + 1
      entries = entries + (count + LINE - 1)/LINE*LINE
    end function taken
  end subroutine map_workspace

  !> Zeros behind the panels, which wide tiles read.
  pure subroutine clear_panel_ends(layers, at, space)
    type(trained_layer), intent(in), contiguous :: layers(:)  !! the layers, then projections
    type(workspace_map), intent(in) :: at(:)                  !! of each layer
    real(wp), intent(inout) :: space(*)                       !! workspace
    integer(i64) :: l, n, k

    do l = 1, size(layers, kind=i64)
      n = layers(l)%n
      k = layers(l)%k
      space(at(l)%forward + LANES*(panel_at(n, k, 0_i64, 0_i64) - 1):at(l)%forward &
        + LANES*packed_vectors(n, k) - 1) = 0
      if (l > 1) space(at(l)%backward + LANES*(panel_at(k, n, 0_i64, 0_i64) - 1):at(l)%backward &
        + LANES*packed_vectors(k, n) - 1) = 0
    end do
  end subroutine clear_panel_ends

  !> Layers before the first projection.
  pure function count_layers(layers) result(count)
    type(trained_layer), intent(in), contiguous :: layers(:)  !! the layers, then projections
    integer(i64) :: count

    count = size(layers, kind=i64)
    do while (layers(count)%source > 0)
      count = count - 1
    end do
  end function count_layers
end module fq_workspace_map_real32
