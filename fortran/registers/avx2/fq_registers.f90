!> What a tile must fit in, on AVX2: 16 registers of 256 bits.
module fq_registers
  use fq_kinds, only: i16, i32
  implicit none (type, external)
  private
  public :: CODE_COLS, CODE_KIND, CODE_MASK, CODE_ROWS, CODE_SHIFT, FEW_ROWS, TILE_ROWS, &
    VECTOR_BYTES

  integer, parameter :: VECTOR_BYTES = 32  ! bytes of a vector register
  integer, parameter :: TILE_ROWS = 6   ! rows of a tile two vectors wide, whose sums fill registers
  integer, parameter :: FEW_ROWS = 2    ! rows of a tile four vectors wide

  ! Pairs of 16 bits are multiplied: vpmaddwd.
  integer, parameter :: CODE_KIND = i16         ! kind of the left codes
  integer(i32), parameter :: CODE_MASK = -1     ! the left code as a number: as it is
  integer(i32), parameter :: CODE_SHIFT = 0    ! added to a signed left code
  integer, parameter :: CODE_ROWS = 2, CODE_COLS = 4  ! a tile: its sums and rows fill the registers
end module fq_registers
