!> Panels of codes, and the reals they stand for: weights that stay small until they are multiplied.
module fq_code_panels_real32
  use fq_kinds, only: i8, i32, i64, wp => sp
  implicit none (type, external)
  private
  include 'fq_code_panels.inc'
end module fq_code_panels_real32

!> The same for float64.
module fq_code_panels_real64
  use fq_kinds, only: i8, i32, i64, wp => dp
  implicit none (type, external)
  private
  include 'fq_code_panels.inc'
end module fq_code_panels_real64
