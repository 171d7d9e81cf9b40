!> Scales of groups that lose least with the levels of a table.
module fq_codebook_scales_real32
  use fq_extents, only: pieces
  use fq_kinds, only: dp, i32, i64, wp => sp
  use fq_levels_real32, only: FEW_LEVELS, find_middles, find_peak, MOST_LEVELS, place_run
  use fq_precondition, only: CHECKED, require
  use fq_status, only: FQ_OK
  use fq_work_size, only: SMALL_RANKING
  implicit none (type, external)
  private
  public :: calibrate_codebook

  integer(i64), parameter :: RUN = 512          ! values looked at together, in L1
  integer, parameter :: LANES = 16              ! partial sums of a run, see fq_lane_sum.inc
  ! Scales to try, over the largest magnitude: outliers of long groups are worth clipping.
  real(wp), parameter :: FACTORS(16) = [0.3_wp, 0.4_wp, 0.5_wp, 0.6_wp, 0.65_wp, 0.7_wp, 0.75_wp, &
    0.8_wp, 0.85_wp, 0.9_wp, 0.95_wp, 1.0_wp, 1.05_wp, 1.1_wp, 1.2_wp, 1.3_wp]
  integer, parameter :: POLISHES = 2            ! least-squares steps from the best of them
  integer(i64), parameter :: MOST_GROUPS = 32   ! searched together, if a run holds them

  ! What the search of all scales needs of a table; behind its levels are zeros that none is near.
  type :: search_table
    real(wp) :: levels(MOST_LEVELS), middles(255)
    real(wp) :: bounds(255, size(FACTORS))      ! middles times each factor
    real(wp) :: most                            ! the largest scale that lets no level overflow
    integer :: count
  end type search_table

