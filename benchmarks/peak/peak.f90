!> The most this machine can do: multiplications and additions of numbers in registers, and reads.
!> `benchmarks/limits.py` compiles it with the flags and the registers of the variant in use.
module peak
  use fq_registers, only: CODE_COLS, CODE_KIND, CODE_MASK, CODE_ROWS, TILE_ROWS, VECTOR_BYTES
  use, intrinsic :: iso_c_binding, only: &
    c_double, c_float, c_int8_t, c_int16_t, c_int32_t, c_int64_t
  implicit none (type, external)
  private
  public :: peak_float32, peak_float64, peak_int8, peak_read, peak_sizes

  integer, parameter :: i8 = c_int8_t, i16 = c_int16_t, i32 = c_int32_t, i64 = c_int64_t
  ! Chains of additions that do not wait for each other: as many as the tile of a product has.
  integer, parameter :: CHAINS = 2*TILE_ROWS
  ! Codes of a line of cache, by which the rows of `peak_int8` lie apart.
  integer(i64), parameter :: LINE = 64

contains

  !> Multiplications and additions of a step of `peak_float32`, `peak_float64` and `peak_int8`; and
  !> bytes of a code.
  pure subroutine peak_sizes(sizes) bind(c)
    integer(i64), intent(out) :: sizes(4)

    sizes = 2*[CHAINS*VECTOR_BYTES/4, CHAINS*VECTOR_BYTES/8, CODE_ROWS*CODE_COLS, 0]
    sizes(4) = storage_size(1_CODE_KIND)/8
  end subroutine peak_sizes

  pure subroutine peak_float32(steps, factor, addend, sums) bind(c)
    integer, parameter :: wp = c_float
    include 'peak_chains.inc'
  end subroutine peak_float32

  pure subroutine peak_float64(steps, factor, addend, sums) bind(c)
    integer, parameter :: wp = c_double
    include 'peak_chains.inc'
  end subroutine peak_float64

  !> Products of rows of codes that lie one line of cache apart: each line is loaded once from where
  !> it is, and some times from L1, as in a tile.
  pure subroutine peak_int8(passes, steps, x, w, sums) bind(c)
    integer(i64), intent(in), value :: passes, steps
    integer(CODE_KIND), intent(in) :: x(steps + LINE*CODE_ROWS), w(steps + LINE*CODE_COLS)
    integer(i32), intent(out) :: sums(CODE_COLS, CODE_ROWS)
    integer(i32) :: acc(CODE_COLS, CODE_ROWS)
    integer(i64) :: pass, p
    integer :: i, j

    sums = 0
    do pass = 1, passes
      acc = 0
      do p = 1, steps/LINE*LINE
        !GCC$ unroll 8
        do i = 1, CODE_ROWS
          !GCC$ unroll 8
          do j = 1, CODE_COLS  ! vpdpbusd, or vpmaddwd
            acc(j, i) = acc(j, i) + iand(int(x(p + LINE*i), i32), CODE_MASK)*int(w(p + LINE*j), i32)
          end do
        end do
      end do
      sums = ieor(sums, acc)
    end do
  end subroutine peak_int8

  !> Passes over an array of zeros.  The next pass starts where the last one says, which is at the
  !> beginning, but the compiler does not know, or it would read only once.
  pure subroutine peak_read(n, passes, x, total) bind(c)
    integer(i64), intent(in), value :: n, passes
    integer(i64), intent(in) :: x(n)
    integer(i64), intent(out) :: total
    integer(i64) :: pass, i

    total = 0
    do pass = 1, passes
      do i = 1 + total, n + total
        total = ior(total, x(i))
      end do
    end do
  end subroutine peak_read
end module peak
