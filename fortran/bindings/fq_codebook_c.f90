!> C boundary of `fq_codebook`: flat arrays, explicit extents.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_codebook_c_real32
  use fq_arguments, only: groups_of, is_given, packed_bytes, pieces, status_of
  use fq_codebook_fit_real32, only: fit_codebook
  use fq_codebook_real32, only: dequantize_codebook, quantize_codebook
  use fq_codebook_scales_real32, only: calibrate_codebook
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_calibrate_codebook, fq_dequantize_codebook, fq_fit_codebook, fq_quantize_codebook

contains

  subroutine fq_quantize_codebook(rows, cols, groups, tables, count, row_bytes, w, bits, &
    group_size, levels, finds_scale, scale, packed, threads, info) &
    bind(c, name='fq_quantize_codebook_f32')
    integer(i64), intent(in), value :: rows, cols, groups, tables, count, row_bytes, group_size
    real(wp), intent(in), optional :: w(cols, rows), levels(count, tables)
    integer(i32), intent(in), value :: bits, finds_scale, threads
    real(wp), intent(inout), optional :: scale(groups, rows)
    integer(i8), intent(out), optional :: packed(row_bytes, rows)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [cols, rows])) return
    if (.not. is_given(present(levels), [count, tables])) return
    if (.not. is_given(present(scale), [groups, rows])) return
    if (.not. is_given(present(packed), [row_bytes, rows])) return
    info = status_of_codes(rows, cols, groups, tables, count, row_bytes, group_size, bits, threads)
    if (info /= FQ_OK) return
    call quantize_codebook(w, bits, group_size, levels, finds_scale /= 0, scale, packed, threads, &
      info)
  end subroutine fq_quantize_codebook

  subroutine fq_dequantize_codebook(rows, cols, groups, tables, count, row_bytes, packed, bits, &
    group_size, levels, scale, out, threads, info) bind(c, name='fq_dequantize_codebook_f32')
    integer(i64), intent(in), value :: rows, cols, groups, tables, count, row_bytes, group_size
    integer(i8), intent(in), optional :: packed(row_bytes, rows)
    integer(i32), intent(in), value :: bits, threads
    real(wp), intent(in), optional :: levels(count, tables), scale(groups, rows)
    real(wp), intent(out), optional :: out(cols, rows)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(packed), [row_bytes, rows])) return
    if (.not. is_given(present(levels), [count, tables])) return
    if (.not. is_given(present(scale), [groups, rows])) return
    if (.not. is_given(present(out), [cols, rows])) return
    info = status_of_codes(rows, cols, groups, tables, count, row_bytes, group_size, bits, threads)
    if (info /= FQ_OK) return
    call dequantize_codebook(packed, bits, group_size, levels, scale, out, threads)
  end subroutine fq_dequantize_codebook

  !> What is wrong with the extents of packed codes, of their groups and tables, or with numbers.
  pure function status_of_codes(rows, cols, groups, tables, count, row_bytes, group_size, bits, &
    threads) result(info)
    integer(i64), intent(in) :: rows, cols, groups, tables, count, row_bytes, group_size
    integer(i32), intent(in) :: bits, threads
    integer(i32) :: info

    info = status_of([rows, cols, groups, tables, count, row_bytes, group_size], &
      groups == groups_of(cols, group_size) .and. row_bytes == packed_bytes(cols, int(bits, i64)) &
        .and. (tables == 1 .or. tables == rows) .and. count >= 1 .and. count <= 256, &
      bits >= 1 .and. bits <= 8 .and. threads >= 1)
  end function status_of_codes

  subroutine fq_calibrate_codebook(rows, cols, groups, count, w, group_size, levels, scale, &
    threads, info) bind(c, name='fq_calibrate_codebook_f32')
    integer(i64), intent(in), value :: rows, cols, groups, count, group_size
    real(wp), intent(in), optional :: w(cols, rows), levels(count)
    real(wp), intent(out), optional :: scale(groups, rows)
    integer(i32), intent(in), value :: threads
    integer(i32), intent(out) :: info

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

  subroutine fq_fit_codebook(rows, cols, weight_rows, weight_cols, count, values, weights, &
    has_weights, most_steps, levels, threads, info) bind(c, name='fq_fit_codebook_f32')
    integer(i64), intent(in), value :: rows, cols, weight_rows, weight_cols, count, most_steps
    real(wp), intent(in), optional :: values(cols, rows), weights(weight_cols, weight_rows)
    integer(i32), intent(in), value :: has_weights, threads
    real(wp), intent(inout), optional :: levels(count, rows)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(values), [cols, rows])) return
    if (.not. (has_weights == 0 .or. is_given(present(weights), [weight_cols, weight_rows]))) then
      return
    end if
    if (.not. is_given(present(levels), [count, rows])) return
    info = status_of([rows, cols, weight_rows, weight_cols, count, most_steps], &
      has_weights == 0 .or. (weight_rows == rows .and. weight_cols == cols), &
      most_steps >= 0 .and. threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols, count) == 0) return
    call fit_codebook(values, weights, has_weights /= 0, most_steps, levels, threads, info)
  end subroutine fq_fit_codebook
end module fq_codebook_c_real32
