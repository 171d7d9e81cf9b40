!> What a binding looks at before a kernel runs: C and Fortran programs call it, too.
module fq_arguments
  use fq_code_rule, only: code_rule, ROUND_HALF_EVEN, ROUND_STOCHASTIC, SCALE_ABSMAX, &
    SCALE_SIGNED_MAX, SCHEME_MINMAX, SCHEME_SYMMETRIC
  use fq_extents, only: groups_of, packed_bytes
  use fq_kinds, only: i32, i64
  use fq_status, only: FQ_NOT_FITTING, FQ_NOT_KNOWN, FQ_OK
  implicit none (type, external)
  private
  public :: are_ranks, is_given, is_rule, status_of, status_of_codes

contains

  !> What is wrong with extents and codes, FQ_OK if nothing is.
  pure function status_of(extents, fit, known) result(info)
    integer(i64), intent(in) :: extents(:)  !! all that come by value, at least 0
    logical, intent(in) :: fit              !! whether they fit each other
    logical, intent(in) :: known            !! whether codes and numbers are among those there are
    integer(i32) :: info

    info = FQ_OK
    if (.not. known) info = FQ_NOT_KNOWN
    if (any(extents < 0) .or. .not. fit) info = FQ_NOT_FITTING
  end function status_of

  !> What is wrong with the extents of packed codes and of their groups, or with anything else.
  pure function status_of_codes(rows, cols, groups, row_bytes, group_size, bits, fit, known) &
    result(info)
    integer(i64), intent(in) :: rows, cols    !! extents of what is coded
    integer(i64), intent(in) :: groups        !! groups of a row
    integer(i64), intent(in) :: row_bytes     !! bytes of a row of packed codes
    integer(i64), intent(in) :: group_size    !! columns of a group
    integer(i64), intent(in) :: bits          !! bits of a code
    logical, intent(in) :: fit                !! whether other extents fit these
    logical, intent(in) :: known              !! whether other codes and numbers are known
    integer(i32) :: info

    info = status_of([rows, cols, groups, row_bytes, group_size], groups == groups_of(cols, &
      group_size) .and. row_bytes == packed_bytes(cols, bits) .and. fit, &
      bits >= 1 .and. bits <= 16 .and. known)
  end function status_of_codes

  !> Whether an array is there; one without entries need not be.
  pure function is_given(there, extents) result(given)
    logical, intent(in) :: there            !! whether its pointer is not null
    integer(i64), intent(in) :: extents(:)  !! its shape
    logical :: given

    given = there .or. any(extents <= 0)
  end function is_given

  !> Whether each group of a row has an entry of its rank, from 0; the last group may be short.
  pure function are_ranks(ranks, cols, group_size) result(are)
    integer(i64), intent(in) :: ranks(:)          !! of each group
    integer(i64), intent(in) :: cols, group_size  !! entries of a row and of a group
    logical :: are
    integer(i64) :: g

    are = .true.
    do g = 1, size(ranks, kind=i64)
      are = are .and. ranks(g) >= 0 .and. ranks(g) < min(group_size, cols - (g - 1)*group_size)
    end do
  end function are_ranks

  !> Whether a rule is one that kernels know.
  pure function is_rule(rule) result(known)
    type(code_rule), intent(in) :: rule
    logical :: known

    known = rule%bits >= 1 .and. rule%bits <= 16 .and. rule%qmin <= rule%qmax &
      .and. rule%qmin >= -2_i64**15 .and. rule%qmax < 2_i64**16 &
      .and. is_among(rule%scheme, SCHEME_SYMMETRIC, SCHEME_MINMAX) &
      .and. is_among(rule%convention, SCALE_ABSMAX, SCALE_SIGNED_MAX) &
      .and. is_among(rule%rounding, ROUND_HALF_EVEN, ROUND_STOCHASTIC) &
      .and. is_among(rule%reciprocal, 0_i64, 1_i64) .and. is_among(rule%wraps, 0_i64, 1_i64)
  end function is_rule

  pure function is_among(code, first, last) result(known)
    integer(i64), intent(in) :: code, first, last
    logical :: known

    known = code >= first .and. code <= last
  end function is_among
end module fq_arguments
