!> C boundary of `fq_select`: flat arrays, explicit extents, an `info` code.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_select_c_real32
  use fq_arguments, only: are_ranks, groups_of, is_given, pieces, status_of
  use fq_kinds, only: i32, i64, wp => sp
  use fq_select_real32, only: count_digits, count_equal, next_above, select_groups
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_count_digits, fq_count_equal, fq_next_above, fq_select_groups

contains

  subroutine fq_count_digits(n, digits, x, magnitude, prefix, shift, width, counts, threads, info) &
    bind(c, name='fq_count_digits_f32')
    integer(i64), intent(in), value :: n, digits, prefix
    integer(i32), intent(in), value :: magnitude, shift, width, threads
    real(wp), intent(in), optional :: x(n)
    integer(i64), intent(inout), optional :: counts(digits)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [n])) return
    if (.not. is_given(present(counts), [digits])) return
    info = status_of([n, digits, prefix], &
      width >= 0 .and. width <= 30 .and. digits == shiftl(1_i64, iand(width, 31_i32)), &
      shift >= 0 .and. width >= 1 .and. shift + width <= storage_size(1.0_wp) .and. threads >= 1)
    if (info /= FQ_OK) return
    call count_digits(x, magnitude /= 0, prefix, shift, width, counts, threads, info)
  end subroutine fq_count_digits

  subroutine fq_count_equal(n, parts, x, magnitude, value, part_size, counts, threads, info) &
    bind(c, name='fq_count_equal_f32')
    integer(i64), intent(in), value :: n, parts, part_size
    integer(i32), intent(in), value :: magnitude, threads
    real(wp), intent(in), optional :: x(n)
    real(wp), intent(in), value :: value
    integer(i64), intent(out), optional :: counts(parts)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [n])) return
    if (.not. is_given(present(counts), [parts])) return
    info = status_of([n, parts, part_size], parts == groups_of(n, part_size), threads >= 1)
    if (info /= FQ_OK) return
    call count_equal(x, magnitude /= 0, value, part_size, counts, threads)
  end subroutine fq_count_equal

  subroutine fq_next_above(n, x, magnitude, value, above, threads, info) &
    bind(c, name='fq_next_above_f32')
    integer(i64), intent(in), value :: n
    integer(i32), intent(in), value :: magnitude, threads
    real(wp), intent(in), optional :: x(n)
    real(wp), intent(in), value :: value
    real(wp), intent(inout), optional :: above(1)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [n])) return
    if (.not. present(above)) return
    info = status_of([n], .true., threads >= 1)
    if (info /= FQ_OK) return
    call next_above(x, magnitude /= 0, value, above(1), threads)
  end subroutine fq_next_above

  subroutine fq_select_groups(rows, cols, groups, group_size, x, magnitude, kth, lower, upper, &
    below, threads, info) bind(c, name='fq_select_groups_f32')
    integer(i64), intent(in), value :: rows, cols, groups, group_size
    integer(i32), intent(in), value :: magnitude, threads
    real(wp), intent(in), optional :: x(cols, rows)
    integer(i64), intent(in), optional :: kth(groups)
    real(wp), intent(out), optional :: lower(groups, rows), upper(groups, rows)
    integer(i64), intent(out), optional :: below(groups, rows)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [cols, rows])) return
    if (.not. is_given(present(kth), [groups])) return
    if (.not. is_given(present(lower), [groups, rows])) return
    if (.not. is_given(present(upper), [groups, rows])) return
    if (.not. is_given(present(below), [groups, rows])) return
    info = status_of([rows, cols, groups, group_size], &
      rows == 0 .or. (cols >= 1 .and. groups == pieces(cols, group_size)), &
      are_ranks(kth, cols, group_size) .and. threads >= 1)
    if (info /= FQ_OK) return
    if (rows == 0) return
    call select_groups(x, magnitude /= 0, group_size, kth, lower, upper, below, threads, info)
  end subroutine fq_select_groups
end module fq_select_c_real32
