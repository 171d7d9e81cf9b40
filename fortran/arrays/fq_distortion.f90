!> How far a reconstruction is from the original.
!>
!> Python: `pyfq/arrays/distortion.py`.  Reference: `pyfq/reference/arrays/distortion.py`.
module fq_distortion_real32
  use fq_kinds, only: dp, i32, i64, wp => sp
  use fq_status, only: FQ_NOT_FINITE, FQ_OK
  use fq_work_size, only: SMALL_WORK
  implicit none (type, external)
  private
  public :: BLOCK, distortion_sums, largest_magnitude

  integer(i64), parameter :: BLOCK = 4096          ! elements summed into one entry of `sums`
  integer(i64), parameter :: LANE_COUNT = 16       ! partial sums of a block, see fq_lane_sum.inc

contains

  !> For each block of 4096 elements \( \sum w^2, \sum v^2, \sum wv, \sum (w-v)^2, \max|w-v| \), in
  !> float64.
  !>
  !> Blocks are fixed, so the sums do not depend on the threads.
  subroutine distortion_sums(w, v, unit, sums, threads, info)
    real(wp), intent(in), contiguous :: w(:)         !! original, `(n)`
    real(wp), intent(in), contiguous :: v(:)         !! reconstruction, `(n)`
    real(dp), intent(in) :: unit                     !! power of two that keeps squares in range
    real(dp), intent(out), contiguous :: sums(:, :)  !! the five of each block, `(5, blocks)`
    integer(i32), intent(in) :: threads              !! threads to use, at least 1
    integer(i32), intent(out) :: info                !! status code
    integer(i64) :: k, first, last

    info = FQ_OK
    !$omp parallel do default(none) shared(w, v, unit, sums) private(first, last) &
    !$omp reduction(max: info) schedule(static) num_threads(threads) &
    !$omp if(size(w, kind=i64) > SMALL_WORK)
    do k = 1, size(sums, 2, kind=i64)
      first = (k - 1)*BLOCK + 1
      last = min(k*BLOCK, size(w, kind=i64))
      call sum_block(w(first:last), v(first:last), unit, sums(:, k))
      if (.not. all(abs(sums(:, k)) <= huge(unit))) info = max(info, FQ_NOT_FINITE)
    end do
  end subroutine distortion_sums

  !> Raise `largest` to the largest magnitude of the values; NaN counts for nothing.
  subroutine largest_magnitude(x, largest, threads)
    real(wp), intent(in), contiguous :: x(:)  !! values, `(n)`
    real(wp), intent(inout) :: largest        !! in: a lower bound; out: the magnitude found
    integer(i32), intent(in) :: threads       !! threads to use, at least 1
    integer(i64) :: first, last

    !$omp parallel do default(none) shared(x) private(last) reduction(max: largest) &
    !$omp schedule(static) num_threads(threads) if(size(x, kind=i64) > SMALL_WORK)
    do first = 1, size(x, kind=i64), BLOCK
      last = min(first + BLOCK - 1, size(x, kind=i64))
      largest = max(largest, largest_in(x(first:last)))
    end do
  end subroutine largest_magnitude

  !> `largest_magnitude` of one block, in 16 lanes.
  pure function largest_in(x) result(largest)
    real(wp), intent(in), contiguous :: x(:)
    real(wp) :: largest, lanes(LANE_COUNT)
    integer(i64) :: i, lane, whole

    lanes = 0
    whole = size(x, kind=i64)/LANE_COUNT*LANE_COUNT
    do i = 0, whole - 1, LANE_COUNT
      do lane = 1, LANE_COUNT
        lanes(lane) = merge(abs(x(i + lane)), lanes(lane), abs(x(i + lane)) > lanes(lane))
      end do
    end do
    largest = maxval(lanes)
    do i = whole + 1, size(x, kind=i64)
      if (abs(x(i)) > largest) largest = abs(x(i))
    end do
  end function largest_in

  !> `distortion_sums` of one block.
  pure subroutine sum_block(w, v, unit, sums)
    real(wp), intent(in), contiguous :: w(:), v(:)
    real(dp), intent(in) :: unit
    real(dp), intent(out), contiguous :: sums(:)
    real(dp) :: ww(LANE_COUNT), vv(LANE_COUNT), wv(LANE_COUNT), dd(LANE_COUNT), peak(LANE_COUNT)
    real(wp) :: a(LANE_COUNT), b(LANE_COUNT)
    integer(i64) :: i, n, whole

    ww = 0
    vv = 0
    wv = 0
    dd = 0
    peak = 0
    n = size(w, kind=i64)
    whole = n/LANE_COUNT*LANE_COUNT
    do i = 1, whole, LANE_COUNT
      call add_lanes(w(i:i + LANE_COUNT - 1), v(i:i + LANE_COUNT - 1), unit, ww, vv, wv, dd, peak)
    end do
    if (whole < n) then
      a = 0
      b = 0
      a(1:n - whole) = w(whole + 1:)
      b(1:n - whole) = v(whole + 1:)
      call add_lanes(a, b, unit, ww, vv, wv, dd, peak)
    end if
    sums = [lane_sum(ww), lane_sum(vv), lane_sum(wv), lane_sum(dd), maxval(peak)]
  end subroutine sum_block

  !> Add 16 neighbouring elements, one to each lane.
  pure subroutine add_lanes(w, v, unit, ww, vv, wv, dd, peak)
    real(wp), intent(in) :: w(LANE_COUNT), v(LANE_COUNT)
    real(dp), intent(in) :: unit
    real(dp), intent(inout) :: ww(LANE_COUNT), vv(LANE_COUNT), wv(LANE_COUNT)
    real(dp), intent(inout) :: dd(LANE_COUNT), peak(LANE_COUNT)
    real(dp) :: a, b
    integer(i64) :: lane

    do lane = 1, LANE_COUNT
      a = real(w(lane), dp)*unit
      b = real(v(lane), dp)*unit
      ww(lane) = ww(lane) + a*a
      vv(lane) = vv(lane) + b*b
      wv(lane) = wv(lane) + a*b
      dd(lane) = dd(lane) + (a - b)*(a - b)
      peak(lane) = max(peak(lane), abs(a - b))
    end do
  end subroutine add_lanes

  include 'fq_lane_sum.inc'
end module fq_distortion_real32
