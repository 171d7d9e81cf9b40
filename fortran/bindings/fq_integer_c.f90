!> C boundary of `fq_integer`: flat arrays, explicit extents.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_integer_c
  use fq_arguments, only: is_given, status_of
  use fq_integer, only: code_matrix, matmul_integer, quantized_matmul, requantization
  use fq_kinds, only: i8, i32, i64, sp
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_matmul_integer, fq_quantized_matmul

contains

  subroutine fq_matmul_integer(m, n, k, a, a_signed, a_zero, b, b_signed, b_zero, sums, threads, &
                               info) bind(c, name='fq_matmul_integer_i8')
    integer(i64), intent(in), value :: m, n, k
    integer(i8), intent(in), optional, target :: a(k, m), b(n, k)
    integer(i32), intent(in), value :: a_signed, b_signed, threads
    integer(i32), intent(in), optional, target :: a_zero(m), b_zero(n)
    integer(i32), intent(out), optional :: sums(n, m)
    integer(i32), intent(out) :: info
    type(code_matrix) :: left, right

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(a), [k, m])) return
    if (.not. is_given(present(b), [n, k])) return
    if (.not. is_given(present(a_zero), [m])) return
    if (.not. is_given(present(b_zero), [n])) return
    if (.not. is_given(present(sums), [n, m])) return
    info = status_of([m, n, k], .true., threads >= 1)
    if (info /= FQ_OK) return
    left = code_matrix(a_signed /= 0, a, a_zero)
    right = code_matrix(b_signed /= 0, b, b_zero)
    call matmul_integer(left, right, sums, threads, info)
  end subroutine fq_matmul_integer

  subroutine fq_quantized_matmul(m, n, k, a, a_signed, a_scale, a_zero, b, b_signed, b_scale, &
                                 b_zero, y_scale, y_zero, y_signed, y, threads, info) &
    bind(c, name='fq_quantized_matmul_i8')
    integer(i64), intent(in), value :: m, n, k
    integer(i8), intent(in), optional, target :: a(k, m), b(n, k)
    integer(i32), intent(in), value :: a_signed, b_signed, y_zero, y_signed, threads
    real(sp), intent(in), optional, target :: a_scale(m), b_scale(n)
    integer(i32), intent(in), optional, target :: a_zero(m), b_zero(n)
    real(sp), intent(in), value :: y_scale
    integer(i8), intent(out), optional :: y(n, m)
    integer(i32), intent(out) :: info
    type(code_matrix) :: left, right

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(a), [k, m])) return
    if (.not. is_given(present(b), [n, k])) return
    if (.not. is_given(present(a_scale), [m])) return
    if (.not. is_given(present(b_scale), [n])) return
    if (.not. is_given(present(a_zero), [m])) return
    if (.not. is_given(present(b_zero), [n])) return
    if (.not. is_given(present(y), [n, m])) return
    info = status_of([m, n, k], &
      .true., &
      y_scale > 0 .and. y_zero >= merge(-128, 0, y_signed /= 0) .and. y_zero <= merge(127, 255, &
        y_signed /= 0) .and. threads >= 1)
    if (info /= FQ_OK) return
    left = code_matrix(a_signed /= 0, a, a_zero, a_scale)
    right = code_matrix(b_signed /= 0, b, b_zero, b_scale)
    call quantized_matmul(left, right, requantization(y_scale, y_zero, y_signed /= 0), y, threads, &
                          info)
  end subroutine fq_quantized_matmul
end module fq_integer_c
