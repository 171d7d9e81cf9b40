!> C boundary of `fq_matmul`; `docs/boundary.md` says what all bindings have in common.
module fq_matmul_c_real32
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: are_panels, is_given, pieces, status_of
  use fq_code_panels_real32, only: code_layout, multiply_code_panels, pack_code_panels
  use fq_dense_real32, only: pack_panels, packed_vectors
  use fq_epilogue_real32, only: epilogue
  use fq_factors, only: B_PLAIN, B_TRANSPOSED, factors
  use fq_gemm_real32, only: LANES
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_level_panels_real32, only: multiply_level_panels
  use fq_matmul_real32, only: fits_right, matmul_blocked, status_of_product
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_matmul, fq_multiply_code_panels, fq_multiply_level_panels, fq_pack_code_panels, &
    fq_pack_panels, fq_panels_shape

contains

  !> `c = activation(op(a) op(b) + bias)`: see `matmul_blocked`.
  subroutine fq_matmul(m, n, k, a_rows, a_cols, b_rows, b_cols, bias_cols, a, a_transposed, b, &
    b_order, has_bias, bias, activation, slope, c, threads, info) bind(c, name='fq_matmul_f32')
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
    call matmul_blocked(given, a, b, bias, after, c, threads, info)
  end subroutine fq_matmul

  !> Panels of op(b) for `fq_matmul`.
  subroutine fq_pack_panels(vectors, lane_count, b_rows, b_cols, n, k, b, b_transposed, packed, &
    threads, info) bind(c, name='fq_pack_panels_f32')
    integer(i64), intent(in), value :: vectors, lane_count  !! as `fq_panels_shape` says
    integer(i64), intent(in), value :: b_rows, b_cols       !! extents of b as it is given
    integer(i64), intent(in), value :: n, k                 !! columns of op(b); rows
    real(wp), intent(in), optional :: b(b_cols, b_rows)     !! right matrix, `(k, n)`, or `(n, k)`
    integer(i32), intent(in), value :: b_transposed         !! 0: b is as it is; else its transpose
    real(wp), intent(out), optional :: packed(lane_count, vectors)  !! `(vectors, lane_count)`
    integer(i32), intent(in), value :: threads              !! threads to use, at least 1
    integer(i32), intent(out) :: info                       !! status code
    type(factors) :: given

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(b), [b_cols, b_rows])) return
    if (.not. is_given(present(packed), [lane_count, vectors])) return
    given = factors(n=n, k=k, b_order=merge(B_TRANSPOSED, B_PLAIN, b_transposed /= 0))
    info = status_of([vectors, lane_count, b_rows, b_cols, n, k], &
      lane_count == LANES .and. vectors == packed_vectors(n, k) .and. fits_right(given, b_rows, &
        b_cols), &
      threads >= 1)
    if (info /= FQ_OK) return
    call pack_panels(n, k, b, b_transposed /= 0, packed, threads)
  end subroutine fq_pack_panels

  !> Extents of what `fq_pack_panels` writes.
  subroutine fq_panels_shape(n, k, vectors, lane_count, info) bind(c, name='fq_panels_shape_f32')
    integer(i64), intent(in), value :: n, k            !! columns of op(b); rows
    integer(i64), intent(out), optional :: vectors     !! vectors of all panels
    integer(i64), intent(out), optional :: lane_count  !! lanes of a vector, as this CPU has them
    integer(i32), intent(out) :: info                  !! status code

    info = FQ_NOT_GIVEN
    if (.not. (present(vectors) .and. present(lane_count))) return
    info = status_of([n, k], .true., .true.)
    if (info /= FQ_OK) return
    vectors = packed_vectors(n, k)
    lane_count = LANES
  end subroutine fq_panels_shape

  !> `c = activation(a dequantize(w)**T + bias)`: see `multiply_code_panels`.
  subroutine fq_multiply_code_panels(m, n, k, panels, steps, lane_count, groups, min_panels, &
    bias_cols, group_size, a, two_per_byte, codes, scale, zero_point, has_minimum, minimum, &
    has_bias, bias, activation, slope, c, threads, info) bind(c, name='fq_multiply_code_panels_f32')
    integer(i64), intent(in), value :: m, n, k         !! rows of a; outputs; inputs
    integer(i64), intent(in), value :: panels          !! `ceiling(n/lane_count)`
    integer(i64), intent(in), value :: steps           !! bytes of a lane: `k`, or `ceiling(k/2)`
    integer(i64), intent(in), value :: lane_count      !! lanes of a panel: see `fq_panels_shape`
    integer(i64), intent(in), value :: groups          !! `ceiling(k/group_size)`
    integer(i64), intent(in), value :: min_panels      !! panels of minima: all, if there are any
    integer(i64), intent(in), value :: bias_cols       !! entries of bias: n, if there is one
    !> Steps of a group; even, if two codes are a byte.
    integer(i64), intent(in), value :: group_size
    real(wp), intent(in), optional :: a(k, m)          !! left matrix, `(m, k)`
    integer(i32), intent(in), value :: two_per_byte    !! 0: a code a byte; else two, `0 ... 15`
    !> `(panels, steps, lane_count)`.
    integer(i8), intent(in), optional :: codes(lane_count, steps, panels)
    !> `(panels, groups, lane_count)`.
    real(wp), intent(in), optional :: scale(lane_count, groups, panels)
    integer(i8), intent(in), optional :: zero_point(lane_count, groups, panels)  !! as scale
    integer(i32), intent(in), value :: has_minimum     !! 0: minima are 0 and not looked at
    real(wp), intent(in), optional :: minimum(lane_count, groups, min_panels)  !! as scale
    integer(i32), intent(in), value :: has_bias        !! 0: bias is not looked at
    real(wp), intent(in), optional :: bias(bias_cols)  !! added to each row of c, `(n)`
    integer(i32), intent(in), value :: activation      !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope               !! parameter of the activation
    real(wp), intent(out), optional :: c(n, m)         !! results, `(m, n)`
    integer(i32), intent(in), value :: threads         !! threads to use, at least 1
    integer(i32), intent(out) :: info                  !! status code, FQ_NO_MEMORY among them

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(a), [k, m])) return
    if (.not. is_given(present(scale), [lane_count, groups, panels])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. (has_minimum == 0 .or. is_given(present(minimum), [lane_count, groups, &
      min_panels]))) return
    if (.not. is_given(present(codes), [lane_count, steps, panels])) return
    if (.not. is_given(present(zero_point), [lane_count, groups, panels])) return
    if (.not. is_given(present(c), [n, m])) return
    info = status_of([m, n, k, panels, steps, lane_count, groups, min_panels, bias_cols, &
      group_size], &
      are_panels(panels, lane_count, n, LANES) .and. steps == &
        merge(pieces(k, 2_i64), k, two_per_byte /= 0) .and. (k == 0 .or. groups == pieces(k, &
        group_size)) .and. (has_minimum == 0 .or. min_panels == panels) .and. (has_bias == 0 .or. &
        bias_cols == n), &
      is_activation(activation) .and. threads >= 1)
    if (info /= FQ_OK) return
    call multiply_code_panels(a, code_layout(group_size, two_per_byte /= 0, has_minimum /= 0), &
      codes, scale, zero_point, minimum, bias, epilogue(has_bias /= 0, activation, slope), c, &
      threads, info)
  end subroutine fq_multiply_code_panels

  !> `c = activation(a w**T + bias)`, w levels of a table times scales: see `multiply_level_panels`.
  subroutine fq_multiply_level_panels(m, n, k, panels, bytes, lane_count, groups, bias_cols, &
    group_size, &
    a, codes, levels, scale, has_bias, bias, activation, slope, c, threads, info) bind(c, &
    name='fq_multiply_level_panels_f32')
    integer(i64), intent(in), value :: m, n, k         !! rows of a; outputs; inputs
    integer(i64), intent(in), value :: panels          !! `ceiling(n/lane_count)`
    integer(i64), intent(in), value :: bytes           !! bytes of a step, `lane_count/2`
    integer(i64), intent(in), value :: lane_count      !! lanes of a panel: see `fq_panels_shape`
    integer(i64), intent(in), value :: groups          !! `ceiling(k/group_size)`
    integer(i64), intent(in), value :: bias_cols       !! entries of bias: n, if there is one
    integer(i64), intent(in), value :: group_size      !! steps of a group, at least 1
    real(wp), intent(in), optional :: a(k, m)          !! left matrix, `(m, k)`
    !> Two a byte, `(panels, k, bytes)`.
    integer(i8), intent(in), optional :: codes(bytes, k, panels)
    real(wp), intent(in), optional :: levels(2, 256)   !! both levels of each byte, `(256, 2)`
    !> `(panels, groups, lane_count)`.
    real(wp), intent(in), optional :: scale(lane_count, groups, panels)
    integer(i32), intent(in), value :: has_bias        !! 0: bias is not looked at
    real(wp), intent(in), optional :: bias(bias_cols)  !! added to each row of c, `(n)`
    integer(i32), intent(in), value :: activation      !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope               !! parameter of the activation
    real(wp), intent(out), optional :: c(n, m)         !! results, `(m, n)`
    integer(i32), intent(in), value :: threads         !! threads to use, at least 1
    integer(i32), intent(out) :: info                  !! status code, FQ_NO_MEMORY among them

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(a), [k, m])) return
    if (.not. present(levels)) return
    if (.not. is_given(present(scale), [lane_count, groups, panels])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(codes), [bytes, k, panels])) return
    if (.not. is_given(present(c), [n, m])) return
    info = status_of([m, n, k, panels, bytes, lane_count, groups, bias_cols, group_size], &
      are_panels(panels, lane_count, n, LANES) .and. 2*bytes == LANES .and. &
        (k == 0 .or. groups == pieces(k, group_size)) .and. (has_bias == 0 .or. bias_cols == n), &
      is_activation(activation) .and. threads >= 1)
    if (info /= FQ_OK) return
    call multiply_level_panels(a, group_size, codes, levels, scale, bias, epilogue(has_bias /= 0, &
      activation, slope), c, threads, info)
  end subroutine fq_multiply_level_panels

  !> Panels of codes for `fq_multiply_code_panels`; rows that are not there are zeros.
  subroutine fq_pack_code_panels(n, k, panels, steps, lane_count, codes, two_per_byte, packed, &
    threads, info) bind(c, name='fq_pack_code_panels_f32')
    integer(i64), intent(in), value :: n, k           !! rows of codes; steps
    integer(i64), intent(in), value :: panels         !! `ceiling(n/lane_count)`
    integer(i64), intent(in), value :: steps          !! bytes of a row: `k`, or `ceiling(k/2)`
    integer(i64), intent(in), value :: lane_count     !! lanes of a panel: see `fq_panels_shape`
    integer(i8), intent(in), optional :: codes(k, n)  !! codes, `(n, k)`; `0 ... 15` if two a byte
    integer(i32), intent(in), value :: two_per_byte   !! 0: a code a byte; else two
    !> `(panels, steps, lane_count)`.
    integer(i8), intent(out), optional :: packed(lane_count, steps, panels)
    integer(i32), intent(in), value :: threads        !! threads to use, at least 1
    integer(i32), intent(out) :: info                 !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(codes), [k, n])) return
    if (.not. is_given(present(packed), [lane_count, steps, panels])) return
    info = status_of([n, k, panels, steps, lane_count], &
      are_panels(panels, lane_count, n, LANES) .and. steps == &
        merge(pieces(k, 2_i64), k, two_per_byte /= 0), &
      threads >= 1)
    if (info /= FQ_OK) return
    if (min(n, k) == 0) return
    call pack_code_panels(n, k, codes, two_per_byte /= 0, packed, threads)
  end subroutine fq_pack_code_panels
end module fq_matmul_c_real32
