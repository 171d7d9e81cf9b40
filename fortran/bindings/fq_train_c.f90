!> C boundary of `fq_train`: flat arrays, explicit extents.
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_train_c_real32
  use fq_arguments, only: is_given, status_of
  use fq_code_rule, only: code_rule
  use fq_kinds, only: dp, i8, i32, i64, wp => sp
  use fq_train_real32, only: train_epoch
  use fq_training, only: fits_training, knows_training, trained_layer, training, training_reals
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f32'
  include 'fq_train_c.inc'
end module fq_train_c_real32

!> The same for float64.
module fq_train_c_real64
  use fq_arguments, only: is_given, status_of
  use fq_code_rule, only: code_rule
  use fq_kinds, only: dp, i8, i32, i64, wp => dp
  use fq_train_real64, only: train_epoch
  use fq_training, only: fits_training, knows_training, trained_layer, training, training_reals
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  character(*), parameter :: f = '_f64'
  include 'fq_train_c.inc'
end module fq_train_c_real64
