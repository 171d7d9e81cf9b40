!> C boundary of `fq_observer`: flat arrays, explicit extents, an `info` code.
module fq_observer_c_real32
  use fq_arguments, only: is_given, status_of
  use fq_kinds, only: i32, i64, wp => sp
  use fq_observer_real32, only: count_bins, find_ranges
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_count_bins, fq_find_ranges

contains

  subroutine fq_find_ranges(rows, cols, channels, x, by_column, low, high, threads, info) &
    bind(c, name='fq_find_ranges_f32')
    integer(i64), intent(in), value :: rows, cols, channels
    integer(i32), intent(in), value :: by_column, threads
    real(wp), intent(in), optional :: x(cols, rows)
    real(wp), intent(out), optional :: low(channels), high(channels)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [cols, rows])) return
    if (.not. is_given(present(low), [channels])) return
    if (.not. is_given(present(high), [channels])) return
    info = status_of([rows, cols, channels], &
      channels == merge(cols, rows, by_column /= 0), &
      threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols) == 0) then  ! the range of nothing
      low = huge(low)
      high = -huge(high)
      return
    end if
    call find_ranges(x, by_column /= 0, low, high, threads, info)
  end subroutine fq_find_ranges

  subroutine fq_count_bins(rows, cols, channels, places, x, by_column, factor, counts, low, high, &
    threads, info) bind(c, name='fq_count_bins_f32')
    integer(i64), intent(in), value :: rows, cols, channels, places
    integer(i32), intent(in), value :: by_column, threads
    real(wp), intent(in), optional :: x(cols, rows), factor(channels)
    integer(i64), intent(inout), optional :: counts(places, channels)
    real(wp), intent(out), optional :: low(channels), high(channels)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [cols, rows])) return
    if (.not. is_given(present(factor), [channels])) return
    if (.not. is_given(present(counts), [places, channels])) return
    if (.not. is_given(present(low), [channels])) return
    if (.not. is_given(present(high), [channels])) return
    info = status_of([rows, cols, channels, places], &
      channels == merge(cols, rows, by_column /= 0) .and. places >= 3 .and. mod(places, 2_i64) == &
        1, &
      threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols) == 0) then
      low = huge(low)
      high = -huge(high)
      return
    end if
    call count_bins(x, by_column /= 0, factor, counts, low, high, threads, info)
  end subroutine fq_count_bins
end module fq_observer_c_real32
