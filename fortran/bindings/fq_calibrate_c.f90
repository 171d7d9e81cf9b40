!> C boundary of `fq_calibrate`; `docs/boundary.md` says what all bindings have in common.
module fq_calibrate_c_real32
  use fq_arguments, only: is_given, is_rule, status_of
  use fq_calibrate_real32, only: calibrate, METHOD_ALS, METHOD_ACIQ, METHOD_HQQ, METHOD_MSE
  use fq_code_rule, only: code_rule
  use fq_extents, only: pieces
  use fq_kinds, only: dp, i32, i64, wp => sp
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_calibrate

contains

  !> Scale, zero point and minimum of each group; without weights those of zeros.
  subroutine fq_calibrate(rows, cols, groups, group_size, w, rule, method, clips, scale, &
    zero_point, minimum, threads, info) bind(c, name='fq_calibrate_f32')
    integer(i64), intent(in), value :: rows, cols               !! extents of w
    integer(i64), intent(in), value :: groups                   !! `ceiling(cols/group_size)`
    integer(i64), intent(in), value :: group_size               !! columns of a group, at least 1
    real(wp), intent(in), optional :: w(cols, rows)             !! weights, `(rows, cols)`
    type(code_rule), intent(in), optional :: rule               !! how reals become codes
    integer(i32), intent(in), value :: method                   !! one of METHOD_...
    real(dp), intent(in), optional :: clips(5)                  !! see `aciq_group`, `(5)`
    real(wp), intent(out), optional :: scale(groups, rows)      !! step of a code, `(rows, groups)`
    integer(i32), intent(out), optional :: zero_point(groups, rows)  !! code of 0, the same shape
    real(wp), intent(out), optional :: minimum(groups, rows)    !! value of code 0, the same shape
    integer(i32), intent(in), value :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info  !! status code, FQ_NOT_FINITE and FQ_NO_MEMORY among them

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [cols, rows])) return
    if (.not. present(clips)) return
    if (.not. is_given(present(scale), [groups, rows])) return
    if (.not. is_given(present(minimum), [groups, rows])) return
    if (.not. is_given(present(zero_point), [groups, rows])) return
    if (.not. present(rule)) return
    info = status_of([rows, cols, groups, group_size], &
      cols == 0 .or. groups == pieces(cols, group_size), &
      is_rule(rule) .and. any(method == [METHOD_MSE, METHOD_ALS, METHOD_ACIQ, METHOD_HQQ]) .and. &
        threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols) == 0) then  ! as of zeros
      scale = 1
      zero_point = 0
      minimum = 0
      return
    end if
    call calibrate(w, rule, method, clips, group_size, scale, zero_point, minimum, threads, info)
  end subroutine fq_calibrate
end module fq_calibrate_c_real32
