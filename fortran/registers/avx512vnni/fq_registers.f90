!> What a tile must fit in, on AVX-512 with VNNI: 32 registers of 512 bits.
module fq_registers
  use fq_kinds, only: i8, i32
  implicit none (type, external)
  private
  public :: CODE_COLS, CODE_KIND, CODE_MASK, CODE_ROWS, CODE_SHIFT, FEW_ROWS, TILE_ROWS, &
    VECTOR_BYTES

  integer, parameter :: VECTOR_BYTES = 64  ! bytes of a vector register
  integer, parameter :: TILE_ROWS = 12  ! rows of a tile two vectors wide, whose sums fill registers
  integer, parameter :: FEW_ROWS = 4    ! rows of a tile four vectors wide

  ! Bytes are multiplied, unsigned by signed: vpdpbusd.
  integer, parameter :: CODE_KIND = i8         ! kind of the left codes
  integer(i32), parameter :: CODE_MASK = 255     ! the left code as a number: unsigned
  integer(i32), parameter :: CODE_SHIFT = 128    ! added to a signed left code
  integer, parameter :: CODE_ROWS = 4, CODE_COLS = 6  ! a tile: its sums and rows fill the registers
end module fq_registers
