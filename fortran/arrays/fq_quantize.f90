!> Uniform quantization to 1 ... 16 bits, and back.
!>
!> Python: `pyfq/arrays/quantize.py`.  Reference: `pyfq/reference/arrays/quantize.py`.
module fq_quantize_real32
  use fq_code_rule, only: code_rule
  use fq_code_step_real32, only: find_step, range_run
  use fq_encode_real32, only: decode_columns, encode_columns
  use fq_extents, only: groups_of, packed_bytes, pieces
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_precondition, only: CHECKED, require
  use fq_status, only: FQ_OK
  use fq_work_size, only: SMALL_WORK
  implicit none (type, external)
  private
  public :: dequantize, quantize, quantize_given, quantize_range, quantize_step

  integer(i64), parameter :: TILE = 4096  ! columns of a task; a multiple of 8 ends on a byte

contains

  !> Scale, zero point, minimum and packed codes of a tensor: each row in one go, while it is in
  !> cache.
  !>
  !> *Preconditions*: `group_size >= 1`; `groups == max(1, ceiling(cols/group_size))`; `row_bytes ==
  !> ceiling(cols*bits/8)`; `1 <= bits <= 16`.
  subroutine quantize(w, rule, group_size, scale, zero_point, minimum, packed, threads, info)
    real(wp), intent(in), contiguous :: w(:, :)                !! weights, `(cols, rows)`
    type(code_rule), intent(in) :: rule                        !! how reals become codes
    integer(i64), intent(in) :: group_size                     !! columns of a group
    real(wp), intent(out), contiguous :: scale(:, :)           !! step of a code, `(groups, rows)`
    integer(i32), intent(out), contiguous :: zero_point(:, :)  !! code of 0, `(groups, rows)`
    real(wp), intent(out), contiguous :: minimum(:, :)         !! value of code 0, `(groups, rows)`
    integer(i8), intent(out), contiguous :: packed(:, :)       !! codes, `(row_bytes, rows)`
    integer(i32), intent(in) :: threads                        !! threads to use, at least 1
    integer(i32), intent(out) :: info                          !! status code
    real(wp) :: low, high, peak
    integer(i64) :: r, g, last
    integer(i32) :: state

    if (CHECKED) then
      call require(size(scale, 1, kind=i64) == groups_of(size(w, 1, kind=i64), group_size), &
        'quantize: groups == max(1, ceiling(cols/group_size))')
      call require(size(packed, 1, kind=i64) == packed_bytes(size(w, 1, kind=i64), &
        rule%bits), 'quantize: row_bytes == ceiling(cols*bits/8)')
    end if
    info = FQ_OK
    !$omp parallel do default(none) private(low, high, peak, g, last, state) reduction(max: info) &
    !$omp shared(w, rule, group_size, scale, zero_point, minimum, packed) &
    !$omp schedule(static) num_threads(threads) if(size(w, kind=i64) > SMALL_WORK)
    do r = 1, size(w, 2, kind=i64)
      state = FQ_OK
      do g = 1, size(scale, 1, kind=i64)
        last = min(g*group_size, size(w, 1, kind=i64))
        call range_run(w((g - 1)*group_size + 1:last, r), low, high, peak, state)
        call find_step(low, high, peak, rule, scale(g, r), zero_point(g, r), minimum(g, r))
      end do
      if (state == FQ_OK) then
        call encode_columns(w(:, r), 1_i64, (r - 1)*size(w, 1, kind=i64), rule, group_size, &
          scale(:, r), zero_point(:, r), minimum(:, r), packed(:, r))
      end if
      info = max(info, state)
    end do
  end subroutine quantize

  !> Smallest and largest value of each group, and its first value of largest magnitude.
  !>
  !> *Preconditions*: `group_size >= 1`; `groups == ceiling(cols/group_size)`; no group is empty.
  subroutine quantize_range(w, group_size, low, high, peak, threads, info)
    real(wp), intent(in), contiguous :: w(:, :)      !! weights, `(cols, rows)`
    integer(i64), intent(in) :: group_size           !! columns of a group
    real(wp), intent(out), contiguous :: low(:, :)   !! minimum, `(groups, rows)`
    real(wp), intent(out), contiguous :: high(:, :)  !! maximum, `(groups, rows)`
    real(wp), intent(out), contiguous :: peak(:, :)  !! first of largest magnitude, `(groups, rows)`
    integer(i32), intent(in) :: threads              !! threads to use, at least 1
    integer(i32), intent(out) :: info                !! status code
    integer(i64) :: k, r, g, groups, last
    integer(i32) :: state

    if (CHECKED) then
      call require(size(low, 1, kind=i64) == pieces(size(w, 1, kind=i64), group_size), &
        'quantize_range: groups == ceiling(cols/group_size)')
    end if
    groups = size(low, 1, kind=i64)
    info = FQ_OK
    !$omp parallel do default(none) private(r, g, last, state) reduction(max: info) &
    !$omp shared(w, group_size, low, high, peak, groups) &
    !$omp schedule(static) num_threads(threads) if(size(w, kind=i64) > SMALL_WORK)
    do k = 0, size(low, kind=i64) - 1
      r = k/groups + 1
      g = mod(k, groups) + 1
      last = min(g*group_size, size(w, 1, kind=i64))
      state = FQ_OK
      call range_run(w((g - 1)*group_size + 1:last, r), low(g, r), high(g, r), peak(g, r), state)
      info = max(info, state)
    end do
  end subroutine quantize_range

  !> Scale, zero point and minimum of groups whose range is known.
  pure subroutine quantize_step(low, high, peak, rule, scale, zero_point, minimum)
    real(wp), intent(in), contiguous :: low(:)             !! minimum, `(groups)`
    real(wp), intent(in), contiguous :: high(:)            !! maximum, `(groups)`
    real(wp), intent(in), contiguous :: peak(:)            !! first of largest magnitude, `(groups)`
    type(code_rule), intent(in) :: rule                    !! how reals become codes
    real(wp), intent(out), contiguous :: scale(:)          !! step of a code, `(groups)`
    integer(i32), intent(out), contiguous :: zero_point(:)  !! code of 0, `(groups)`
    real(wp), intent(out), contiguous :: minimum(:)        !! value of code 0, `(groups)`
    integer(i64) :: g

    do g = 1, size(low, kind=i64)
      call find_step(low(g), high(g), peak(g), rule, scale(g), zero_point(g), minimum(g))
    end do
  end subroutine quantize_step

  !> Packed codes of a tensor whose scales are given.
  !>
  !> *Preconditions*: `group_size >= 1`; `groups == max(1, ceiling(cols/group_size))`; `row_bytes ==
  !> ceiling(cols*bits/8)`; `1 <= bits <= 16`.
  subroutine quantize_given(w, rule, group_size, scale, zero_point, minimum, packed, threads, info)
    real(wp), intent(in), contiguous :: w(:, :)               !! weights, `(cols, rows)`
    type(code_rule), intent(in) :: rule                       !! how reals become codes
    integer(i64), intent(in) :: group_size                    !! columns of a group
    real(wp), intent(in), contiguous :: scale(:, :)           !! step of a code, `(groups, rows)`
    integer(i32), intent(in), contiguous :: zero_point(:, :)  !! code of 0, `(groups, rows)`
    real(wp), intent(in), contiguous :: minimum(:, :)         !! value of code 0, `(groups, rows)`
    integer(i8), intent(out), contiguous :: packed(:, :)      !! codes, `(row_bytes, rows)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i32), intent(out) :: info                         !! status code
    integer(i64) :: k, r, tiles, first, last, cols
    real(wp) :: low, high, peak
    integer(i32) :: state

    if (CHECKED) then
      call require(size(scale, 1, kind=i64) == groups_of(size(w, 1, kind=i64), group_size), &
        'quantize_given: groups == max(1, ceiling(cols/group_size))')
      call require(size(packed, 1, kind=i64) == packed_bytes(size(w, 1, kind=i64), &
        rule%bits), 'quantize_given: row_bytes == ceiling(cols*bits/8)')
    end if
    cols = size(w, 1, kind=i64)
    tiles = (cols + TILE - 1)/TILE
    info = FQ_OK
    !$omp parallel do default(none) private(r, first, last, low, high, peak, state) &
    !$omp reduction(max: info) &
    !$omp shared(w, rule, group_size, scale, zero_point, minimum, packed, tiles, cols) &
    !$omp schedule(static) num_threads(threads) if(size(w, kind=i64) > SMALL_WORK)
    do k = 0, tiles*size(w, 2, kind=i64) - 1
      r = k/tiles + 1
      first = mod(k, tiles)*TILE + 1
      last = min(first + TILE - 1, cols)
      state = FQ_OK
      call range_run(w(first:last, r), low, high, peak, state)
      if (state == FQ_OK) then
        call encode_columns(w(first:last, r), first, (r - 1)*cols + first - 1, rule, group_size, &
          scale(:, r), zero_point(:, r), minimum(:, r), &
          packed((first - 1)*rule%bits/8 + 1:(last*rule%bits + 7)/8, r))
      end if
      info = max(info, state)
    end do
  end subroutine quantize_given

  !> Reals from packed codes: `minimum + (code - zero_point)*scale`, at most the largest finite
  !> real.
  !>
  !> *Preconditions*: `group_size >= 1`; `groups == max(1, ceiling(cols/group_size))`; `row_bytes ==
  !> ceiling(cols*bits/8)`; `1 <= bits <= 16`.
  subroutine dequantize(packed, bits, signed, group_size, scale, zero_point, minimum, out, threads)
    integer(i8), intent(in), contiguous :: packed(:, :)       !! codes, `(row_bytes, rows)`
    integer(i32), intent(in) :: bits                          !! bits of a code, `1 ... 16`
    logical, intent(in) :: signed                             !! codes are two's complement
    integer(i64), intent(in) :: group_size                    !! columns of a group
    real(wp), intent(in), contiguous :: scale(:, :)           !! step of a code, `(groups, rows)`
    integer(i32), intent(in), contiguous :: zero_point(:, :)  !! code of 0, `(groups, rows)`
    real(wp), intent(in), contiguous :: minimum(:, :)         !! value of code 0, `(groups, rows)`
    real(wp), intent(out), contiguous :: out(:, :)            !! reals, `(cols, rows)`
    integer(i32), intent(in) :: threads                       !! threads to use, at least 1
    integer(i64) :: k, r, tiles, first, last, cols

    if (CHECKED) then
      call require(size(scale, 1, kind=i64) == groups_of(size(out, 1, kind=i64), group_size), &
        'dequantize: groups == max(1, ceiling(cols/group_size))')
      call require(size(packed, 1, kind=i64) == packed_bytes(size(out, 1, kind=i64), &
        int(bits, i64)), 'dequantize: row_bytes == ceiling(cols*bits/8)')
    end if
    cols = size(out, 1, kind=i64)
    tiles = (cols + TILE - 1)/TILE
    !$omp parallel do default(none) private(r, first, last) &
    !$omp shared(packed, bits, signed, group_size, scale, zero_point, minimum, out, tiles, cols) &
    !$omp schedule(static) num_threads(threads) if(size(out, kind=i64) > SMALL_WORK)
    do k = 0, tiles*size(out, 2, kind=i64) - 1
      r = k/tiles + 1
      first = mod(k, tiles)*TILE + 1
      last = min(first + TILE - 1, cols)
      call decode_columns(packed((first - 1)*bits/8 + 1:(last*bits + 7)/8, r), bits, signed, &
        first, group_size, scale(:, r), zero_point(:, r), minimum(:, r), out(first:last, r))
    end do
  end subroutine dequantize
end module fq_quantize_real32
