!> C boundary of `fq_select`; `docs/boundary.md` says what all bindings have in common.
module fq_select_c_real32
  use fq_arguments, only: are_ranks, is_given, status_of
  use fq_extents, only: groups_of, pieces
  use fq_kinds, only: i32, i64, wp => sp
  use fq_select_real32, only: count_digits, count_equal, next_above, select_groups
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_count_digits, fq_count_equal, fq_next_above, fq_select_groups

contains

  !> Add to `counts` how often each digit occurs among scores of a prefix: see `count_digits`.
  subroutine fq_count_digits(n, digits, x, magnitude, prefix, shift, width, counts, threads, info) &
    bind(c, name='fq_count_digits_f32')
    integer(i64), intent(in), value :: n                    !! how many scores
    integer(i64), intent(in), value :: digits               !! `2**width`
    real(wp), intent(in), optional :: x(n)                  !! scores, `(n)`
    integer(i32), intent(in), value :: magnitude            !! 0: as they are; else `|x|`
    integer(i64), intent(in), value :: prefix               !! bits already decided, at least 0
    integer(i32), intent(in), value :: shift                !! lowest bit of the digit, at least 0
    !> Bits of the digit, `1 ... 30`; with `shift` no more than a real has.
    integer(i32), intent(in), value :: width
    integer(i64), intent(inout), optional :: counts(digits)  !! occurrences, `(digits)`
    integer(i32), intent(in), value :: threads              !! threads to use, at least 1
    integer(i32), intent(out) :: info                       !! status code, FQ_NO_MEMORY too

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [n])) return
    if (.not. is_given(present(counts), [digits])) return
    info = status_of([n, digits, prefix], &
      width >= 0 .and. width <= 30 .and. digits == shiftl(1_i64, iand(width, 31_i32)), &
      shift >= 0 .and. width >= 1 .and. shift + width <= storage_size(1.0_wp) .and. threads >= 1)
    if (info /= FQ_OK) return
    call count_digits(x, magnitude /= 0, prefix, shift, width, counts, threads, info)
  end subroutine fq_count_digits

  !> How many scores of each part equal `value`; the last part may be short.
  subroutine fq_count_equal(n, parts, x, magnitude, value, part_size, counts, threads, info) &
    bind(c, name='fq_count_equal_f32')
    integer(i64), intent(in), value :: n                    !! how many scores
    integer(i64), intent(in), value :: parts                !! `ceiling(n/part_size)`, at least 1
    real(wp), intent(in), optional :: x(n)                  !! scores, `(n)`
    integer(i32), intent(in), value :: magnitude            !! 0: as they are; else `|x|`
    real(wp), intent(in), value :: value                    !! the score looked for
    integer(i64), intent(in), value :: part_size            !! scores of a part, `1 ... 2**30`
    integer(i64), intent(out), optional :: counts(parts)    !! equal scores, `(parts)`
    integer(i32), intent(in), value :: threads              !! threads to use, at least 1
    integer(i32), intent(out) :: info                       !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [n])) return
    if (.not. is_given(present(counts), [parts])) return
    info = status_of([n, parts, part_size], parts == groups_of(n, part_size), threads >= 1)
    if (info /= FQ_OK) return
    call count_equal(x, magnitude /= 0, value, part_size, counts, threads)
  end subroutine fq_count_equal

  !> Lower `above` to the smallest score greater than `value`, if there is one below `above`.
  subroutine fq_next_above(n, x, magnitude, value, above, threads, info) &
    bind(c, name='fq_next_above_f32')
    integer(i64), intent(in), value :: n                    !! how many scores
    real(wp), intent(in), optional :: x(n)                  !! scores, `(n)`
    integer(i32), intent(in), value :: magnitude            !! 0: as they are; else `|x|`
    real(wp), intent(in), value :: value                    !! the score to exceed
    real(wp), intent(inout), optional :: above(1)     !! in: an upper bound; out: what is found
    integer(i32), intent(in), value :: threads              !! threads to use, at least 1
    integer(i32), intent(out) :: info                       !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [n])) return
    if (.not. present(above)) return
    info = status_of([n], .true., threads >= 1)
    if (info /= FQ_OK) return
    call next_above(x, magnitude /= 0, value, above(1), threads)
  end subroutine fq_next_above

  !> For each group of each row the score of a given rank, the next one, and how many are smaller.
  subroutine fq_select_groups(rows, cols, groups, group_size, x, magnitude, kth, lower, upper, &
    below, threads, info) bind(c, name='fq_select_groups_f32')
    integer(i64), intent(in), value :: rows                 !! rows of x
    integer(i64), intent(in), value :: cols   !! columns of x, at least 1 if it has rows
    integer(i64), intent(in), value :: groups               !! `ceiling(cols/group_size)`
    integer(i64), intent(in), value :: group_size           !! columns of a group, at least 1
    real(wp), intent(in), optional :: x(cols, rows)         !! scores, `(rows, cols)`
    integer(i32), intent(in), value :: magnitude            !! 0: as they are; else `|x|`
    integer(i64), intent(in), optional :: kth(groups)       !! ranks of entries, from 0, `(groups)`
    real(wp), intent(out), optional :: lower(groups, rows)  !! of that rank, `(rows, groups)`
    real(wp), intent(out), optional :: upper(groups, rows)  !! of the next rank, `(rows, groups)`
    integer(i64), intent(out), optional :: below(groups, rows)  !! below `lower`, `(rows, groups)`
    integer(i32), intent(in), value :: threads              !! threads to use, at least 1
    integer(i32), intent(out) :: info                       !! status code, FQ_NOT_FINITE too

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
