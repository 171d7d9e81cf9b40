!> The two factors of a product: their extents, and the order in which each lies in memory.
module fq_factors
  use fq_kinds, only: i32, i64
  implicit none (type, external)
  private

  ! The right factor: as it is, as its transpose, or as `pack_panels` makes it.
  integer(i32), parameter, public :: B_PLAIN = 0, B_TRANSPOSED = 1, B_PACKED = 2

  !> What a product `c = op(a) op(b)` takes.
  type, public :: factors
    integer(i64) :: m = 0                   !! rows of the product
    integer(i64) :: n = 0                   !! columns of the product
    integer(i64) :: k = 0                   !! what is summed over
    integer(i64) :: lda = 0                 !! columns of a as it is given
    logical :: a_transposed = .false.       !! a is `(m, k)`, else `(k, m)`
    integer(i64) :: ldb = 0                 !! columns of b as it is given
    integer(i32) :: b_order = B_PLAIN       !! one of B_...: b is `(n, k)`, `(k, n)` or panels
  end type factors

  public :: is_order

contains

  !> Whether a code is one of B_...
  pure function is_order(code) result(known)
    integer(i32), intent(in) :: code
    logical :: known

    known = code >= B_PLAIN .and. code <= B_PACKED
  end function is_order
end module fq_factors
