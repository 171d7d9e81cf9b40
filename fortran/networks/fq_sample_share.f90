!> How threads share the samples of a network.
module fq_sample_share
  use fq_kinds, only: i32, i64
  use fq_stored_layer, only: depends_on_company, stored_layer
  use fq_work_size, only: SMALL_PRODUCT
  implicit none (type, external)
  private
  public :: share_samples

  ! Rows that pass through all layers together: their activations, or codes, stay in L2.
  integer(i64), parameter :: MOST_ROWS = 240
  ! Rows that are worth a thread of their own; and what the number of samples is a multiple of, that
  ! of the rows of any tile.
  integer(i64), parameter :: FEW_ROWS = 8, SAMPLE_STEP = 12

contains

  !> Threads that share the samples, threads of each of these, and samples that pass together.
  pure subroutine share_samples(samples, sample_rows, layers, threads, team, inner, together)
    integer(i64), intent(in) :: samples             !! all that there are, at least 1
    integer(i64), intent(in) :: sample_rows         !! rows of a sample: 1, or its directions
    type(stored_layer), intent(in), contiguous :: layers(:)  !! what they pass through
    integer(i32), intent(in) :: threads             !! threads to use, at least 1
    integer(i32), intent(out) :: team, inner        !! those of samples; those of each of them
    integer(i64), intent(out) :: together           !! samples that pass together

    team = merge(threads, 1_i32, samples*sample_rows*sum(layers%rows*layers%k) > SMALL_PRODUCT)
    inner = 1
    if (samples < team .or. samples*sample_rows < FEW_ROWS*team &
      .or. any(depends_on_company(layers))) then
      inner = team
      team = 1
    end if
    together = (samples + team - 1)/team
    if (sample_rows == 1) together = (together + SAMPLE_STEP - 1)/SAMPLE_STEP*SAMPLE_STEP
    together = max(1_i64, min(together, MOST_ROWS/sample_rows))
  end subroutine share_samples
end module fq_sample_share
