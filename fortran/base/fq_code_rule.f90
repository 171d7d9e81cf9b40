!> How reals become codes: what groups of a tensor share.  Mirrored in `pyfq/arrays/quantize.py`.
module fq_code_rule
  use fq_kinds, only: i64
  implicit none (type, external)
  private

  integer(i64), parameter, public :: SCHEME_SYMMETRIC = 0, SCHEME_AFFINE = 1, SCHEME_MINMAX = 2
  integer(i64), parameter, public :: SCALE_ABSMAX = 0, SCALE_ABSMAX_HALF = 1, SCALE_SIGNED_MAX = 2
  integer(i64), parameter, public :: ROUND_HALF_EVEN = 0, ROUND_HALF_AWAY = 1, ROUND_HALF_UP = 2, &
    ROUND_TRUNC = 3, ROUND_FLOOR = 4, ROUND_STOCHASTIC = 5

  !> Nine integers, in C and in NumPy an array of int64.
  type, bind(c), public :: code_rule
    integer(i64) :: bits        !! bits of a code, `1 ... 16`
    integer(i64) :: qmin        !! smallest code
    integer(i64) :: qmax        !! largest code
    integer(i64) :: scheme      !! one of SCHEME_...
    integer(i64) :: convention  !! of a symmetric scale: one of SCALE_...
    integer(i64) :: rounding    !! one of ROUND_...
    integer(i64) :: reciprocal  !! 1: multiply by 1/scale; 0: divide by scale
    integer(i64) :: wraps       !! 1: codes out of range wrap around; 0: they saturate
    integer(i64) :: seed        !! of stochastic rounding
  end type code_rule
end module fq_code_rule
