!> C boundary of `fq_quantize`: flat arrays, explicit extents, an `info` code.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_quantize_c_real32
  use fq_arguments, only: groups_of, is_given, is_rule, packed_bytes, status_of
  use fq_code_rule, only: code_rule
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_quantize_real32, only: dequantize, quantize, quantize_given, quantize_range, quantize_step
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_dequantize, fq_quantize, fq_quantize_given, fq_quantize_range, fq_quantize_step

contains

  subroutine fq_quantize(rows, cols, groups, row_bytes, group_size, w, rule, scale, zero_point, &
    minimum, packed, threads, info) bind(c, name='fq_quantize_f32')
    integer(i64), intent(in), value :: rows, cols, groups, row_bytes, group_size
    integer(i32), intent(in), value :: threads
    real(wp), intent(in), optional :: w(cols, rows)
    type(code_rule), intent(in), optional :: rule
    real(wp), intent(out), optional :: scale(groups, rows), minimum(groups, rows)
    integer(i32), intent(out), optional :: zero_point(groups, rows)
    integer(i8), intent(out), optional :: packed(row_bytes, rows)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [cols, rows])) return
    if (.not. is_given(present(scale), [groups, rows])) return
    if (.not. is_given(present(minimum), [groups, rows])) return
    if (.not. is_given(present(zero_point), [groups, rows])) return
    if (.not. is_given(present(packed), [row_bytes, rows])) return
    if (.not. present(rule)) return
    info = status_of_codes(rows, cols, groups, row_bytes, group_size, rule%bits, is_rule(rule) &
      .and. threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols) == 0) then  ! as of zeros
      scale = 1
      zero_point = 0
      minimum = 0
      return
    end if
    call quantize(w, rule, group_size, scale, zero_point, minimum, packed, threads, info)
  end subroutine fq_quantize

  subroutine fq_quantize_range(rows, cols, groups, group_size, w, low, high, peak, threads, info) &
    bind(c, name='fq_quantize_range_f32')
    integer(i64), intent(in), value :: rows, cols, groups, group_size
    integer(i32), intent(in), value :: threads
    real(wp), intent(in), optional :: w(cols, rows)
    real(wp), intent(out), optional :: low(groups, rows), high(groups, rows), peak(groups, rows)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [cols, rows])) return
    if (.not. is_given(present(low), [groups, rows])) return
    if (.not. is_given(present(high), [groups, rows])) return
    if (.not. is_given(present(peak), [groups, rows])) return
    info = status_of([rows, cols, groups, group_size], &
      groups == groups_of(cols, group_size), &
      threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols) == 0) then
      low = 0
      high = 0
      peak = 0
      return
    end if
    call quantize_range(w, group_size, low, high, peak, threads, info)
  end subroutine fq_quantize_range

  subroutine fq_quantize_step(groups, low, high, peak, rule, scale, zero_point, minimum, info) &
    bind(c, name='fq_quantize_step_f32')
    integer(i64), intent(in), value :: groups
    real(wp), intent(in), optional :: low(groups), high(groups), peak(groups)
    type(code_rule), intent(in), optional :: rule
    real(wp), intent(out), optional :: scale(groups), minimum(groups)
    integer(i32), intent(out), optional :: zero_point(groups)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(low), [groups])) return
    if (.not. is_given(present(high), [groups])) return
    if (.not. is_given(present(peak), [groups])) return
    if (.not. is_given(present(scale), [groups])) return
    if (.not. is_given(present(minimum), [groups])) return
    if (.not. is_given(present(zero_point), [groups])) return
    if (.not. present(rule)) return
    info = status_of([groups], .true., is_rule(rule))
    if (info /= FQ_OK) return
    call quantize_step(low, high, peak, rule, scale, zero_point, minimum)
  end subroutine fq_quantize_step

  subroutine fq_quantize_given(rows, cols, groups, row_bytes, group_size, w, rule, scale, &
    zero_point, minimum, packed, threads, info) bind(c, name='fq_quantize_given_f32')
    integer(i64), intent(in), value :: rows, cols, groups, row_bytes, group_size
    integer(i32), intent(in), value :: threads
    real(wp), intent(in), optional :: w(cols, rows)
    type(code_rule), intent(in), optional :: rule
    real(wp), intent(in), optional :: scale(groups, rows), minimum(groups, rows)
    integer(i32), intent(in), optional :: zero_point(groups, rows)
    integer(i8), intent(out), optional :: packed(row_bytes, rows)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [cols, rows])) return
    if (.not. is_given(present(scale), [groups, rows])) return
    if (.not. is_given(present(minimum), [groups, rows])) return
    if (.not. is_given(present(zero_point), [groups, rows])) return
    if (.not. is_given(present(packed), [row_bytes, rows])) return
    if (.not. present(rule)) return
    info = status_of_codes(rows, cols, groups, row_bytes, group_size, rule%bits, is_rule(rule) &
      .and. threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols) == 0) return
    call quantize_given(w, rule, group_size, scale, zero_point, minimum, packed, threads, info)
  end subroutine fq_quantize_given

  subroutine fq_dequantize(rows, cols, groups, row_bytes, group_size, packed, bits, signed, scale, &
    zero_point, minimum, out, threads, info) bind(c, name='fq_dequantize_f32')
    integer(i64), intent(in), value :: rows, cols, groups, row_bytes, group_size
    integer(i32), intent(in), value :: bits, signed, threads
    integer(i8), intent(in), optional :: packed(row_bytes, rows)
    real(wp), intent(in), optional :: scale(groups, rows), minimum(groups, rows)
    integer(i32), intent(in), optional :: zero_point(groups, rows)
    real(wp), intent(out), optional :: out(cols, rows)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(packed), [row_bytes, rows])) return
    if (.not. is_given(present(scale), [groups, rows])) return
    if (.not. is_given(present(minimum), [groups, rows])) return
    if (.not. is_given(present(zero_point), [groups, rows])) return
    if (.not. is_given(present(out), [cols, rows])) return
    info = status_of_codes(rows, cols, groups, row_bytes, group_size, int(bits, i64), bits >= 1 &
      .and. bits <= 16 .and. threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols) == 0) return
    call dequantize(packed, bits, signed /= 0, group_size, scale, zero_point, minimum, out, threads)
  end subroutine fq_dequantize

  !> What is wrong with the extents of packed codes and of their groups, or with codes and numbers.
  pure function status_of_codes(rows, cols, groups, row_bytes, group_size, bits, known) result(info)
    integer(i64), intent(in) :: rows, cols, groups, row_bytes, group_size, bits
    logical, intent(in) :: known
    integer(i32) :: info

    info = status_of([rows, cols, groups, row_bytes, group_size], groups == groups_of(cols, &
      group_size) .and. row_bytes == packed_bytes(cols, bits), known)
  end function status_of_codes
end module fq_quantize_c_real32
