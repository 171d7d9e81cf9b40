!> C boundary of `fq_integer`; `docs/boundary.md` says what all bindings have in common.
!>
!> Unsigned codes `0 ... 255` are in the bytes that signed ones would be in.
module fq_integer_c
  use fq_arguments, only: is_given, status_of
  use fq_integer, only: code_matrix, matmul_integer, quantized_matmul, requantization
  use fq_kinds, only: i8, i32, i64, sp
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_matmul_integer, fq_quantized_matmul

contains

  !> `sums = (a - a_zero) (b - b_zero)`, modulo 2**32 where that does not fit.
  subroutine fq_matmul_integer(m, n, k, a, a_signed, a_zero, b, b_signed, b_zero, sums, threads, &
                               info) bind(c, name='fq_matmul_integer_i8')
    integer(i64), intent(in), value :: m, n, k          !! rows, columns; what is summed over
    integer(i8), intent(in), optional, target :: a(k, m)        !! left codes, `(m, k)`
    integer(i32), intent(in), value :: a_signed                 !! 0: codes of a are unsigned
    integer(i32), intent(in), optional, target :: a_zero(m)     !! zero points of rows, `(m)`
    integer(i8), intent(in), optional, target :: b(n, k)        !! right codes, `(k, n)`
    integer(i32), intent(in), value :: b_signed                 !! 0: codes of b are unsigned
    integer(i32), intent(in), optional, target :: b_zero(n)     !! zero points of columns, `(n)`
    integer(i32), intent(out), optional :: sums(n, m)           !! product, `(m, n)`
    integer(i32), intent(in), value :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info                           !! status code, FQ_NO_MEMORY too
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

  !> The same product as codes of another scale: see `quantized_matmul`.
  subroutine fq_quantized_matmul(m, n, k, a, a_signed, a_scale, a_zero, b, b_signed, b_scale, &
                                 b_zero, y_scale, y_zero, y_signed, y, threads, info) &
    bind(c, name='fq_quantized_matmul_i8')
    integer(i64), intent(in), value :: m, n, k          !! rows, columns; what is summed over
    integer(i8), intent(in), optional, target :: a(k, m)        !! left codes, `(m, k)`
    integer(i32), intent(in), value :: a_signed                 !! 0: codes of a are unsigned
    real(sp), intent(in), optional, target :: a_scale(m)        !! steps of rows of a, `(m)`
    integer(i32), intent(in), optional, target :: a_zero(m)     !! zero points of rows, `(m)`
    integer(i8), intent(in), optional, target :: b(n, k)        !! right codes, `(k, n)`
    integer(i32), intent(in), value :: b_signed                 !! 0: codes of b are unsigned
    real(sp), intent(in), optional, target :: b_scale(n)        !! steps of columns of b, `(n)`
    integer(i32), intent(in), optional, target :: b_zero(n)     !! zero points of columns, `(n)`
    real(sp), intent(in), value :: y_scale                      !! step of the result, above 0
    integer(i32), intent(in), value :: y_zero                   !! its zero point, in its range
    integer(i32), intent(in), value :: y_signed                 !! 0: codes of y are unsigned
    integer(i8), intent(out), optional :: y(n, m)               !! codes of the product, `(m, n)`
    integer(i32), intent(in), value :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info                           !! status code, FQ_NO_MEMORY too
    type(code_matrix) :: left, right

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(a), [k, m])) return
    if (.not. is_given(present(b), [n, k])) return
    if (.not. is_given(present(a_scale), [m])) return
    if (.not. is_given(present(b_scale), [n])) return
    if (.not. is_given(present(a_zero), [m])) return
    if (.not. is_given(present(b_zero), [n])) return
    if (.not. is_given(present(y), [n, m])) return
    info = status_of([m, n, k], .true., y_scale > 0 .and. is_byte(y_zero, y_signed) .and. &
      threads >= 1)
    if (info /= FQ_OK) return
    left = code_matrix(a_signed /= 0, a, a_zero, a_scale)
    right = code_matrix(b_signed /= 0, b, b_zero, b_scale)
    call quantized_matmul(left, right, requantization(y_scale, y_zero, y_signed /= 0), y, threads, &
                          info)
  end subroutine fq_quantized_matmul

  !> Whether a code is one of 8 bits.
  pure function is_byte(code, signed) result(is)
    integer(i32), intent(in) :: code      !! the code
    integer(i32), intent(in) :: signed    !! 0: codes are unsigned
    logical :: is

    is = code >= merge(0, -128, signed == 0) .and. code <= merge(255, 127, signed == 0)
  end function is_byte
end module fq_integer_c
