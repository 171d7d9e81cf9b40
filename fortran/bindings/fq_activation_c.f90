!> C boundary of `fq_activation`; `docs/boundary.md` says what all bindings have in common.
module fq_activation_c_real32
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: is_given, status_of
  use fq_kinds, only: i32, i64, wp => sp
  use fq_activation_real32, only: activate
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_activate

contains

  !> An activation function of every row.
  subroutine fq_activate(cols, rows, activation, slope, x, y, threads, info) &
    bind(c, name='fq_activate_f32')
    integer(i64), intent(in), value :: cols, rows       !! extents of x
    integer(i32), intent(in), value :: activation       !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope                !! parameter of the activation
    real(wp), intent(in), optional :: x(cols, rows)     !! arguments, `(rows, cols)`
    real(wp), intent(out), optional :: y(cols, rows)    !! values, `(rows, cols)`
    integer(i32), intent(in), value :: threads          !! threads to use, at least 1
    integer(i32), intent(out) :: info                   !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [cols, rows])) return
    if (.not. is_given(present(y), [cols, rows])) return
    info = status_of([cols, rows], .true., is_activation(activation) .and. threads >= 1)
    if (info /= FQ_OK .or. min(rows, cols) == 0) return
    call activate(activation, slope, x, y, threads)
  end subroutine fq_activate
end module fq_activation_c_real32
