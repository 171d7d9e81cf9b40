!> C boundary of `fq_prune`; `docs/boundary.md` says what all bindings have in common.
module fq_prune_c_real32
  use fq_arguments, only: is_given, status_of
  use fq_extents, only: groups_of
  use fq_kinds, only: dp, i8, i32, i64, wp => sp
  use fq_prune_real32, only: prune_cut, prune_nm, row_norms
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_prune_cut, fq_prune_nm, fq_row_norms

contains

  !> Zero the weights whose score is below their group's threshold: see `prune_cut`.
  subroutine fq_prune_cut(rows, cols, groups, group_size, w, scores, magnitude, threshold, ties, &
    out, mask, kept, threads, info) bind(c, name='fq_prune_cut_f32')
    integer(i64), intent(in), value :: rows, cols               !! extents of w
    integer(i64), intent(in), value :: groups      !! `ceiling(cols/group_size)`, at least 1
    integer(i64), intent(in), value :: group_size               !! columns of a group, at least 1
    real(wp), intent(in), optional :: w(cols, rows)             !! weights, `(rows, cols)`
    real(wp), intent(in), optional :: scores(cols, rows)        !! what is ranked, `(rows, cols)`
    integer(i32), intent(in), value :: magnitude                !! 0: as they are; else `|scores|`
    real(wp), intent(in), optional :: threshold(groups, rows)   !! smallest kept, `(rows, groups)`
    integer(i64), intent(in), optional :: ties(groups, rows)    !! equal ones to zero, as threshold
    real(wp), intent(out), optional :: out(cols, rows)          !! pruned weights, `(rows, cols)`
    integer(i8), intent(out), optional :: mask(cols, rows)      !! 1 where kept, else 0, as w
    integer(i64), intent(out), optional :: kept(groups, rows)   !! entries kept, `(rows, groups)`
    integer(i32), intent(in), value :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info                           !! status code, FQ_NOT_FINITE too

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

  !> Keep the `n` highest scores of every `m` consecutive ones of a row: see `prune_nm`.
  subroutine fq_prune_nm(rows, cols, w, scores, magnitude, n, m, out, mask, threads, info) &
    bind(c, name='fq_prune_nm_f32')
    integer(i64), intent(in), value :: rows, cols               !! extents of w
    real(wp), intent(in), optional :: w(cols, rows)             !! weights, `(rows, cols)`
    real(wp), intent(in), optional :: scores(cols, rows)        !! what is ranked, `(rows, cols)`
    integer(i32), intent(in), value :: magnitude                !! 0: as they are; else `|scores|`
    integer(i64), intent(in), value :: n                        !! entries kept, `1 ... m`
    integer(i64), intent(in), value :: m                        !! entries of a block, `1 ... 64`
    real(wp), intent(out), optional :: out(cols, rows)          !! pruned weights, `(rows, cols)`
    integer(i8), intent(out), optional :: mask(cols, rows)      !! 1 where kept, else 0, as w
    integer(i32), intent(in), value :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info                           !! status code, FQ_NOT_FINITE too

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

  !> Norm of each row, in float64; of an empty row 0.
  subroutine fq_row_norms(rows, cols, w, order, norms, threads, info) &
    bind(c, name='fq_row_norms_f32')
    integer(i64), intent(in), value :: rows, cols               !! extents of w
    real(wp), intent(in), optional :: w(cols, rows)             !! weights, `(rows, cols)`
    integer(i32), intent(in), value :: order                    !! 1, 2, or 0 for the maximum
    real(dp), intent(out), optional :: norms(rows)              !! norm of each row, `(rows)`
    integer(i32), intent(in), value :: threads                  !! threads to use, at least 1
    integer(i32), intent(out) :: info                           !! status code, FQ_NOT_FINITE too

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
