!> Exact products of matrices of 8-bit integers, and such products as codes again.
!>
!> Python: `pyfq/integer.py`.  Reference: `pyfq/reference/integer.py`.
module fq_integer_int8
  !$ use omp_lib, only: omp_get_thread_num
  use fq_codes, only: CODE_KIND, CODE_SHIFT, CODE_STEPS, multiply_codes, padded_steps
  use fq_kinds, only: i8, i32, i64, sp
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_team, only: SMALL_PRODUCT
  use, intrinsic :: iso_c_binding, only: c_intptr_t, c_loc, c_ptr
  implicit none (type, external)
  private
  include 'fq_integer.inc'
end module fq_integer_int8
