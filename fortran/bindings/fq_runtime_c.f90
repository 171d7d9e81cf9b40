!> C boundary of the OpenMP runtime: what Python must know and do about threads.
module fq_runtime_c
  !$ use omp_lib, only: omp_get_max_threads, omp_get_num_places, omp_get_place_num_procs, &
  !$   omp_get_place_proc_ids, omp_get_proc_bind, omp_get_thread_limit, omp_pause_hard, &
  !$   omp_pause_resource_all
  use fq_kinds, only: i32, i64
  implicit none (type, external)
  private
  public :: fq_max_threads, fq_thread_limit, fq_binding, fq_first_place, fq_release_threads, &
    fq_has_openmp

contains

  !> Threads OpenMP would use for a region of the calling thread; 1 without OpenMP.
  subroutine fq_max_threads(threads) bind(c)
    integer(i32), intent(out) :: threads  !! how many
    threads = 1
    !$ threads = omp_get_max_threads()
  end subroutine fq_max_threads

  !> Threads that OpenMP would give one team at most; 1 without OpenMP.
  subroutine fq_thread_limit(threads) bind(c)
    integer(i32), intent(out) :: threads  !! how many
    threads = 1
    !$ threads = omp_get_thread_limit()
  end subroutine fq_thread_limit

  !> How OpenMP binds the threads of a team to places: 0 not at all, 1 somehow, 2 all where the
  !> primary thread is, 3 close to it, 4 spread out.
  subroutine fq_binding(policy, places) bind(c)
    integer(i32), intent(out) :: policy  !! how, as above
    integer(i32), intent(out) :: places  !! how many there are
    policy = 0
    places = 0
    !$ policy = int(omp_get_proc_bind(), i32)
    !$ places = omp_get_num_places()
  end subroutine fq_binding

  !> The processors of the first place, which is that of the primary thread of a team.
  subroutine fq_first_place(length, processors, found) bind(c)
    integer(i64), intent(in), value :: length          !! entries of processors
    integer(i32), intent(inout) :: processors(length)  !! their numbers, `(length)`
    integer(i32), intent(out) :: found  !! how many; nothing is written if more than `length`
    found = 0
    !$ if (omp_get_num_places() > 0) found = omp_get_place_num_procs(0)
    !$ if (found > 0 .and. found <= length) call omp_get_place_proc_ids(0, processors)
  end subroutine fq_first_place

  !> End the idle worker threads of the calling thread: a process that forks while they exist
  !> leaves its child waiting for threads it does not have.
  subroutine fq_release_threads(info) bind(c)
    integer(i32), intent(out) :: info  !! 0 if they ended, else OpenMP's code
    info = 0
    !$ info = omp_pause_resource_all(omp_pause_hard)
  end subroutine fq_release_threads

  !> 1 if the kernels were compiled with OpenMP, else 0.
  subroutine fq_has_openmp(openmp) bind(c)
    integer(i32), intent(out) :: openmp  !! 1 or 0
    openmp = 0
    !$ openmp = 1
  end subroutine fq_has_openmp

end module fq_runtime_c
