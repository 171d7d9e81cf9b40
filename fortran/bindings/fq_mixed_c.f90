!> C boundary of `fq_mixed`; `docs/boundary.md` says what all bindings have in common.
module fq_mixed_c
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: are_panels, is_given, pieces, status_of
  use fq_epilogue_real32, only: epilogue
  use fq_factors, only: factors
  use fq_gemm_real32, only: LANES
  use fq_half, only: HALF_BFLOAT16, HALF_FLOAT16, multiply_half, pack_half
  use fq_kinds, only: i16, i32, i64, wp => sp
  use fq_matmul_real32, only: status_of_product
  use fq_mixed, only: multiply_half_wide, matmul_float64
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_multiply_half, fq_matmul_float64, fq_pack_half

contains

  !> `c = activation(a w**T + bias)`, w in panels of 2-byte values: see `multiply_half`.
  subroutine fq_multiply_half(m, n, k, panels, words, lane_count, bias_cols, a, format, packed, &
    wide, has_bias, bias, activation, slope, c, threads, info) bind(c, name='fq_multiply_half_f32')
    integer(i64), intent(in), value :: m, n, k         !! rows of a; outputs; inputs
    integer(i64), intent(in), value :: panels          !! `ceiling(n/lane_count)`
    integer(i64), intent(in), value :: words           !! words of a lane, `ceiling(k/2)`
    integer(i64), intent(in), value :: lane_count      !! lanes of a panel: see `fq_panels_shape`
    integer(i64), intent(in), value :: bias_cols       !! entries of bias: n, if there is one
    real(wp), intent(in), optional :: a(k, m)          !! left matrix, `(m, k)`
    integer(i32), intent(in), value :: format          !! one of HALF_... of `fq_half`
    !> `(panels, words, lane_count)`.
    integer(i32), intent(in), optional :: packed(lane_count, words, panels)
    integer(i32), intent(in), value :: wide  !! 0: sums in float32; else in float64, rounded once
    integer(i32), intent(in), value :: has_bias        !! 0: bias is not looked at
    real(wp), intent(in), optional :: bias(bias_cols)  !! added to each row of c, `(n)`
    integer(i32), intent(in), value :: activation      !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope               !! parameter of the activation
    real(wp), intent(out), optional :: c(n, m)         !! results, `(m, n)`
    integer(i32), intent(in), value :: threads         !! threads to use, at least 1
    integer(i32), intent(out) :: info                  !! status code, FQ_NO_MEMORY among them
    type(epilogue) :: after

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(a), [k, m])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(packed), [lane_count, words, panels])) return
    if (.not. is_given(present(c), [n, m])) return
    info = status_of([m, n, k, panels, words, lane_count, bias_cols], &
      are_panels(panels, lane_count, n, LANES) .and. words == pieces(k, &
        2_i64) .and. (has_bias == 0 .or. bias_cols == n), &
      is_activation(activation) .and. (format == HALF_BFLOAT16 .or. format == HALF_FLOAT16) .and. &
        threads >= 1)
    if (info /= FQ_OK) return
    after = epilogue(has_bias /= 0, activation, slope)
    if (wide /= 0) then
      call multiply_half_wide(a, format, packed, bias, after, c, threads, info)
    else
      call multiply_half(a, format, packed, bias, after, c, threads, info)
    end if
  end subroutine fq_multiply_half

  !> `c = activation(op(a) op(b) + bias)`, products, sums and bias in float64, rounded once.
  subroutine fq_matmul_float64(m, n, k, a_rows, a_cols, b_rows, b_cols, bias_cols, a, &
    a_transposed, b, b_order, has_bias, bias, activation, slope, c, threads, info) bind(c, &
    name='fq_matmul_float64_f32')
    integer(i64), intent(in), value :: m, n, k           !! rows, columns; what is summed over
    integer(i64), intent(in), value :: a_rows, a_cols    !! extents of a as it is given
    integer(i64), intent(in), value :: b_rows, b_cols    !! extents of b as it is given
    integer(i64), intent(in), value :: bias_cols         !! entries of bias: n, if there is one
    !> Left matrix, `(m, k)`, or `(k, m)` if transposed.
    real(wp), intent(in), optional :: a(a_cols, a_rows)
    integer(i32), intent(in), value :: a_transposed      !! 0: a is as it is; else its transpose
    !> Right matrix, `(k, n)`, `(n, k)` or panels.
    real(wp), intent(in), optional :: b(b_cols, b_rows)
    integer(i32), intent(in), value :: b_order           !! one of B_... of `fq_factors`
    integer(i32), intent(in), value :: has_bias          !! 0: bias is not looked at
    real(wp), intent(in), optional :: bias(bias_cols)    !! added to each row of c, `(n)`
    integer(i32), intent(in), value :: activation        !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope                 !! parameter of the activation
    real(wp), intent(out), optional :: c(n, m)           !! results, `(m, n)`
    integer(i32), intent(in), value :: threads           !! threads to use, at least 1
    integer(i32), intent(out) :: info                    !! status code, FQ_NO_MEMORY among them
    type(factors) :: given
    type(epilogue) :: after

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(a), [a_cols, a_rows])) return
    if (.not. is_given(present(b), [b_cols, b_rows])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(c), [n, m])) return
    given = factors(m, n, k, a_cols, a_transposed /= 0, b_cols, b_order)
    after = epilogue(has_bias /= 0, activation, slope)
    info = status_of_product(given, [a_rows, a_cols], [b_rows, b_cols], bias_cols, after, threads)
    if (info /= FQ_OK) return
    call matmul_float64(given, a, b, bias, after, c, threads, info)
  end subroutine fq_matmul_float64

  !> Panels of 2-byte weights for `fq_multiply_half`: see `pack_half`.
  subroutine fq_pack_half(n, k, panels, words, lane_count, bits, format, packed, threads, info) &
    bind(c, name='fq_pack_half_f32')
    integer(i64), intent(in), value :: n, k           !! outputs; inputs
    integer(i64), intent(in), value :: panels         !! `ceiling(n/lane_count)`
    integer(i64), intent(in), value :: words          !! words of a lane, `ceiling(k/2)`
    integer(i64), intent(in), value :: lane_count     !! lanes of a panel: see `fq_panels_shape`
    integer(i16), intent(in), optional :: bits(k, n)  !! patterns, finite, `(n, k)`
    integer(i32), intent(in), value :: format         !! one of HALF_... of `fq_half`
    !> `(panels, words, lane_count)`.
    integer(i32), intent(out), optional :: packed(lane_count, words, panels)
    integer(i32), intent(in), value :: threads        !! threads to use, at least 1
    integer(i32), intent(out) :: info                 !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(bits), [k, n])) return
    if (.not. is_given(present(packed), [lane_count, words, panels])) return
    info = status_of([n, k, panels, words, lane_count], &
      are_panels(panels, lane_count, n, LANES) .and. words == pieces(k, &
        2_i64), &
      (format == HALF_BFLOAT16 .or. format == HALF_FLOAT16) .and. threads >= 1)
    if (info /= FQ_OK) return
    if (min(n, k) == 0) return
    call pack_half(bits, format, packed, threads)
  end subroutine fq_pack_half
end module fq_mixed_c
