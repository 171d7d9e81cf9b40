!> Training of a network: forward pass, loss, backward pass and update, batch after batch.
!>
!> Python: `pyfq/train.py`.  Reference: `pyfq/reference/train.py`.
module fq_train_real32
  !$ use omp_lib, only: omp_get_num_procs, omp_get_num_threads, omp_get_thread_num
  use fq_activation_kind, only: ACT_GELU, ACT_GELU_TANH, ACT_LEAKY_RELU, ACT_NONE, ACT_RELU, &
    ACT_SIGMOID, ACT_SILU, ACT_SOFTMAX, ACT_SOFTPLUS, ACT_TANH
  use fq_activation_real32, only: activate_row
  use fq_barrier, only: barrier, wait_for_all
  use fq_block_real32, only: aligned_start, BLOCK_STEPS, LANES, LINE
  use fq_code_rule, only: code_rule
  use fq_kinds, only: dp, i8, i32, i64, wp => sp
  use fq_matmul_real32, only: B_PACKED, B_PLAIN, matmul_blocked, pack_block, packed_vectors, &
    panel_at
  use fq_quantize_real32, only: dequantize, quantize
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_team, only: SMALL_WORK
  use fq_training, only: IMITATE_COSINE, IMITATE_KL, IMITATE_MSE, IMITATE_NONE, &
    LOSS_CROSS_ENTROPY, LOSS_HUBER, LOSS_MSE, LOSS_NONE, OPTIMIZER_ADAMW, &
    OPTIMIZER_SGD, trained_layer, training, training_reals
  implicit none (type, external)
  private
  include 'fq_train.inc'
end module fq_train_real32

!> The same for float64.
module fq_train_real64
  !$ use omp_lib, only: omp_get_num_procs, omp_get_num_threads, omp_get_thread_num
  use fq_activation_kind, only: ACT_GELU, ACT_GELU_TANH, ACT_LEAKY_RELU, ACT_NONE, ACT_RELU, &
    ACT_SIGMOID, ACT_SILU, ACT_SOFTMAX, ACT_SOFTPLUS, ACT_TANH
  use fq_activation_real64, only: activate_row
  use fq_barrier, only: barrier, wait_for_all
  use fq_block_real64, only: aligned_start, BLOCK_STEPS, LANES, LINE
  use fq_code_rule, only: code_rule
  use fq_kinds, only: dp, i8, i32, i64, wp => dp
  use fq_matmul_real64, only: B_PACKED, B_PLAIN, matmul_blocked, pack_block, packed_vectors, &
    panel_at
  use fq_quantize_real64, only: dequantize, quantize
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_team, only: SMALL_WORK
  use fq_training, only: IMITATE_COSINE, IMITATE_KL, IMITATE_MSE, IMITATE_NONE, &
    LOSS_CROSS_ENTROPY, LOSS_HUBER, LOSS_MSE, LOSS_NONE, OPTIMIZER_ADAMW, &
    OPTIMIZER_SGD, trained_layer, training, training_reals
  implicit none (type, external)
  private
  include 'fq_train.inc'
end module fq_train_real64
