!> C boundary of `fq_distortion`; `docs/boundary.md` says what all bindings have in common.
module fq_distortion_c_real32
  use fq_arguments, only: is_given, status_of
  use fq_extents, only: pieces
  use fq_kinds, only: dp, i32, i64, wp => sp
  use fq_distortion_real32, only: BLOCK, distortion_sums, largest_magnitude
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_distortion_sums, fq_largest_magnitude

contains

  !> Five sums of each block of 4096 elements: see `distortion_sums`.
  subroutine fq_distortion_sums(n, blocks, w, v, unit, sums, threads, info) &
    bind(c, name='fq_distortion_sums_f32')
    integer(i64), intent(in), value :: n                    !! elements of w and of v
    integer(i64), intent(in), value :: blocks               !! `ceiling(n/4096)`
    real(wp), intent(in), optional :: w(n)                  !! original, `(n)`
    real(wp), intent(in), optional :: v(n)                  !! reconstruction, `(n)`
    real(dp), intent(in), value :: unit                     !! see `distortion_sums`; 1 will do
    real(dp), intent(out), optional :: sums(5, blocks)      !! five of each block, `(blocks, 5)`
    integer(i32), intent(in), value :: threads              !! threads to use, at least 1
    integer(i32), intent(out) :: info                       !! status code, FQ_NOT_FINITE among them

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(w), [n])) return
    if (.not. is_given(present(v), [n])) return
    if (.not. is_given(present(sums), [blocks])) return
    info = status_of([n, blocks], blocks == pieces(n, BLOCK), threads >= 1)
    if (info /= FQ_OK .or. n == 0) return
    call distortion_sums(w, v, unit, sums, threads, info)
  end subroutine fq_distortion_sums

  !> Raise `largest` to the largest magnitude of the values; NaN counts for nothing.
  subroutine fq_largest_magnitude(n, x, largest, threads, info) &
    bind(c, name='fq_largest_magnitude_f32')
    integer(i64), intent(in), value :: n                    !! how many values
    real(wp), intent(in), optional :: x(n)                  !! values, `(n)`
    real(wp), intent(inout), optional :: largest(1)         !! in: a lower bound; out: what is found
    integer(i32), intent(in), value :: threads              !! threads to use, at least 1
    integer(i32), intent(out) :: info                       !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [n])) return
    if (.not. present(largest)) return
    info = status_of([n], .true., threads >= 1)
    if (info /= FQ_OK .or. n == 0) return
    call largest_magnitude(x, largest(1), threads)
  end subroutine fq_largest_magnitude
end module fq_distortion_c_real32
