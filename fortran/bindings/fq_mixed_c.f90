!> C boundary of `fq_mixed`; `docs/boundary.md` says what all bindings have in common.
module fq_mixed_c
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: is_given, status_of
  use fq_epilogue_real32, only: epilogue
  use fq_factors, only: factors
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_matmul_real32, only: status_of_product
  use fq_mixed, only: matmul_float64, multiply_layer_float64
  use fq_model_real32, only: find_only_layer, model
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_matmul_float64, fq_multiply_layer_float64

contains

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
    real(wp), intent(in), optional, target :: bias(bias_cols)    !! added to each row of c, `(n)`
    integer(i32), intent(in), value :: activation        !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope                 !! parameter of the activation
    real(wp), intent(out), optional :: c(n, m)           !! results, `(m, n)`
    integer(i32), intent(in), value :: threads           !! threads to use, at least 1
    integer(i32), intent(out) :: info                    !! status code, FQ_NO_MEMORY among them
    type(factors) :: given
    type(epilogue) :: after
    real(wp), target :: none(1)  ! in place of a bias that is not looked at
    real(wp), pointer, contiguous :: added(:)

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(a), [a_cols, a_rows])) return
    if (.not. is_given(present(b), [b_cols, b_rows])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(c), [n, m])) return
    given = factors(m, n, k, a_cols, a_transposed /= 0, b_cols, b_order)
    after = epilogue(has_bias /= 0, activation, slope)
    info = status_of_product(given, [a_rows, a_cols], [b_rows, b_cols], bias_cols, after, threads)
    if (info /= FQ_OK) return
    added => none
    if (present(bias)) added => bias
    call matmul_float64(given, a, b, added, after, c, threads, info)
  end subroutine fq_matmul_float64

  !> The same with a layer in memory whose weights are reals or 2-byte floats.
  subroutine fq_multiply_layer_float64(m, n, k, bytes, bias_cols, x, memory, has_bias, bias, &
    activation, slope, y, threads, info) bind(c, name='fq_multiply_layer_float64_f32')
    integer(i64), intent(in), value :: m, n, k         !! rows of x; outputs; inputs
    integer(i64), intent(in), value :: bytes           !! length of the block
    integer(i64), intent(in), value :: bias_cols       !! entries of bias: n, if there is one
    real(wp), intent(in), optional :: x(k, m)          !! inputs, `(m, k)`
    integer(i8), intent(in), optional, target :: memory(bytes)  !! of `fq_build_model`, one layer
    integer(i32), intent(in), value :: has_bias        !! 0: bias is not looked at
    real(wp), intent(in), optional, target :: bias(bias_cols)  !! added to each row of y, `(n)`
    integer(i32), intent(in), value :: activation      !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope               !! parameter of the activation
    real(wp), intent(out), optional :: y(n, m)         !! results, `(m, n)`
    integer(i32), intent(in), value :: threads         !! threads to use, at least 1
    integer(i32), intent(out) :: info  !! status code, FQ_NO_MEMORY and FQ_NOT_FINITE among them
    type(model) :: network
    real(wp), target :: none(1)  ! in place of a bias that is not looked at
    real(wp), pointer, contiguous :: added(:)

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, m])) return
    if (.not. is_given(present(memory), [bytes])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(y), [n, m])) return
    info = status_of([m, n, k, bytes, bias_cols], bytes >= 1 .and. (has_bias == 0 &
      .or. bias_cols == n), is_activation(activation) .and. threads >= 1)
    if (info == FQ_OK) call find_only_layer(memory, k, n, network, info)
    if (info /= FQ_OK .or. m == 0) return
    added => none
    if (present(bias)) added => bias
    call multiply_layer_float64(network%layers(1), network%memory, x, added, &
      epilogue(has_bias /= 0, activation, slope), y, threads, info)
  end subroutine fq_multiply_layer_float64
end module fq_mixed_c
