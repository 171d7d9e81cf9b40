!> Exact products with weights of at most four bits, a row of weights a lane.
!>
!> Sums never cross lanes, so groups cost next to nothing: what multiplies few rows of activations
!> runs at the speed of reading half a byte a weight.
module fq_nibbles_real32
  use fq_kinds, only: i8, i16, i32, i64, wp => sp
  implicit none (type, external)
  private
  include 'fq_nibbles.inc'
end module fq_nibbles_real32

!> The same for float64.
module fq_nibbles_real64
  use fq_kinds, only: i8, i16, i32, i64, wp => dp
  implicit none (type, external)
  private
  include 'fq_nibbles.inc'
end module fq_nibbles_real64
