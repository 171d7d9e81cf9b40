!> C boundary of `fq_quantize`; `docs/boundary.md` says what all bindings have in common.
module fq_quantize_c_real32
  use fq_arguments, only: is_given, is_rule, status_of, status_of_codes
  use fq_code_rule, only: code_rule
  use fq_extents, only: groups_of
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_quantize_real32, only: dequantize, quantize, quantize_given, quantize_range, quantize_step
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_dequantize, fq_quantize, fq_quantize_given, fq_quantize_range, fq_quantize_step

contains

  !> Scale, zero point, minimum and packed codes of a tensor; without weights those of zeros.
  subroutine fq_quantize(rows, cols, groups, row_bytes, group_size, w, rule, scale, zero_point, &
    minimum, packed, threads, info) bind(c, name='fq_quantize_f32')
    integer(i64), intent(in), value :: rows, cols               !! extents of w
    integer(i64), intent(in), value :: groups      !! `ceiling(cols/group_size)`, at least 1
    integer(i64), intent(in), value :: row_bytes                !! `ceiling(cols*rule%bits/8)`
    integer(i64), intent(in), value :: group_size               !! columns of a group, at least 1
    real(wp), intent(in), optional :: w(cols, rows)             !! weights, `(rows, cols)`
    type(code_rule), intent(in), optional :: rule               !! how reals become codes
    real(wp), intent(out), optional :: scale(groups, rows)      !! step of a code, `(rows, groups)`
    integer(i32), intent(out), optional :: zero_point(groups, rows)  !! code of 0, as scale
    real(wp), intent(out), optional :: minimum(groups, rows)    !! value of code 0, as scale
    integer(i8), intent(out), optional :: packed(row_bytes, rows)  !! codes, `(rows, row_bytes)`
    integer(i32), intent(in), value :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info                           !! status code, FQ_NOT_FINITE too

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [cols, rows])) return
    if (.not. is_given(present(scale), [groups, rows])) return
    if (.not. is_given(present(minimum), [groups, rows])) return
    if (.not. is_given(present(zero_point), [groups, rows])) return
    if (.not. is_given(present(packed), [row_bytes, rows])) return
    if (.not. present(rule)) return
    info = status_of_codes(rows, cols, groups, row_bytes, group_size, rule%bits, .true., &
      is_rule(rule) .and. threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols) == 0) then  ! as of zeros
      scale = 1
      zero_point = 0
      minimum = 0
      return
    end if
    call quantize(w, rule, group_size, scale, zero_point, minimum, packed, threads, info)
  end subroutine fq_quantize

  !> Smallest and largest value of each group, and its first value of largest magnitude; without
  !> weights 0.
  subroutine fq_quantize_range(rows, cols, groups, group_size, w, low, high, peak, threads, info) &
    bind(c, name='fq_quantize_range_f32')
    integer(i64), intent(in), value :: rows, cols               !! extents of w
    integer(i64), intent(in), value :: groups      !! `ceiling(cols/group_size)`, at least 1
    integer(i64), intent(in), value :: group_size               !! columns of a group, at least 1
    real(wp), intent(in), optional :: w(cols, rows)             !! weights, `(rows, cols)`
    real(wp), intent(out), optional :: low(groups, rows)        !! minimum, `(rows, groups)`
    real(wp), intent(out), optional :: high(groups, rows)       !! maximum, `(rows, groups)`
    real(wp), intent(out), optional :: peak(groups, rows)       !! of largest magnitude, as low
    integer(i32), intent(in), value :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info                           !! status code, FQ_NOT_FINITE too

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

  !> Scale, zero point and minimum of groups whose range is known.
  subroutine fq_quantize_step(groups, low, high, peak, rule, scale, zero_point, minimum, info) &
    bind(c, name='fq_quantize_step_f32')
    integer(i64), intent(in), value :: groups                   !! how many groups
    real(wp), intent(in), optional :: low(groups)               !! minimum, `(groups)`
    real(wp), intent(in), optional :: high(groups)              !! maximum, `(groups)`
    real(wp), intent(in), optional :: peak(groups)       !! first of largest magnitude, as low
    type(code_rule), intent(in), optional :: rule               !! how reals become codes
    real(wp), intent(out), optional :: scale(groups)            !! step of a code, `(groups)`
    integer(i32), intent(out), optional :: zero_point(groups)   !! code of 0, `(groups)`
    real(wp), intent(out), optional :: minimum(groups)          !! value of code 0, `(groups)`
    integer(i32), intent(out) :: info                           !! status code

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

  !> Packed codes of a tensor whose scales are given.
  subroutine fq_quantize_given(rows, cols, groups, row_bytes, group_size, w, rule, scale, &
    zero_point, minimum, packed, threads, info) bind(c, name='fq_quantize_given_f32')
    integer(i64), intent(in), value :: rows, cols               !! extents of w
    integer(i64), intent(in), value :: groups      !! `ceiling(cols/group_size)`, at least 1
    integer(i64), intent(in), value :: row_bytes                !! `ceiling(cols*rule%bits/8)`
    integer(i64), intent(in), value :: group_size               !! columns of a group, at least 1
    real(wp), intent(in), optional :: w(cols, rows)             !! weights, `(rows, cols)`
    type(code_rule), intent(in), optional :: rule               !! how reals become codes
    real(wp), intent(in), optional :: scale(groups, rows)       !! step of a code, `(rows, groups)`
    integer(i32), intent(in), optional :: zero_point(groups, rows)  !! code of 0, as scale
    real(wp), intent(in), optional :: minimum(groups, rows)     !! value of code 0, as scale
    integer(i8), intent(out), optional :: packed(row_bytes, rows)  !! codes, `(rows, row_bytes)`
    integer(i32), intent(in), value :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info                           !! status code, FQ_NOT_FINITE too

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [cols, rows])) return
    if (.not. is_given(present(scale), [groups, rows])) return
    if (.not. is_given(present(minimum), [groups, rows])) return
    if (.not. is_given(present(zero_point), [groups, rows])) return
    if (.not. is_given(present(packed), [row_bytes, rows])) return
    if (.not. present(rule)) return
    info = status_of_codes(rows, cols, groups, row_bytes, group_size, rule%bits, .true., &
      is_rule(rule) .and. threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols) == 0) return
    call quantize_given(w, rule, group_size, scale, zero_point, minimum, packed, threads, info)
  end subroutine fq_quantize_given

  !> Reals from packed codes: `minimum + (code - zero_point)*scale`, at most the largest finite
  !> real.
  subroutine fq_dequantize(rows, cols, groups, row_bytes, group_size, packed, bits, signed, scale, &
    zero_point, minimum, out, threads, info) bind(c, name='fq_dequantize_f32')
    integer(i64), intent(in), value :: rows, cols               !! extents of out
    integer(i64), intent(in), value :: groups      !! `ceiling(cols/group_size)`, at least 1
    integer(i64), intent(in), value :: row_bytes                !! `ceiling(cols*bits/8)`
    integer(i64), intent(in), value :: group_size               !! columns of a group, at least 1
    integer(i8), intent(in), optional :: packed(row_bytes, rows)  !! codes, `(rows, row_bytes)`
    integer(i32), intent(in), value :: bits                     !! bits of a code, `1 ... 16`
    integer(i32), intent(in), value :: signed       !! 0: unsigned codes; else two's complement
    real(wp), intent(in), optional :: scale(groups, rows)       !! step of a code, `(rows, groups)`
    integer(i32), intent(in), optional :: zero_point(groups, rows)  !! code of 0, as scale
    real(wp), intent(in), optional :: minimum(groups, rows)     !! value of code 0, as scale
    real(wp), intent(out), optional :: out(cols, rows)          !! reals, `(rows, cols)`
    integer(i32), intent(in), value :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info                           !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(packed), [row_bytes, rows])) return
    if (.not. is_given(present(scale), [groups, rows])) return
    if (.not. is_given(present(minimum), [groups, rows])) return
    if (.not. is_given(present(zero_point), [groups, rows])) return
    if (.not. is_given(present(out), [cols, rows])) return
    info = status_of_codes(rows, cols, groups, row_bytes, group_size, int(bits, i64), .true., &
      threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols) == 0) return
    call dequantize(packed, bits, signed /= 0, group_size, scale, zero_point, minimum, out, threads)
  end subroutine fq_dequantize
end module fq_quantize_c_real32
