!> float32 to and from the bits of narrower binary floating-point formats.
!>
!> A format is told by its exponent bits, its mantissa bits, and whether it is finite only: without
!> infinities, its only NaN being all ones (float8 E4M3FN; Micikevicius et al. 2022, arXiv
!> 2209.05433).  Each width has two; as constants they let the compiler fold all that depends on
!> them.
!>
!> Python: `pyfq/convert.py`.  Reference: `pyfq/reference/convert.py`.
module fq_convert_int16
  use fq_kinds, only: i32, i64, ik => i16, sp
  use fq_team, only: SMALL_WORK
  implicit none (type, external)
  private
  integer(i32), parameter :: EXPONENT_BITS(2) = [8, 5]           ! bfloat16, float16
  integer(i32), parameter :: MANTISSA_BITS(2) = [7, 10]
  logical, parameter :: FINITE_ONLY(2) = [.false., .false.]
  include 'fq_convert.inc'
end module fq_convert_int16

!> The same for 8 bits.
module fq_convert_int8
  use fq_kinds, only: i32, i64, ik => i8, sp
  use fq_team, only: SMALL_WORK
  implicit none (type, external)
  private
  integer(i32), parameter :: EXPONENT_BITS(2) = [4, 5]           ! E4M3FN, E5M2
  integer(i32), parameter :: MANTISSA_BITS(2) = [3, 2]
  logical, parameter :: FINITE_ONLY(2) = [.true., .false.]
  include 'fq_convert.inc'
end module fq_convert_int8
