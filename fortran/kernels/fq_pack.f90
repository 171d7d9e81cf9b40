!> Codes of 1 ... 16 bits in dense bytes.
!>
!> Python: `pyfq/pack.py`.  Reference: `pyfq/reference/pack.py`.
module fq_pack_int8
  use fq_kinds, only: i8, i32, i64, ik => i8
  use fq_team, only: SMALL_WORK
  implicit none (type, external)
  private
  include 'fq_pack.inc'
end module fq_pack_int8

!> The same for codes held in 16 bits.
module fq_pack_int16
  use fq_kinds, only: i8, i32, i64, ik => i16
  use fq_team, only: SMALL_WORK
  implicit none (type, external)
  private
  include 'fq_pack.inc'
end module fq_pack_int16
