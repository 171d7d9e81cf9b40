!> C boundary of `fq_pack`: flat arrays, explicit extents.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_pack_c_int8
  use fq_arguments, only: is_given, packed_bytes, status_of
  use fq_kinds, only: i8, i32, i64, ik => i8
  use fq_pack_int8, only: pack, unpack
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_i8'
  include 'fq_pack_c.inc'
end module fq_pack_c_int8

!> The same for codes held in 16 bits.
module fq_pack_c_int16
  use fq_arguments, only: is_given, packed_bytes, status_of
  use fq_kinds, only: i8, i32, i64, ik => i16
  use fq_pack_int16, only: pack, unpack
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_i16'
  include 'fq_pack_c.inc'
end module fq_pack_c_int16
