!> C boundary of `fq_observer`; `docs/boundary.md` says what all bindings have in common.
module fq_observer_c_real32
  use fq_arguments, only: is_given, status_of
  use fq_kinds, only: i32, i64, wp => sp
  use fq_observer_real32, only: count_bins, find_ranges
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_count_bins, fq_find_ranges

contains

  !> Least and largest value of each channel; without values, `huge` and `-huge`.
  subroutine fq_find_ranges(rows, cols, channels, x, by_column, low, high, threads, info) &
    bind(c, name='fq_find_ranges_f32')
    integer(i64), intent(in), value :: rows, cols       !! extents of x
    integer(i64), intent(in), value :: channels         !! rows, or columns
    real(wp), intent(in), optional :: x(cols, rows)     !! values, `(rows, cols)`
    integer(i32), intent(in), value :: by_column        !! 0: rows are channels; else columns
    real(wp), intent(out), optional :: low(channels)    !! least values, `(channels)`
    real(wp), intent(out), optional :: high(channels)   !! largest values, `(channels)`
    integer(i32), intent(in), value :: threads          !! threads to use, at least 1
    integer(i32), intent(out) :: info  !! status code, FQ_NO_MEMORY and FQ_NOT_FINITE among them

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

  !> Add to `counts` how many values of each channel lie in each bin, and find ranges: see
  !> `count_bins`.
  subroutine fq_count_bins(rows, cols, channels, entries, x, by_column, factor, counts, low, high, &
    threads, info) bind(c, name='fq_count_bins_f32')
    integer(i64), intent(in), value :: rows, cols       !! extents of x
    integer(i64), intent(in), value :: channels         !! rows, or columns
    integer(i64), intent(in), value :: entries          !! `2*bins + 1`, at least 3
    real(wp), intent(in), optional :: x(cols, rows)     !! values, `(rows, cols)`
    integer(i32), intent(in), value :: by_column        !! 0: rows are channels; else columns
    real(wp), intent(in), optional :: factor(channels)  !! 1 over the width of a bin, `(channels)`
    integer(i64), intent(inout), optional :: counts(entries, channels)  !! `(channels, entries)`
    real(wp), intent(out), optional :: low(channels)    !! least values, `(channels)`
    real(wp), intent(out), optional :: high(channels)   !! largest values, `(channels)`
    integer(i32), intent(in), value :: threads          !! threads to use, at least 1
    integer(i32), intent(out) :: info  !! status code, FQ_NO_MEMORY and FQ_NOT_FINITE among them

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [cols, rows])) return
    if (.not. is_given(present(factor), [channels])) return
    if (.not. is_given(present(counts), [entries, channels])) return
    if (.not. is_given(present(low), [channels])) return
    if (.not. is_given(present(high), [channels])) return
    info = status_of([rows, cols, channels, entries], &
      channels == merge(cols, rows, by_column /= 0) .and. entries >= 3 .and. &
        mod(entries, 2_i64) == 1, &
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
