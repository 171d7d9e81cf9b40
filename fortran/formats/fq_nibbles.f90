!> Exact products with weights of at most four bits, a row of weights a lane.
!>
!> Sums never cross lanes, so groups cost next to nothing: what multiplies few rows of activations
!> runs at the speed of reading half a byte a weight.
module fq_nibbles_real32
  use fq_kinds, only: i8, i16, i32, i64, wp => sp
  implicit none (type, external)
  private
  public :: multiply_nibbles, pack_nibbles, PANEL_ROWS

  integer, parameter :: WORDS = 32                ! words of 16 bits of a step: two AVX2 registers
  integer(i64), parameter :: PANEL_ROWS = 4*WORDS ! rows of weights of a panel, four to a word
  integer(i64), parameter :: RUN_STEPS = 16       ! 15*127*16 < 2**15

contains

  !> Codes of a panel: the word l of a step holds the rows `l, l + 32, l + 64, l + 96`, from the
  !> lowest bits on; rows that are not there are zeros.
  !>
  !> *Preconditions*: codes are `0 ... 15`.
  pure subroutine pack_nibbles(k, rows, codes, panel)
    integer(i64), intent(in) :: k, rows                      !! steps; rows, at most PANEL_ROWS
    integer(i8), intent(in) :: codes(k, *)                   !! codes by rows, `(k, rows)`
    integer(i16), intent(out) :: panel(WORDS, k)             !! words, `(32, k)`
    integer(i64) :: r, s, l

    panel = 0
    do r = 0, rows - 1
      l = mod(r, int(WORDS, i64)) + 1
      do s = 1, k
        panel(l, s) = ior(panel(l, s), shiftl(int(codes(s, r + 1), i16), 4*(r/WORDS)))
      end do
    end do
  end subroutine pack_nibbles

  !> Rows of `sum over g of (scale_g * sum(q (c - zero_g)) + minimum_g * sum(q))`, the sums over a
  !> group exact, for the rows of weights of one panel.
  pure subroutine multiply_nibbles(k, m, group_size, groups, x, code_sums, panel, scale, &
    zero_point, has_minimum, minimum, cols, ldy, y)
    integer(i64), intent(in) :: k, m, group_size, groups            !! extents
    integer(i16), intent(in) :: x(k, m)                             !! codes of activations
    integer(i32), intent(in) :: code_sums(groups, m)                !! sums of them
    integer(i16), intent(in) :: panel(WORDS, k)                     !! codes of weights
    real(wp), intent(in) :: scale(PANEL_ROWS, groups)               !! step of a code
    integer(i8), intent(in) :: zero_point(PANEL_ROWS, groups)       !! code of 0
    logical, intent(in) :: has_minimum                              !! else minimum is not looked at
    real(wp), intent(in) :: minimum(PANEL_ROWS, *)                  !! value of code `zero_point`
    integer(i64), intent(in) :: cols, ldy                           !! rows of weights there are
    real(wp), intent(inout) :: y(ldy, m)                            !! sums, `(cols, m)`
    real(wp) :: total(PANEL_ROWS, 4)
    integer(i32) :: sums(WORDS, 4, 4)
    integer(i64) :: first, high, g, at, steps, i

    first = 0
    do while (first < m)
      high = merge(4_i64, 1_i64, m - first >= 4)
      do g = 1, groups
        at = (g - 1)*group_size + 1
        steps = min(group_size, k - at + 1)
        if (high == 4) then
          call multiply_four(steps, k, panel(1, at), x(at, first + 1), sums)
        else
          call multiply_one(steps, k, panel(1, at), x(at, first + 1), sums)
        end if
        do i = 1, high
          if (has_minimum) then
            call add_group(sums(:, :, i), code_sums(g, first + i), scale(:, g), zero_point(:, g), &
              minimum(:, g), g == 1, total(:, i))
          else
            call add_scaled(sums(:, :, i), code_sums(g, first + i), scale(:, g), zero_point(:, &
              g), g == 1, total(:, i))
          end if
        end do
      end do
      y(1:cols, first + 1:first + high) = total(1:cols, 1:high)
      first = first + high
    end do
  end subroutine multiply_nibbles

  pure subroutine multiply_one(steps, ldx, codes, x, sums)
    integer, parameter :: R = 1
    include 'fq_nibble_tile.inc'
  end subroutine multiply_one

  pure subroutine multiply_four(steps, ldx, codes, x, sums)
    integer, parameter :: R = 4
    include 'fq_nibble_tile.inc'
  end subroutine multiply_four

  !> What a group contributes: set if it is the first, else added.
  pure subroutine add_scaled(sums, code_sum, scale, zero_point, first, total)
    integer(i32), intent(in) :: sums(PANEL_ROWS), code_sum
    real(wp), intent(in) :: scale(PANEL_ROWS)
    integer(i8), intent(in) :: zero_point(PANEL_ROWS)
    logical, intent(in) :: first
    real(wp), intent(inout) :: total(PANEL_ROWS)
    integer(i64) :: j

    if (first) then
      do j = 1, PANEL_ROWS
        total(j) = scale(j)*real(sums(j) - zero_point(j)*code_sum, wp)
      end do
    else
      do j = 1, PANEL_ROWS
        total(j) = total(j) + scale(j)*real(sums(j) - zero_point(j)*code_sum, wp)
      end do
    end if
  end subroutine add_scaled

  !> The same with a minimum.
  pure subroutine add_group(sums, code_sum, scale, zero_point, minimum, first, total)
    integer(i32), intent(in) :: sums(PANEL_ROWS), code_sum
    real(wp), intent(in) :: scale(PANEL_ROWS), minimum(PANEL_ROWS)
    integer(i8), intent(in) :: zero_point(PANEL_ROWS)
    logical, intent(in) :: first
    real(wp), intent(inout) :: total(PANEL_ROWS)
    integer(i64) :: j

    if (first) then
      do j = 1, PANEL_ROWS
        total(j) = scale(j)*real(sums(j) - zero_point(j)*code_sum, wp) &
          + minimum(j)*real(code_sum, wp)
      end do
    else
      do j = 1, PANEL_ROWS
        total(j) = total(j) + (scale(j)*real(sums(j) - zero_point(j)*code_sum, wp) &
          + minimum(j)*real(code_sum, wp))
      end do
    end if
  end subroutine add_group
end module fq_nibbles_real32
