!> A network's forward pass in one call.
!>
!> Python: `pyfq/networks/network.py`.  Reference: `pyfq/reference/networks/network.py`.
module fq_network_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_align, only: aligned_start
  use fq_chain, only: planned_ends
  use fq_forward_static_real32, only: CODE_KIND, pass_static_samples, static_scratch
  use fq_ends_real32, only: denormalize, normalize
  use fq_gemm_real32, only: LINE
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_layer_real32, only: apply_layer
  use fq_model_real32, only: model
  use fq_sample_share, only: share_samples
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_stored_layer, only: FORMAT_STATIC, stored_layer
  use fq_work_size, only: SMALL_WORK
  implicit none (type, external)
  private
  public :: count_outside, forward_network

contains

  !> `y = output_scale*network((x - input_mean)/input_scale) + output_mean`.
  !>
  !> Threads share the samples; where those are few, the outputs of each layer.  The outputs of a
  !> sample have the same bits in any company.
  subroutine forward_network(network, x, y, threads, info)
    type(model), intent(in) :: network                 !! the model, as `find_model` finds it
    real(wp), intent(in), contiguous :: x(:, :)        !! inputs, `(k, samples)`
    real(wp), intent(inout), contiguous :: y(:, :)     !! outputs, `(n, samples)`
    integer(i32), intent(in) :: threads                !! threads to use, at least 1
    integer(i32), intent(out) :: info                  !! status code
    real(wp), allocatable :: scratch(:, :)
    integer(CODE_KIND), allocatable :: codes(:, :)
    integer(i64) :: samples, share, first, last
    integer(i32) :: team, inner, state
    integer :: t

    info = FQ_OK
    samples = size(x, 2, kind=i64)
    if (samples == 0) return
    call share_samples(samples, 1_i64, network%layers, threads, team, inner, share)
    call allocate_scratch(min(share, samples), share, network%k, network%layers, team, scratch, &
      codes, info)
    if (info /= FQ_OK) return
    if (team == 1) then  ! A team within another, even of one thread, would start threads anew.
      do first = 1, samples, share
        last = min(first + share - 1, samples)
        call forward_samples(network, x(:, first:last), y(:, first:last), scratch(:, 1), &
          codes(:, 1), inner, state)
        info = max(info, state)
      end do
      return
    end if
    !$omp parallel do default(none) private(last, t, state) num_threads(team) schedule(dynamic) &
    !$omp reduction(max: info) shared(network, x, y, samples, share, scratch, codes, inner)
    do first = 1, samples, share
      t = 1
      !$ t = omp_get_thread_num() + 1
      last = min(first + share - 1, samples)
      call forward_samples(network, x(:, first:last), y(:, first:last), scratch(:, t), codes(:, &
        t), inner, state)
      info = max(info, state)
    end do
  end subroutine forward_network

  !> Scratch of each thread: codes for FORMAT_STATIC, reals for other formats, and none of the other
  !> kind.
  pure subroutine allocate_scratch(samples, share, k, layers, team, scratch, codes, info)
    integer(i64), intent(in) :: samples  ! that pass together
    integer(i64), intent(in) :: share    ! the same, a multiple of the rows of any tile
    integer(i64), intent(in) :: k
    type(stored_layer), intent(in), contiguous :: layers(:)
    integer(i32), intent(in) :: team
    real(wp), intent(out), allocatable :: scratch(:, :)
    integer(CODE_KIND), intent(out), allocatable :: codes(:, :)
    integer(i32), intent(out) :: info
    integer(i64) :: reals, integers
    integer :: stat

    reals = 0
    integers = 0
    if (layers(1)%format == FORMAT_STATIC) then
      integers = static_scratch(layers, share)
    else
      reals = 3*((max(k, maxval(layers%n))*samples + LINE - 1)/LINE*LINE) + LINE
    end if
    allocate (scratch(reals, team), stat=stat)
    if (stat == 0) allocate (codes(integers, team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
  end subroutine allocate_scratch

  !> Samples that pass together, through layers of either kind.
  subroutine forward_samples(network, x, y, scratch, codes, threads, info)
    type(model), intent(in) :: network
    real(wp), intent(in), contiguous :: x(:, :)
    real(wp), intent(inout), contiguous :: y(:, :), scratch(:)
    integer(CODE_KIND), intent(inout), contiguous :: codes(:)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info

    if (network%layers(1)%format == FORMAT_STATIC) then
      call pass_static_samples(x, network%layers, network%memory, network%ends, y, codes, &
        threads, info)
    else
      call pass_samples(x, network%layers, network%memory, network%ends, y, scratch, threads, info)
    end if
  end subroutine forward_samples

  !> Samples through all layers, from one part of the scratch to another; a third is that of layers.
  subroutine pass_samples(x, layers, memory, ends, y, scratch, threads, info)
    real(wp), intent(in), contiguous :: x(:, :)
    type(stored_layer), intent(in), contiguous :: layers(:)
    integer(i8), intent(in), target, contiguous :: memory(:)
    type(planned_ends), intent(in) :: ends
    real(wp), intent(inout), contiguous :: y(:, :), scratch(:)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    integer(i64) :: start, third, part, m, l, from, to
    logical :: is_first, is_last

    m = size(x, 2, kind=i64)
    third = (size(scratch, kind=i64) - LINE)/3
    start = aligned_start(scratch, storage_size(scratch))
    part = start + 2*third
    from = start
    to = start + third
    if (ends%input_mean >= 0) call normalize(x, memory, ends, scratch(from:))
    info = FQ_OK
    do l = 1, size(layers, kind=i64)
      is_first = l == 1 .and. ends%input_mean < 0
      is_last = l == size(layers, kind=i64)
      if (is_first .and. is_last) then
        call apply_layer(layers(l), memory, m, x, y, scratch(part:), threads, info)
      else if (is_first) then
        call apply_layer(layers(l), memory, m, x, scratch(to:), scratch(part:), &
          threads, info)
      else if (is_last) then
        call apply_layer(layers(l), memory, m, scratch(from:), y, scratch(part:), &
          threads, info)
      else
        call apply_layer(layers(l), memory, m, scratch(from:), scratch(to:), &
          scratch(part:), threads, info)
      end if
      if (info /= FQ_OK) return
      to = merge(start, start + third, to > start)
      from = merge(start, start + third, to > start)
    end do
    if (ends%output_mean >= 0) call denormalize(memory, ends, y)
  end subroutine pass_samples

  !> How many inputs of each sample are not between two bounds: below, above, or NaN.
  subroutine count_outside(samples, k, x, least, largest, counts, threads)
    integer(i64), intent(in) :: samples, k           !! samples and inputs
    real(wp), intent(in) :: x(k, samples)            !! inputs, `(k, samples)`
    real(wp), intent(in) :: least(k), largest(k)     !! bounds of each input, `(k)`
    integer(i64), intent(out) :: counts(samples)     !! of each sample, `(samples)`
    integer(i32), intent(in) :: threads              !! threads to use, at least 1
    integer(i64) :: i

    !$omp parallel do default(none) schedule(static) num_threads(threads) &
    !$omp   if(size(x, kind=i64) > SMALL_WORK) shared(samples, k, x, least, largest, counts)
    do i = 1, samples
      counts(i) = k - count(x(:, i) >= least .and. x(:, i) <= largest, kind=i64)
    end do
  end subroutine count_outside
end module fq_network_real32
