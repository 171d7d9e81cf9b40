!> The loss of a sample, by its labels or targets and by its teacher's outputs, and its gradient.
module fq_loss_real32
  use fq_activation_kind, only: ACT_SOFTMAX
  use fq_activation_real32, only: activate_row
  use fq_kinds, only: dp, i64, wp => sp
  use fq_training, only: IMITATE_KL, IMITATE_MSE, IMITATE_NONE, LOSS_CROSS_ENTROPY, LOSS_MSE, &
    LOSS_NONE, training, training_reals
  use fq_training_arrays_real32, only: training_samples
  implicit none (type, external)
  private
  public :: find_loss

contains

  !> A sample's share of a batch's loss, \( s (\alpha\,\mathrm{imitation} + (1 - \alpha)\,
  !> \mathrm{data}) \), and its derivative by the network's outputs z.
  subroutine find_loss(n, sample, samples, choices, reals, z, share, gradient, scratch, loss)
    integer(i64), intent(in) :: n                  !! outputs
    integer(i64), intent(in) :: sample             !! number of the sample, from 1
    type(training_samples), intent(in) :: samples  !! where its labels, targets and teacher are
    type(training), intent(in) :: choices          !! what is minimised
    type(training_reals), intent(in) :: reals      !! the numbers of that
    real(wp), intent(in) :: z(n)                   !! outputs of the network
    real(wp), intent(in) :: share                  !! of the sample in the mean
    real(wp), intent(inout) :: gradient(n)         !! derivative by z
    real(wp), intent(inout) :: scratch(n, 2)
    real(dp), intent(out) :: loss
    real(dp) :: part
    real(wp) :: alpha

    alpha = real(reals%alpha, wp)
    gradient = 0
    loss = 0
    if (choices%loss /= LOSS_NONE) then
      select case (choices%loss)
      case (LOSS_CROSS_ENTROPY)
        if (choices%labeled /= 0) then
          call cross_entropy(n, z, samples%labels(sample) + 1, scratch(:, 2), gradient, part)
        else
          call cross_entropy(n, z, 0_i64, samples%targets(:, sample), gradient, part)
        end if
      case (LOSS_MSE)
        call squared_error(n, z, samples%targets(:, sample), gradient, part)
      case default  ! LOSS_HUBER
        call huber(n, z, samples%targets(:, sample), real(reals%delta, wp), gradient, part)
      end select
      gradient = (1 - alpha)*share*gradient
      loss = (1 - alpha)*share*part
    end if
    if (choices%imitation /= IMITATE_NONE) then
      select case (choices%imitation)
      case (IMITATE_KL)
        call divergence(n, z, samples%teacher(:, sample), real(reals%temperature, wp), &
          scratch(:, 2), scratch(:, 1), part)
      case (IMITATE_MSE)
        call squared_error(n, z, samples%teacher(:, sample), scratch(:, 1), part)
      case default  ! IMITATE_COSINE
        call cosine_distance(n, z, samples%teacher(:, sample), scratch(:, 1), part)
      end select
      gradient = gradient + alpha*share*scratch(:, 1)
      loss = loss + alpha*share*part
    end if
  end subroutine find_loss

  !> \( p = \mathrm{softmax}(z) \), in place of z, and \( \log \sum e^z \).
  pure subroutine soften(z, log_sum)
    real(wp), intent(inout), contiguous :: z(:)
    real(dp), intent(out) :: log_sum
    integer :: top

    top = maxloc(z, 1)
    log_sum = z(top)
    call activate_row(ACT_SOFTMAX, 0.0_wp, z)
    log_sum = log_sum - log(real(z(top), dp))  ! at least 1/n: nothing is lost
  end subroutine soften

  !> \( -\sum_c t_c \log p_c \) with \( p = \mathrm{softmax}(z) \), and its derivative.
  subroutine cross_entropy(n, z, label, t, gradient, loss)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: z(n)
    integer(i64), intent(in) :: label  !! the class whose t is 1; 0: t is given
    real(wp), intent(in) :: t(n)
    real(wp), intent(out), contiguous :: gradient(:)
    real(dp), intent(out) :: loss
    real(dp) :: log_sum

    gradient = z
    call soften(gradient, log_sum)
    if (label > 0) then
      loss = log_sum - z(label)
      gradient(label) = gradient(label) - 1
    else
      loss = sum(real(t, dp)*(log_sum - z))
      gradient = gradient*sum(t) - t
    end if
  end subroutine cross_entropy

  !> \( T^2 \sum_c q_c \log(q_c/p_c) \), q the softened teacher, and its derivative \( T (p - q) \).
  subroutine divergence(n, z, teacher, temperature, q, gradient, loss)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: z(n), teacher(n), temperature
    real(wp), intent(out), contiguous :: q(:), gradient(:)
    real(dp), intent(out) :: loss
    real(dp) :: log_sum, log_sum_q
    integer(i64) :: c

    gradient = z/temperature
    q = teacher/temperature
    call soften(gradient, log_sum)
    call soften(q, log_sum_q)
    loss = 0
    do c = 1, n
      ! A class that the teacher excludes adds nothing, whatever its logit.
      if (q(c) > 0) loss = loss + q(c)*((real(teacher(c), dp) - z(c))/temperature + (log_sum &
        - log_sum_q))
    end do
    loss = real(temperature, dp)**2*loss
    gradient = temperature*(gradient - q)
  end subroutine divergence

  !> Mean of \( (y - t)^2 \), and its derivative.
  subroutine squared_error(n, y, t, gradient, loss)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: y(n), t(n)
    real(wp), intent(out), contiguous :: gradient(:)
    real(dp), intent(out) :: loss

    gradient = y - t
    loss = sum(real(gradient, dp)**2)/n
    gradient = gradient*(2.0_wp/real(n, wp))
  end subroutine squared_error

  !> Mean of \( e^2/2 \) where \( |e| = |y - t| \le \delta \), else of \( \delta (|e| -
  !> \delta/2) \), and its derivative.
  subroutine huber(n, y, t, delta, gradient, loss)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: y(n), t(n), delta
    real(wp), intent(out), contiguous :: gradient(:)
    real(dp), intent(out) :: loss
    real(wp) :: error, within
    integer(i64) :: c

    loss = 0
    do c = 1, n
      error = y(c) - t(c)
      within = max(-delta, min(delta, error))
      if (error /= error) within = error  ! NaN
      loss = loss + real(within, dp)*(error - within/2)
      gradient(c) = within*(1.0_wp/real(n, wp))
    end do
    loss = loss/n
  end subroutine huber

  !> \( 1 - y \cdot t/(|y| |t|) \), and its derivative; 1 and 0 where a norm is 0.
  subroutine cosine_distance(n, y, t, gradient, loss)
    integer(i64), intent(in) :: n
    real(wp), intent(in) :: y(n), t(n)
    real(wp), intent(out), contiguous :: gradient(:)
    real(dp), intent(out) :: loss
    real(dp) :: square, norms, cosine

    square = sum(real(y, dp)**2)
    norms = sqrt(square*sum(real(t, dp)**2))
    gradient = 0
    loss = 1
    if (norms == 0) return
    cosine = sum(real(y, dp)*t)/norms
    loss = 1 - cosine
    gradient = real(cosine/square*y - t/norms, wp)
  end subroutine cosine_distance
end module fq_loss_real32