contains

  !> The scale of each group that loses least with the levels of a table, of those that a search
  !> meets: codes of 16 scales from 0.3 to 1.3 of the largest magnitude, the least-squares scale of
  !> each, and two steps more from the best, codes and scale in turn.
  !>
  !> Over the largest magnitude, all groups are compared with the same bounds.  So short groups are
  !> searched many at a time, and what a loop over a run costs to start is shared by them.
  !>
  !> *Preconditions*: `group_size >= 1`; `groups == ceiling(cols/group_size)`; no group is empty;
  !> levels ascend.
  subroutine calibrate_codebook(w, group_size, levels, scale, threads, info)
    real(wp), intent(in), contiguous :: w(:, :)       !! weights, `(cols, rows)`
    integer(i64), intent(in) :: group_size            !! columns of a group
    real(wp), intent(in), contiguous :: levels(:)     !! table, `(2 ... 256)`
    real(wp), intent(out), contiguous :: scale(:, :)  !! scale of a group, `(groups, rows)`
    integer(i32), intent(in) :: threads               !! threads to use, at least 1
    integer(i32), intent(out) :: info                 !! status code
    type(search_table) :: table
    real(wp) :: found(MOST_GROUPS)
    integer(i64) :: ends(0:MOST_GROUPS), batch, before, count, groups, g
    integer(i32) :: state

    if (CHECKED) then
      call require(size(scale, 1, kind=i64) == pieces(size(w, 1, kind=i64), group_size), &
        'calibrate_codebook: groups == ceiling(cols/group_size)')
      call require(all(levels(:size(levels) - 1) <= levels(2:)), &
        'calibrate_codebook: levels ascend')
    end if
    call find_table(levels, table)
    groups = size(scale, 1, kind=i64)
    batch = min(MOST_GROUPS, max(1_i64, RUN/min(group_size, size(w, 1, kind=i64))))
    info = FQ_OK
    !$omp parallel do default(none) private(found, ends, count, g, state) reduction(max: info) &
    !$omp shared(w, group_size, scale, table, groups, batch) schedule(static) &
    !$omp num_threads(threads) if(size(w, kind=i64) > SMALL_RANKING)
    do before = 0, size(scale, kind=i64) - 1, batch
      count = min(batch, size(scale, kind=i64) - before)
      call find_ends(before, size(w, 1, kind=i64), group_size, groups, ends(0:count))
      state = FQ_OK
      call calibrate_groups(size(w, kind=i64), w, ends(0:count), table, found(1:count), state)
      do g = 0, count - 1
        scale(mod(before + g, groups) + 1, (before + g)/groups + 1) = found(g + 1)
      end do
      info = max(info, state)
    end do
  end subroutine calibrate_codebook

  !> What the search needs of a table.
  pure subroutine find_table(levels, table)
    real(wp), intent(in), contiguous :: levels(:)
    type(search_table), intent(inout) :: table
    integer :: f

    table%count = size(levels)
    table%levels = 0
    table%levels(1:table%count) = levels
    call find_middles(levels, table%middles)
    table%bounds = huge(table%bounds)
    do f = 1, size(FACTORS)
      table%bounds(1:table%count - 1, f) = table%middles(1:table%count - 1)*FACTORS(f)
    end do
    table%most = huge(table%most)/max(1.0_wp, maxval(abs(levels)))
  end subroutine find_table

  !> Where groups end in the memory of all rows, where each follows the one before, from the end of
  !> that before the first.
  pure subroutine find_ends(before, cols, group_size, groups, ends)
    integer(i64), intent(in) :: before, cols, group_size, groups  ! of all; columns, groups of a row
    integer(i64), intent(inout), contiguous :: ends(0:)
    integer(i64) :: g, row, place

    do g = 0, size(ends, kind=i64) - 1
      row = (before + g)/groups
      place = before + g - row*groups
      ends(g) = row*cols + min(place*group_size, cols)
    end do
  end subroutine find_ends

  !> `calibrate_codebook` of groups that one run holds, or of one group; the largest magnitude, 1
  !> for zeros, if no scale beats it.
  pure subroutine calibrate_groups(n, w, ends, table, scale, info)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: w(n)                      ! of all rows
    integer(i64), intent(in), contiguous :: ends(0:)  ! where these groups end
    type(search_table), intent(in) :: table
    real(wp), intent(inout), contiguous :: scale(:)
    integer(i32), intent(inout) :: info
    real(wp) :: found(MOST_GROUPS)
    integer(i64) :: g
    integer :: polish

    do g = 1, size(scale, kind=i64)
      call find_peak(ends(g) - ends(g - 1), w(ends(g - 1) + 1), .true., scale(g), info)
    end do
    if (info /= FQ_OK) return
    call find_start(n, w, ends, scale, table, found(1:size(scale)))
    do polish = 1, POLISHES
      call polish_scale(n, w, ends, table, found(1:size(scale)))
    end do
    do g = 1, size(scale, kind=i64)
      if (found(g) > 0 .and. found(g) <= table%most) scale(g) = found(g)
    end do
  end subroutine calibrate_groups

  !> The least-squares scale of each group for the codes of that of `FACTORS` which loses least; 0
  !> if none gains.
  pure subroutine find_start(n, w, ends, peak, table, scale)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: w(n)
    integer(i64), intent(in), contiguous :: ends(0:)
    real(wp), intent(in), contiguous :: peak(:)
    type(search_table), intent(in) :: table
    real(wp), intent(out), contiguous :: scale(:)
    real(dp) :: along(MOST_GROUPS, size(FACTORS)), square(MOST_GROUPS, size(FACTORS))
    real(dp) :: gain, best  ! by how much the sum of squares falls
    real(wp) :: x(RUN)
    integer(i64) :: start, g
    integer :: f

    along = 0
    square = 0
    do start = ends(0), ends(size(peak)) - 1, RUN
      call load_run(n, w, ends, start, peak, x)
      do f = 1, size(FACTORS)
        call add_products(x, ends, start, table, table%bounds(:, f), along(:, f), square(:, f))
      end do
    end do
    do g = 1, size(peak, kind=i64)
      scale(g) = 0
      best = 0
      do f = 1, size(FACTORS)
        if (.not. (along(g, f) > 0 .and. square(g, f) > 0)) cycle
        gain = along(g, f)*along(g, f)/square(g, f)
        if (.not. gain > best) cycle
        best = gain
        scale(g) = real(along(g, f)/square(g, f), wp)*peak(g)
      end do
    end do
  end subroutine find_start

  !> A step of least squares: the codes of each group with its scale, and the best scale for those.
  pure subroutine polish_scale(n, w, ends, table, scale)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: w(n)
    integer(i64), intent(in), contiguous :: ends(0:)
    type(search_table), intent(in) :: table
    real(wp), intent(inout), contiguous :: scale(:)
    real(dp) :: along(MOST_GROUPS), square(MOST_GROUPS)
    real(wp) :: x(RUN)
    integer(i64) :: start, g

    along = 0
    square = 0
    do start = ends(0), ends(size(scale)) - 1, RUN
      call load_run(n, w, ends, start, scale, x)
      call add_products(x, ends, start, table, table%middles, along, square)
    end do
    do g = 1, size(scale, kind=i64)
      if (.not. (scale(g) > 0 .and. along(g) > 0 .and. square(g) > 0)) cycle
      scale(g) = real(real(scale(g), dp)*(along(g)/square(g)), wp)
    end do
  end subroutine polish_scale

  !> The weights behind `start`, a run of them at most, over the scales of their groups.
  !>
  !> A scale that is not positive counts as 1: nothing is made of the result.  Zeros fill the last
  !> vector, so that no loop over values has a remainder.
  pure subroutine load_run(n, w, ends, start, scale, x)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: w(n)
    integer(i64), intent(in), contiguous :: ends(0:)
    integer(i64), intent(in) :: start
    real(wp), intent(in), contiguous :: scale(:)
    real(wp), intent(inout) :: x(RUN)
    real(wp) :: divisor
    integer(i64) :: g, i, to

    to = 0
    do g = 1, size(scale, kind=i64)
      divisor = merge(scale(g), 1.0_wp, scale(g) > 0)
      to = min(ends(g) - start, RUN)
      do i = max(ends(g - 1) - start, 0_i64) + 1, to
        x(i) = w(start + i)/divisor
      end do
    end do
    x(to + 1:min((to + LANES - 1)/LANES*LANES, RUN)) = 0
  end subroutine load_run

  !> Add, for each group, the sums of `x*level` and `level**2` over its part of a run, the level
  !> being that between the bounds.
  pure subroutine add_products(x, ends, start, table, bounds, along, square)
    real(wp), intent(in) :: x(RUN), bounds(255)
    integer(i64), intent(in), contiguous :: ends(0:)
    integer(i64), intent(in) :: start
    type(search_table), intent(in) :: table
    real(dp), intent(inout) :: along(MOST_GROUPS), square(MOST_GROUPS)
    real(dp) :: xl(LANES), ll(LANES)
    real(wp) :: level(RUN)
    integer(i64) :: g, i, lane, from, to

    to = min((ends(size(ends) - 1) - start + LANES - 1)/LANES*LANES, RUN)  ! whole vectors
    call find_levels(x(1:to), table%count, table%levels, bounds, level(1:to))
    do g = 1, size(ends, kind=i64) - 1
      from = max(ends(g - 1) - start, 0_i64)
      to = min(ends(g) - start, RUN)
      xl = 0
      ll = 0
      do i = from, to - LANES, LANES
        do lane = 1, LANES
          xl(lane) = xl(lane) + real(x(i + lane), dp)*real(level(i + lane), dp)
          ll(lane) = ll(lane) + real(level(i + lane), dp)*real(level(i + lane), dp)
        end do
      end do
      do lane = 1, mod(to - from, int(LANES, i64))
        i = from + (to - from)/LANES*LANES + lane
        xl(lane) = xl(lane) + real(x(i), dp)*real(level(i), dp)
        ll(lane) = ll(lane) + real(level(i), dp)*real(level(i), dp)
      end do
      along(g) = along(g) + lane_sum(xl)
      square(g) = square(g) + lane_sum(ll)
    end do
  end subroutine add_products

  !> The level of each value between the bounds: of few levels without their codes, since a register
  !> is blended faster than a table is looked up.
  pure subroutine find_levels(x, count, levels, bounds, level)
    real(wp), intent(in), contiguous :: x(:)
    integer, intent(in) :: count
    real(wp), intent(in) :: levels(MOST_LEVELS), bounds(255)
    real(wp), intent(inout), contiguous :: level(:)
    real(wp) :: few(FEW_LEVELS), near(FEW_LEVELS - 1), last
    integer(i32) :: codes(RUN)
    integer(i64) :: i
    integer :: l

    if (count > FEW_LEVELS) then
      call place_run(size(x, kind=i64), x, count, bounds, codes)
      do i = 1, size(x, kind=i64)
        level(i) = levels(codes(i) + 1)
      end do
      return
    end if
    few = levels(1:FEW_LEVELS)
    near = bounds(1:FEW_LEVELS - 1)
    do i = 1, size(x, kind=i64)
      last = few(1)
      !GCC$ unroll 16
      do l = 1, FEW_LEVELS - 1
        last = merge(few(l + 1), last, x(i) > near(l))
      end do
      level(i) = last
    end do
  end subroutine find_levels

  include 'fq_lane_sum.inc'
end module fq_codebook_scales_real32
