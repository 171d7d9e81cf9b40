!> Codes that stand for the levels of a table; see `fq_codebook_fit` for tables that fit data, and
!> `fq_codebook_scales` for scales.
!>
!> Python: `pyfq/arrays/codebook.py`.  Reference: `pyfq/reference/arrays/codebook.py`.
module fq_codebook_real32
  use fq_extents, only: groups_of, packed_bytes
  use fq_kinds, only: i8, i32, i64, wp => sp
  use fq_levels_real32, only: find_middles, find_peak, place_run
  use fq_pack_bits, only: pack_run, unpack_run
  use fq_precondition, only: CHECKED, require
  use fq_status, only: FQ_OK
  use fq_work_size, only: SMALL_WORK
  implicit none (type, external)
  private
  public :: dequantize_codebook, quantize_codebook

  integer(i64), parameter :: RUN = 512          ! codes held unpacked at a time, in L1

contains

  !> Packed codes of the nearest levels: the number of middles between neighbouring levels that are
  !> less than `w/scale`.  Weights of a group whose scale is 0 come back as zeros.
  !>
  !> *Preconditions*: `group_size >= 1`; `groups == max(1, ceiling(cols/group_size))`; levels
  !> ascend; `levels(:, 1)` is for all rows, or there is a table a row; `row_bytes ==
  !> ceiling(cols*bits/8)`.
  subroutine quantize_codebook(w, bits, group_size, levels, finds_scale, scale, packed, threads, &
    info)
    real(wp), intent(in), contiguous :: w(:, :)         !! weights, `(cols, rows)`
    integer(i32), intent(in) :: bits                    !! bits of a code, `1 ... 8`
    integer(i64), intent(in) :: group_size              !! columns of a group
    real(wp), intent(in), contiguous :: levels(:, :)    !! tables, `(2 ... 256, 1 or rows)`
    logical, intent(in) :: finds_scale                  !! scales are largest magnitudes
    real(wp), intent(inout), contiguous :: scale(:, :)  !! scale of a group, `(groups, rows)`
    integer(i8), intent(out), contiguous :: packed(:, :)  !! codes, `(row_bytes, rows)`
    integer(i32), intent(in) :: threads                 !! threads to use, at least 1
    integer(i32), intent(out) :: info                   !! status code
    real(wp) :: middles(255)
    integer(i64) :: r, g, first, last
    integer(i32) :: state

    if (CHECKED) call require_table('quantize_codebook', shape(w, kind=i64), bits, group_size, &
      levels, scale, packed)
    if (CHECKED) call require(all(levels(:size(levels, 1) - 1, :) <= levels(2:, :)), &
      'quantize_codebook: levels ascend')
    info = FQ_OK
    !$omp parallel do default(none) private(middles, g, first, last, state) schedule(static) &
    !$omp reduction(max: info) num_threads(threads) if(size(w, kind=i64) > SMALL_WORK) &
    !$omp shared(w, bits, group_size, levels, finds_scale, scale, packed)
    do r = 1, size(w, 2, kind=i64)
      call find_middles(levels(:, min(r, size(levels, 2, kind=i64))), middles)
      state = FQ_OK
      do g = 1, size(scale, 1, kind=i64)
        first = (g - 1)*group_size + 1
        last = min(g*group_size, size(w, 1, kind=i64))
        call find_peak(last - first + 1, w(first:last, r), finds_scale, scale(g, r), state)
      end do
      if (state == FQ_OK) call encode_row(w(:, r), bits, group_size, size(levels, 1), middles, &
        scale(:, r), packed(:, r))
      info = max(info, state)
    end do
  end subroutine quantize_codebook

  !> Reals from packed codes: `levels(code)*scale`.
  !>
  !> *Preconditions*: as `quantize_codebook`, but levels need not ascend; codes are less than the
  !> number of levels.
  subroutine dequantize_codebook(packed, bits, group_size, levels, scale, out, threads)
    integer(i8), intent(in), contiguous :: packed(:, :)  !! codes, `(row_bytes, rows)`
    integer(i32), intent(in) :: bits                     !! bits of a code, `1 ... 8`
    integer(i64), intent(in) :: group_size               !! columns of a group
    real(wp), intent(in), contiguous :: levels(:, :)     !! tables, `(2 ... 256, 1 or rows)`
    real(wp), intent(in), contiguous :: scale(:, :)      !! scale of a group, `(groups, rows)`
    real(wp), intent(out), contiguous :: out(:, :)       !! reals, `(cols, rows)`
    integer(i32), intent(in) :: threads                  !! threads to use, at least 1
    integer(i64) :: r

    if (CHECKED) call require_table('dequantize_codebook', shape(out, kind=i64), bits, group_size, &
      levels, scale, packed)
    !$omp parallel do default(none) schedule(static) num_threads(threads) &
    !$omp if(size(out, kind=i64) > SMALL_WORK) shared(packed, bits, group_size, levels, scale, out)
    do r = 1, size(out, 2, kind=i64)
      call decode_row(packed(:, r), bits, group_size, levels(:, min(r, size(levels, 2, &
        kind=i64))), scale(:, r), out(:, r))
    end do
  end subroutine dequantize_codebook

  !> What both directions expect of their arrays.
  pure subroutine require_table(caller, extents, bits, group_size, levels, scale, packed)
    character(*), intent(in) :: caller
    integer(i64), intent(in) :: extents(2), group_size
    integer(i32), intent(in) :: bits
    real(wp), intent(in), contiguous :: levels(:, :), scale(:, :)
    integer(i8), intent(in), contiguous :: packed(:, :)

    if (.not. CHECKED) return
    call require(size(scale, 1, kind=i64) == groups_of(extents(1), group_size), caller &
      //': groups == max(1, ceiling(cols/group_size))')
    call require(size(packed, 1, kind=i64) == packed_bytes(extents(1), int(bits, i64)), caller &
      //': row_bytes == ceiling(cols*bits/8)')
    call require(any(size(levels, 2, kind=i64) == [1_i64, extents(2)]), caller &
      //': one table, or one a row')
  end subroutine require_table

  !> Codes of a row.
  pure subroutine encode_row(w, bits, group_size, count, middles, scale, packed)
    real(wp), intent(in), contiguous :: w(:), scale(:)
    integer(i32), intent(in) :: bits
    integer(i64), intent(in) :: group_size
    integer, intent(in) :: count
    real(wp), intent(in) :: middles(255)
    integer(i8), intent(out), contiguous :: packed(:)
    integer(i32) :: codes(RUN)
    integer(i64) :: start, finish, from, to, g

    do start = 1, size(w, kind=i64), RUN
      finish = min(start + RUN - 1, size(w, kind=i64))
      from = start
      do while (from <= finish)
        g = (from - 1)/group_size + 1
        to = min(finish, g*group_size)
        call place_values(w(from:to), count, middles, scale(g), codes(from - start + 1:to - start &
          + 1))
        from = to + 1
      end do
      call pack_run(codes(1:finish - start + 1), bits, packed((start - 1)*bits/8 + 1:(finish*bits &
        + 7)/8))
    end do
  end subroutine encode_row

  !> Codes of values that share a scale.
  pure subroutine place_values(w, count, middles, scale, codes)
    real(wp), intent(in), contiguous :: w(:)
    integer, intent(in) :: count
    real(wp), intent(in) :: middles(255), scale
    integer(i32), intent(out), contiguous :: codes(:)
    real(wp) :: x(RUN)
    integer(i64) :: i

    do i = 1, size(w, kind=i64)
      x(i) = w(i)/scale
    end do
    call place_run(size(w, kind=i64), x, count, middles, codes)
  end subroutine place_values

  !> Reals of a row.
  pure subroutine decode_row(packed, bits, group_size, levels, scale, out)
    integer(i8), intent(in), contiguous :: packed(:)
    integer(i32), intent(in) :: bits
    integer(i64), intent(in) :: group_size
    real(wp), intent(in), contiguous :: levels(:), scale(:)
    real(wp), intent(out), contiguous :: out(:)
    integer(i32) :: codes(RUN)
    integer(i64) :: start, finish, from, to, g, i

    do start = 1, size(out, kind=i64), RUN
      finish = min(start + RUN - 1, size(out, kind=i64))
      call unpack_run(packed((start - 1)*bits/8 + 1:(finish*bits + 7)/8), bits, .false., &
        codes(1:finish - start + 1))
      if (CHECKED) call require(all(codes(1:finish - start + 1) < size(levels)), &
        'dequantize_codebook: codes are less than the number of levels')
      from = start
      do while (from <= finish)
        g = (from - 1)/group_size + 1
        to = min(finish, g*group_size)
        do i = from, to
          out(i) = levels(codes(i - start + 1) + 1)*scale(g)
        end do
        from = to + 1
      end do
    end do
  end subroutine decode_row
end module fq_codebook_real32
