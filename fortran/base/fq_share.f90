!> How threads share a product: items, each a part of the output.
module fq_share
  use fq_kinds, only: i32, i64
  implicit none (type, external)
  private
  public :: part_of

  !> A product cut into items, `across` of them side by side.
  type, public :: share
    integer(i64) :: items = 0    !! parts of the output
    integer(i64) :: across = 0   !! parts that lie side by side
    integer(i64) :: rows = 0     !! rows of a part; the last ones have fewer
    integer(i64) :: panels = 0   !! panels of columns of a part; the last ones have fewer
    integer(i32) :: team = 1     !! threads that the work is worth
  end type share

  !> One item's piece of the output.
  type, public :: part
    integer(i64) :: row = 0, last_row = 0   !! rows before it, and its last row
    integer(i64) :: col = 0, last_col = 0   !! columns before it, and its last column
  end type part

contains

  !> The part of an output of `m` rows and `n` columns that an item makes.
  pure function part_of(shared, item, width, m, n) result(piece)
    type(share), intent(in) :: shared       !! how the product is shared
    integer(i64), intent(in) :: item        !! number of the item, from 0
    integer(i64), intent(in) :: width       !! columns of a panel
    integer(i64), intent(in) :: m, n        !! rows and columns of the product
    type(part) :: piece

    piece%row = item/shared%across*shared%rows
    piece%last_row = min(piece%row + shared%rows, m)
    piece%col = mod(item, shared%across)*shared%panels*width
    piece%last_col = min(piece%col + shared%panels*width, n)
  end function part_of
end module fq_share
