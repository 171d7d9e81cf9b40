!> C boundary of `fq_mixed`: flat arrays, explicit extents.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_mixed_c
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: is_given, pieces, status_of
  use fq_epilogue_real32, only: epilogue
  use fq_factors, only: B_PACKED, B_PLAIN, factors
  use fq_gemm_real32, only: LANES
  use fq_half, only: HALF_BFLOAT16, HALF_FLOAT16, multiply_half, pack_half
  use fq_kinds, only: i16, i32, i64, wp => sp
  use fq_matmul_real32, only: fits_left, fits_right
  use fq_mixed, only: multiply_half_wide, matmul_float64
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_multiply_half, fq_matmul_float64, fq_pack_half

contains

  subroutine fq_multiply_half(m, n, k, panels, pairs, lane_count, bias_cols, a, format, words, &
    wide, has_bias, bias, activation, slope, c, threads, info) bind(c, name='fq_multiply_half_f32')
    integer(i64), intent(in), value :: m, n, k, panels, pairs, lane_count, bias_cols
    real(wp), intent(in), optional :: a(k, m), bias(bias_cols)
    integer(i32), intent(in), optional :: words(lane_count, pairs, panels)
    integer(i32), intent(in), value :: format, wide, has_bias, activation, threads
    real(wp), intent(in), value :: slope
    real(wp), intent(out), optional :: c(n, m)
    integer(i32), intent(out) :: info
    type(epilogue) :: after

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(a), [k, m])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(words), [lane_count, pairs, panels])) return
    if (.not. is_given(present(c), [n, m])) return
    info = status_of([m, n, k, panels, pairs, lane_count, bias_cols], &
      lane_count == LANES .and. panels == pieces(n, int(LANES, i64)) .and. pairs == pieces(k, &
        2_i64) .and. (has_bias == 0 .or. bias_cols == n), &
      is_activation(activation) .and. (format == HALF_BFLOAT16 .or. format == HALF_FLOAT16) .and. &
        threads >= 1)
    if (info /= FQ_OK) return
    after = epilogue(has_bias /= 0, activation, slope)
    if (wide /= 0) then
      call multiply_half_wide(a, format, words, bias, after, c, threads, info)
    else
      call multiply_half(a, format, words, bias, after, c, threads, info)
    end if
  end subroutine fq_multiply_half

  subroutine fq_matmul_float64(m, n, k, a_rows, a_cols, b_rows, b_cols, bias_cols, a, &
    a_transposed, b, b_form, has_bias, bias, activation, slope, c, threads, info) bind(c, &
    name='fq_matmul_float64_f32')
    integer(i64), intent(in), value :: m, n, k, a_rows, a_cols, b_rows, b_cols, bias_cols
    real(wp), intent(in), optional :: a(a_cols, a_rows), b(b_cols, b_rows), bias(bias_cols)
    integer(i32), intent(in), value :: a_transposed, b_form, has_bias, activation, threads
    real(wp), intent(in), value :: slope
    real(wp), intent(out), optional :: c(n, m)
    integer(i32), intent(out) :: info
    type(factors) :: given

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(a), [a_cols, a_rows])) return
    if (.not. is_given(present(b), [b_cols, b_rows])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(c), [n, m])) return
    given = factors(m, n, k, a_cols, a_transposed /= 0, b_cols, b_form)
    info = status_of([m, n, k, a_rows, a_cols, b_rows, b_cols, bias_cols], &
      fits_left(given, a_rows, a_cols) .and. fits_right(given, b_rows, b_cols) .and. (has_bias == &
        0 .or. bias_cols == n), &
      is_activation(activation) .and. b_form >= B_PLAIN .and. b_form <= B_PACKED .and. threads >= &
        1)
    if (info /= FQ_OK) return
    call matmul_float64(given, a, b, bias, epilogue(has_bias /= 0, activation, slope), c, threads, &
      info)
  end subroutine fq_matmul_float64

  subroutine fq_pack_half(n, k, panels, pairs, lane_count, bits, format, words, threads, info) &
    bind(c, name='fq_pack_half_f32')
    integer(i64), intent(in), value :: n, k, panels, pairs, lane_count
    integer(i16), intent(in), optional :: bits(k, n)
    integer(i32), intent(out), optional :: words(lane_count, pairs, panels)
    integer(i32), intent(in), value :: format, threads
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(bits), [k, n])) return
    if (.not. is_given(present(words), [lane_count, pairs, panels])) return
    info = status_of([n, k, panels, pairs, lane_count], &
      lane_count == LANES .and. panels == pieces(n, int(LANES, i64)) .and. pairs == pieces(k, &
        2_i64), &
      (format == HALF_BFLOAT16 .or. format == HALF_FLOAT16) .and. threads >= 1)
    if (info /= FQ_OK) return
    if (min(n, k) == 0) return
    call pack_half(bits, format, words, threads)
  end subroutine fq_pack_half
end module fq_mixed_c
