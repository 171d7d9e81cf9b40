!> C boundary of `fq_rate`; `docs/boundary.md` says what all bindings have in common.
module fq_rate_c_real32
  use fq_arguments, only: is_given, status_of
  use fq_extents, only: pieces
  use fq_kinds, only: dp, i8, i16, i32, i64, wp => sp
  use fq_rate_real32, only: measure_rows, quantize_rate
  use fq_status, only: FQ_NOT_FITTING, FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_measure_rows, fq_quantize_rate

contains

  !> Sums of squares and of magnitudes, and the largest magnitude, of each row: see `measure_rows`.
  subroutine fq_measure_rows(rows, cols, w, unit, sums, threads, info) &
    bind(c, name='fq_measure_rows_f32')
    integer(i64), intent(in), value :: rows, cols            !! extents of w
    real(wp), intent(in), optional :: w(cols, rows)          !! weights, `(rows, cols)`
    real(dp), intent(in), value :: unit                      !! see `measure_rows`; 1 will do
    real(dp), intent(out), optional :: sums(3, rows)         !! three of each row, `(rows, 3)`
    integer(i32), intent(in), value :: threads               !! threads to use, at least 1
    integer(i32), intent(out) :: info                        !! status code, FQ_NOT_FINITE too

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [cols, rows])) return
    if (.not. is_given(present(sums), [rows])) return
    info = status_of([rows, cols], .true., threads >= 1)
    if (info /= FQ_OK .or. rows == 0) return
    if (cols == 0) then
      sums = 0
      return
    end if
    call measure_rows(w, unit, sums, threads, info)
  end subroutine fq_measure_rows

  !> Codes of the least sum of squared errors and bits: see `quantize_rate`.
  subroutine fq_quantize_rate(rows, cols, step_count, unions, tables, blocks, w, step, classes, &
    rates, tradeoff, states, block_rows, codes, counts, sums, threads, info) &
    bind(c, name='fq_quantize_rate_f32')
    integer(i64), intent(in), value :: rows, cols            !! extents of w
    integer(i64), intent(in), value :: step_count            !! 1 for all rows, or a step a row
    integer(i64), intent(in), value :: unions                !! 1 for one state, else 2
    integer(i64), intent(in), value :: tables                !! classes of rows, `1 ... 127`
    integer(i64), intent(in), value :: blocks                !! `ceiling(rows/block_rows)`
    real(wp), intent(in), optional :: w(cols, rows)          !! weights, `(rows, cols)`
    real(wp), intent(in), optional :: step(step_count)       !! distance of codes, `(step_count)`
    integer(i8), intent(in), optional :: classes(rows)       !! table of a row, from 0, `(rows)`
    real(wp), intent(in), optional :: rates(256, unions, tables)  !! bits, `(tables, unions, 256)`
    real(wp), intent(in), value :: tradeoff                  !! squared steps that a bit is worth
    integer(i32), intent(in), value :: states                !! of the trellis: 1, 4 or 8
    integer(i64), intent(in), value :: block_rows            !! rows of a block, at least 1
    integer(i16), intent(out), optional :: codes(cols, rows)  !! `(rows, cols)`
    integer(i64), intent(out), optional :: counts(256, unions, tables, blocks)  !! of each symbol
    real(dp), intent(out), optional :: sums(3, rows)         !! see `quantize_rate`, `(rows, 3)`
    integer(i32), intent(in), value :: threads               !! threads to use, at least 1
    integer(i32), intent(out) :: info                        !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [cols, rows])) return
    if (.not. is_given(present(step), [step_count])) return
    if (.not. is_given(present(classes), [rows])) return
    if (.not. is_given(present(rates), [unions, tables])) return
    if (.not. is_given(present(codes), [cols, rows])) return
    if (.not. is_given(present(counts), [unions, tables, blocks])) return
    if (.not. is_given(present(sums), [rows])) return
    info = status_of([rows, cols, step_count, unions, tables, blocks, block_rows], &
      any(step_count == [1_i64, rows]) .and. unions == merge(1_i64, 2_i64, states == 1) .and. &
      tables >= 1 .and. tables <= 127 .and. blocks == pieces(rows, block_rows), &
      any(states == [1, 4, 8]) .and. threads >= 1)
    if (info /= FQ_OK .or. rows == 0) return
    if (.not. (all(step > 0) .and. all(classes >= 0 .and. classes < tables))) then
      info = FQ_NOT_FITTING
      return
    end if
    call quantize_rate(w, step, classes, rates, tradeoff, states, block_rows, codes, counts, sums, &
      threads, info)
  end subroutine fq_quantize_rate
end module fq_rate_c_real32
