!> C boundary of `linear`, which the formats of codes make.
!>
!> `docs/boundary.md` says what all bindings have in common.
!>
!> Python: `pyfq/products/linear.py`.  Reference: `pyfq/reference/products/linear.py`.
module fq_linear_c_real32
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: is_given, pieces, status_of
  use fq_codes_real32, only: code_rows
  use fq_epilogue_real32, only: epilogue
  use fq_gemm_int8, only: CODE_STEPS
  use fq_kinds, only: i8, i16, i32, i64, wp => sp
  use fq_nibbles_real32, only: nibble_panels, pack_nibbles, PANEL_ROWS
  use fq_quantized_rows_real32, only: multiply_quantized
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_multiply_codes, fq_multiply_nibbles, fq_pack_nibbles

contains

  !> `y = activation(x w**T + bias)`, x quantized to 8 bits per row, w in rows of signed codes: see
  !> `code_rows` and `multiply_quantized`.
  subroutine fq_multiply_codes(m, n, k, ldw, groups, bias_cols, group_size, stride, x, w, scale, &
    zero_point, minimum, has_bias, bias, activation, slope, y, threads, info) bind(c, &
    name='fq_multiply_codes_f32')
    integer(i64), intent(in), value :: m, n, k          !! rows of x; outputs; inputs
    integer(i64), intent(in), value :: ldw              !! bytes of a row of w
    integer(i64), intent(in), value :: groups           !! `ceiling(k/group_size)`
    integer(i64), intent(in), value :: bias_cols        !! entries of bias: n, if there is one
    integer(i64), intent(in), value :: group_size       !! entries of a group, at least 1
    !> Codes from group to group, at least those of a group; of several groups a multiple of
    !> CODE_STEPS.
    integer(i64), intent(in), value :: stride
    real(wp), intent(in), optional :: x(k, m)           !! activations, `(m, k)`
    integer(i8), intent(in), optional, target :: w(ldw, n)       !! codes, `(n, ldw)`
    real(wp), intent(in), optional, target :: scale(groups, n)   !! steps of codes, `(n, groups)`
    integer(i32), intent(in), optional, target :: zero_point(groups, n)  !! codes of 0, as scale
    real(wp), intent(in), optional, target :: minimum(groups, n)  !! their values, as scale
    integer(i32), intent(in), value :: has_bias         !! 0: bias is not looked at
    real(wp), intent(in), optional :: bias(bias_cols)   !! added to each row of y, `(n)`
    integer(i32), intent(in), value :: activation       !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope                !! parameter of the activation
    real(wp), intent(out), optional :: y(n, m)          !! results, `(m, n)`
    integer(i32), intent(in), value :: threads          !! threads to use, at least 1
    integer(i32), intent(out) :: info  !! status code, FQ_NO_MEMORY and FQ_NOT_FINITE among them
    type(code_rows) :: weights

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, m])) return
    if (.not. is_given(present(scale), [groups, n])) return
    if (.not. is_given(present(minimum), [groups, n])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(w), [ldw, n])) return
    if (.not. is_given(present(zero_point), [groups, n])) return
    if (.not. is_given(present(y), [n, m])) return
    info = status_of([m, n, k, ldw, groups, bias_cols, group_size, stride], &
      (k == 0 .or. (groups == pieces(k, group_size) .and. stride >= min(group_size, k) .and. ldw &
        >= groups*stride .and. (groups == 1 .or. mod(stride, CODE_STEPS) == 0))) .and. (has_bias &
        == 0 .or. bias_cols == n), &
      is_activation(activation) .and. threads >= 1)
    if (info /= FQ_OK .or. min(m, n) == 0) return
    weights%group_size = group_size
    weights%group_stride = stride
    weights%codes => w
    weights%scale => scale
    weights%zero_point => zero_point
    weights%minimum => minimum
    call multiply_quantized(weights, x, bias, epilogue(has_bias /= 0, activation, slope), y, &
      threads, info)
  end subroutine fq_multiply_codes

  !> The same with w in panels of codes of 4 bits: see `nibble_panels` and `multiply_quantized`.
  subroutine fq_multiply_nibbles(m, n, k, panels, groups, min_panels, bias_cols, group_size, x, &
    words, scale, zero_point, has_minimum, minimum, has_bias, bias, activation, slope, y, &
    threads, info) bind(c, name='fq_multiply_nibbles_f32')
    integer(i64), intent(in), value :: m, n, k          !! rows of x; outputs; inputs
    integer(i64), intent(in), value :: panels           !! `ceiling(n/128)`
    integer(i64), intent(in), value :: groups           !! `ceiling(k/group_size)`
    integer(i64), intent(in), value :: min_panels       !! panels of minima: all, if there are any
    integer(i64), intent(in), value :: bias_cols        !! entries of bias: n, if there is one
    integer(i64), intent(in), value :: group_size       !! entries of a group, at least 1
    real(wp), intent(in), optional :: x(k, m)           !! activations, `(m, k)`
    integer(i16), intent(in), optional, target :: words(32, k, panels)  !! codes, `(panels, k, 32)`
    !> Steps of codes, `(panels, groups, 128)`.
    real(wp), intent(in), optional, target :: scale(128, groups, panels)
    integer(i8), intent(in), optional, target :: zero_point(128, groups, panels)  !! as scale
    integer(i32), intent(in), value :: has_minimum      !! 0: minima are 0 and not looked at
    real(wp), intent(in), optional, target :: minimum(128, groups, min_panels)    !! as scale
    integer(i32), intent(in), value :: has_bias         !! 0: bias is not looked at
    real(wp), intent(in), optional :: bias(bias_cols)   !! added to each row of y, `(n)`
    integer(i32), intent(in), value :: activation       !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope                !! parameter of the activation
    real(wp), intent(out), optional :: y(n, m)          !! results, `(m, n)`
    integer(i32), intent(in), value :: threads          !! threads to use, at least 1
    integer(i32), intent(out) :: info  !! status code, FQ_NO_MEMORY and FQ_NOT_FINITE among them
    type(nibble_panels) :: weights

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, m])) return
    if (.not. is_given(present(scale), [groups, panels])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. (has_minimum == 0 .or. is_given(present(minimum), [groups, min_panels]))) return
    if (.not. is_given(present(words), [k, panels])) return
    if (.not. is_given(present(zero_point), [groups, panels])) return
    if (.not. is_given(present(y), [n, m])) return
    info = status_of([m, n, k, panels, groups, min_panels, bias_cols, group_size], &
      panels == pieces(n, PANEL_ROWS) .and. (k == 0 .or. groups == pieces(k, group_size)) .and. &
        (has_minimum == 0 .or. min_panels == panels) .and. (has_bias == 0 .or. bias_cols == n), &
      is_activation(activation) .and. threads >= 1)
    if (info /= FQ_OK .or. min(m, n) == 0) return
    weights%group_size = group_size
    weights%panels => words
    weights%scale => scale
    weights%zero_point => zero_point
    if (has_minimum /= 0) weights%minimum => minimum
    call multiply_quantized(weights, x, bias, epilogue(has_bias /= 0, activation, slope), y, &
      threads, info)
  end subroutine fq_multiply_nibbles

  !> Panels of codes for `fq_multiply_nibbles`: see `pack_nibbles`.
  subroutine fq_pack_nibbles(n, k, panels, codes, words, threads, info) &
    bind(c, name='fq_pack_nibbles_f32')
    integer(i64), intent(in), value :: n, k             !! outputs; inputs
    integer(i64), intent(in), value :: panels           !! `ceiling(n/128)`
    integer(i8), intent(in), optional :: codes(k, n)    !! codes `0 ... 15`, `(n, k)`
    integer(i16), intent(out), optional :: words(32, k, panels)  !! panels, `(panels, k, 32)`
    integer(i32), intent(in), value :: threads          !! threads to use, at least 1
    integer(i32), intent(out) :: info                   !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(codes), [k, n])) return
    if (.not. is_given(present(words), [k, panels])) return
    info = status_of([n, k, panels], panels == pieces(n, PANEL_ROWS), threads >= 1)
    if (info /= FQ_OK) return
    if (min(n, k) == 0) return
    call pack_nibbles(codes, words, threads)
  end subroutine fq_pack_nibbles
end module fq_linear_c_real32
