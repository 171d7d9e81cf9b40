!> C boundary of `fq_prune`: flat arrays, explicit extents, an `info` code.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_prune_c_real32
  use fq_arguments, only: groups_of, is_given, status_of
  use fq_kinds, only: dp, i8, i32, i64, wp => sp
  use fq_prune_real32, only: prune_cut, prune_nm, row_norms
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_prune_cut, fq_prune_nm, fq_row_norms

contains

  subroutine fq_prune_cut(rows, cols, groups, group_size, w, scores, magnitude, threshold, ties, &
    out, mask, kept, threads, info) bind(c, name='fq_prune_cut_f32')
    integer(i64), intent(in), value :: rows, cols, groups, group_size
    integer(i32), intent(in), value :: magnitude, threads
    real(wp), intent(in), optional :: w(cols, rows), scores(cols, rows)
    real(wp), intent(in), optional :: threshold(groups, rows)
    integer(i64), intent(in), optional :: ties(groups, rows)
    real(wp), intent(out), optional :: out(cols, rows)
    integer(i8), intent(out), optional :: mask(cols, rows)
    integer(i64), intent(out), optional :: kept(groups, rows)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [cols, rows])) return
    if (.not. is_given(present(scores), [cols, rows])) return
    if (.not. is_given(present(threshold), [groups, rows])) return
    if (.not. is_given(present(ties), [groups, rows])) return
    if (.not. is_given(present(out), [cols, rows])) return
    if (.not. is_given(present(mask), [cols, rows])) return
    if (.not. is_given(present(kept), [groups, rows])) return
    info = status_of([rows, cols, groups, group_size], &
      groups == groups_of(cols, group_size), &
      threads >= 1)
    if (info /= FQ_OK) return
    call prune_cut(w, scores, magnitude /= 0, group_size, threshold, ties, out, mask, kept, &
      threads, info)
  end subroutine fq_prune_cut

  subroutine fq_prune_nm(rows, cols, w, scores, magnitude, n, m, out, mask, threads, info) &
    bind(c, name='fq_prune_nm_f32')
    integer(i64), intent(in), value :: rows, cols, n, m
    integer(i32), intent(in), value :: magnitude, threads
    real(wp), intent(in), optional :: w(cols, rows), scores(cols, rows)
    real(wp), intent(out), optional :: out(cols, rows)
    integer(i8), intent(out), optional :: mask(cols, rows)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [cols, rows])) return
    if (.not. is_given(present(scores), [cols, rows])) return
    if (.not. is_given(present(out), [cols, rows])) return
    if (.not. is_given(present(mask), [cols, rows])) return
    info = status_of([rows, cols, n, m], &
      .true., &
      m >= 1 .and. m <= 64 .and. n >= 1 .and. n <= m .and. threads >= 1)
    if (info /= FQ_OK) return
    if (min(rows, cols) == 0) return
    call prune_nm(w, scores, magnitude /= 0, n, m, out, mask, threads, info)
  end subroutine fq_prune_nm

  subroutine fq_row_norms(rows, cols, w, order, norms, threads, info) &
    bind(c, name='fq_row_norms_f32')
    integer(i64), intent(in), value :: rows, cols
    integer(i32), intent(in), value :: order, threads
    real(wp), intent(in), optional :: w(cols, rows)
    real(dp), intent(out), optional :: norms(rows)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [cols, rows])) return
    if (.not. is_given(present(norms), [rows])) return
    info = status_of([rows, cols], .true., order >= 0 .and. order <= 2 .and. threads >= 1)
    if (info /= FQ_OK) return
    if (cols == 0) then
      norms = 0
      return
    end if
    call row_norms(w, order, norms, threads, info)
  end subroutine fq_row_norms
end module fq_prune_c_real32
