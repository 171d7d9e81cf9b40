!> C boundary of `fq_linear`: flat arrays, explicit extents.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_linear_c_real32
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: is_given, pieces, status_of
  use fq_codes, only: CODE_STEPS
  use fq_nibbles_real32, only: PANEL_ROWS
  use fq_kinds, only: i8, i16, i32, i64, wp => sp
  use fq_linear_real32, only: linear_codes, linear_nibbles, pack_weights
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_linear_c.inc'
end module fq_linear_c_real32

!> The same for float64.
module fq_linear_c_real64
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: is_given, pieces, status_of
  use fq_codes, only: CODE_STEPS
  use fq_nibbles_real64, only: PANEL_ROWS
  use fq_kinds, only: i8, i16, i32, i64, wp => dp
  use fq_linear_real64, only: linear_codes, linear_nibbles, pack_weights
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f64'
  include 'fq_linear_c.inc'
end module fq_linear_c_real64
