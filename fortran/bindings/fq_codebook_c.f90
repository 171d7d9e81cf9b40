!> C boundary of `fq_codebook`; `docs/boundary.md` says what all bindings have in common.
module fq_codebook_c_real32
  use fq_arguments, only: is_given, status_of, status_of_codes
  use fq_codebook_fit_real32, only: fit_codebook
  use fq_codebook_real32, only: dequantize_codebook, quantize_codebook
  use fq_codebook_scales_real32, only: calibrate_codebook
  use fq_extents, only: pieces
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_calibrate_codebook, fq_dequantize_codebook, fq_fit_codebook, fq_quantize_codebook

contains

  !> Packed codes of the levels that are nearest to `w/scale`: see `quantize_codebook`.
  subroutine fq_quantize_codebook(rows, cols, groups, tables, count, row_bytes, w, bits, &
    group_size, levels, finds_scale, scale, packed, threads, info) &
    bind(c, name='fq_quantize_codebook_f32')
    integer(i64), intent(in), value :: rows, cols               !! extents of w
    integer(i64), intent(in), value :: groups      !! `ceiling(cols/group_size)`, at least 1
    integer(i64), intent(in), value :: tables                   !! 1 for all rows, or a table a row
    integer(i64), intent(in), value :: count                    !! levels of a table, `1 ... 256`
    integer(i64), intent(in), value :: row_bytes                !! `ceiling(cols*bits/8)`
    real(wp), intent(in), optional :: w(cols, rows)             !! weights, `(rows, cols)`
    integer(i32), intent(in), value :: bits                     !! bits of a code, `1 ... 8`
    integer(i64), intent(in), value :: group_size               !! columns of a group, at least 1
    real(wp), intent(in), optional :: levels(count, tables)     !! ascending, `(tables, count)`
    integer(i32), intent(in), value :: finds_scale              !! 0: `scale` is given; else found
    real(wp), intent(inout), optional :: scale(groups, rows)    !! of a group, `(rows, groups)`
    integer(i8), intent(out), optional :: packed(row_bytes, rows)  !! codes, `(rows, row_bytes)`
    integer(i32), intent(in), value :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info                           !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [cols, rows])) return
    if (.not. is_given(present(levels), [count, tables])) return
    if (.not. is_given(present(scale), [groups, rows])) return
    if (.not. is_given(present(packed), [row_bytes, rows])) return
    info = status_of_codes(rows, cols, groups, row_bytes, group_size, int(bits, i64), &
      are_tables(tables, count, rows), bits <= 8 .and. threads >= 1)
    if (info /= FQ_OK) return
    call quantize_codebook(w, bits, group_size, levels, finds_scale /= 0, scale, packed, threads, &
      info)
  end subroutine fq_quantize_codebook

  !> Reals from packed codes: `levels(code)*scale`.
  subroutine fq_dequantize_codebook(rows, cols, groups, tables, count, row_bytes, packed, bits, &
    group_size, levels, scale, out, threads, info) bind(c, name='fq_dequantize_codebook_f32')
    integer(i64), intent(in), value :: rows, cols               !! extents of out
    integer(i64), intent(in), value :: groups      !! `ceiling(cols/group_size)`, at least 1
    integer(i64), intent(in), value :: tables                   !! 1 for all rows, or a table a row
    integer(i64), intent(in), value :: count                    !! levels of a table, `1 ... 256`
    integer(i64), intent(in), value :: row_bytes                !! `ceiling(cols*bits/8)`
    integer(i8), intent(in), optional :: packed(row_bytes, rows)  !! codes, `(rows, row_bytes)`
    integer(i32), intent(in), value :: bits                     !! bits of a code, `1 ... 8`
    integer(i64), intent(in), value :: group_size               !! columns of a group, at least 1
    real(wp), intent(in), optional :: levels(count, tables)     !! in any order, `(tables, count)`
    real(wp), intent(in), optional :: scale(groups, rows)       !! of a group, `(rows, groups)`
    real(wp), intent(out), optional :: out(cols, rows)          !! reals, `(rows, cols)`
    integer(i32), intent(in), value :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info                           !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(packed), [row_bytes, rows])) return
    if (.not. is_given(present(levels), [count, tables])) return
    if (.not. is_given(present(scale), [groups, rows])) return
    if (.not. is_given(present(out), [cols, rows])) return
    info = status_of_codes(rows, cols, groups, row_bytes, group_size, int(bits, i64), &
      are_tables(tables, count, rows), bits <= 8 .and. threads >= 1)
    if (info /= FQ_OK) return
    call dequantize_codebook(packed, bits, group_size, levels, scale, out, threads)
  end subroutine fq_dequantize_codebook

  !> Whether there are as many tables and levels as codes of at most 8 bits can have.
  pure function are_tables(tables, count, rows) result(are)
    integer(i64), intent(in) :: tables, count   !! extents of the tables
    integer(i64), intent(in) :: rows            !! rows of weights
    logical :: are

    are = (tables == 1 .or. tables == rows) .and. count >= 1 .and. count <= 256
  end function are_tables

  !> The scale of each group that loses least of those that a search meets: see
  !> `calibrate_codebook`; without weights 1.
  subroutine fq_calibrate_codebook(rows, cols, groups, count, w, group_size, levels, scale, &
    threads, info) bind(c, name='fq_calibrate_codebook_f32')
    integer(i64), intent(in), value :: rows, cols               !! extents of w
    integer(i64), intent(in), value :: groups                   !! `ceiling(cols/group_size)`
    integer(i64), intent(in), value :: count                    !! levels of the table, `1 ... 256`
    real(wp), intent(in), optional :: w(cols, rows)             !! weights, `(rows, cols)`
    integer(i64), intent(in), value :: group_size               !! columns of a group, at least 1
    real(wp), intent(in), optional :: levels(count)             !! table, ascending, `(count)`
    real(wp), intent(out), optional :: scale(groups, rows)      !! of a group, `(rows, groups)`
    integer(i32), intent(in), value :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info                           !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [cols, rows])) return
    if (.not. is_given(present(levels), [count])) return
    if (.not. is_given(present(scale), [groups, rows])) return
    info = status_of([rows, cols, groups, count, group_size], &
      count >= 1 .and. count <= 256 .and. (cols == 0 .or. groups == pieces(cols, group_size)), &
      threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols) == 0) then
      scale = 1
      return
    end if
    call calibrate_codebook(w, group_size, levels, scale, threads, info)
  end subroutine fq_calibrate_codebook

  !> Lloyd's algorithm on each row: see `fit_codebook`.
  subroutine fq_fit_codebook(rows, cols, weight_rows, weight_cols, count, values, weights, &
    has_weights, most_steps, levels, threads, info) bind(c, name='fq_fit_codebook_f32')
    integer(i64), intent(in), value :: rows, cols               !! extents of values
    integer(i64), intent(in), value :: weight_rows, weight_cols  !! of weights: if any, the same
    integer(i64), intent(in), value :: count                    !! levels of a table
    real(wp), intent(in), optional :: values(cols, rows)        !! ascending, `(rows, cols)`
    !> At least 0, as values.
    real(wp), intent(in), optional, target :: weights(weight_cols, weight_rows)
    integer(i32), intent(in), value :: has_weights              !! 0: weights are not looked at
    integer(i64), intent(in), value :: most_steps               !! steps at most
    real(wp), intent(inout), optional :: levels(count, rows)    !! in: a start; out: `(rows, count)`
    integer(i32), intent(in), value :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info                           !! status code, FQ_NO_MEMORY too
    real(wp), target :: none(1, 1)  ! in place of weights that are not looked at
    real(wp), pointer, contiguous :: importance(:, :)

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(values), [cols, rows])) return
    if (.not. (has_weights == 0 .or. is_given(present(weights), [weight_cols, weight_rows]))) then
      return
    end if
    if (.not. is_given(present(levels), [count, rows])) return
    info = status_of([rows, cols, weight_rows, weight_cols, count, most_steps], &
      has_weights == 0 .or. (weight_rows == rows .and. weight_cols == cols), threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols, count) == 0) return
    importance => none
    if (present(weights)) importance => weights
    call fit_codebook(values, importance, has_weights /= 0, most_steps, levels, threads, info)
  end subroutine fq_fit_codebook
end module fq_codebook_c_real32
