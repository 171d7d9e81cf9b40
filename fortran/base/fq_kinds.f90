!> Numeric kinds shared by every kernel; each is interoperable with C.
module fq_kinds
  use, intrinsic :: iso_c_binding, only: i8 => c_int8_t, i16 => c_int16_t, i32 => c_int32_t, &
    i64 => c_int64_t, sp => c_float, dp => c_double
  implicit none (type, external)
  private
  public :: i8, i16, i32, i64, sp, dp
end module fq_kinds
