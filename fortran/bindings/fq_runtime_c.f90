!> C boundary of the OpenMP runtime: what Python must know and do about threads.
module fq_runtime_c
  !$ use omp_lib, only: omp_get_max_threads, omp_pause_hard, omp_pause_resource_all
  use fq_kinds, only: i32
  implicit none (type, external)
  private
  public :: fq_max_threads, fq_release_threads, fq_has_openmp

contains

  !> Threads OpenMP would use for a region of the calling thread; 1 without OpenMP.
  subroutine fq_max_threads(threads) bind(c)
    integer(i32), intent(out) :: threads
    threads = 1
    !$ threads = omp_get_max_threads()
  end subroutine fq_max_threads

  !> End the idle worker threads of the calling thread: a process that forks while they exist
  !> leaves its child waiting for threads it does not have.
  subroutine fq_release_threads(info) bind(c)
    integer(i32), intent(out) :: info
    info = 0
    !$ info = omp_pause_resource_all(omp_pause_hard)
  end subroutine fq_release_threads

  !> 1 if the kernels were compiled with OpenMP, else 0.
  subroutine fq_has_openmp(openmp) bind(c)
    integer(i32), intent(out) :: openmp
    openmp = 0
    !$ openmp = 1
  end subroutine fq_has_openmp

end module fq_runtime_c
