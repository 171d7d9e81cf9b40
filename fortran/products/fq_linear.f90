!> Layers of quantized weights, applied to activations that are quantized on the fly.
!>
!> Python: `pyfq/linear.py`.  Reference: `pyfq/reference/linear.py`.
module fq_linear_real32
  !$ use omp_lib, only: omp_get_thread_num
  use fq_activation_kind, only: ACT_SOFTMAX
  use fq_activation_real32, only: activate_row, fill_rows
  use fq_align, only: aligned_start
  use fq_code_rule, only: code_rule
  use fq_gemm_int8, only: CODE_KIND, CODE_SHIFT, CODE_STEPS, MAX_STEPS, multiply_codes, &
    padded_steps
  use fq_kinds, only: i8, i16, i32, i64, wp => sp
  use fq_nibbles_real32, only: multiply_nibbles, pack_nibbles, PANEL_ROWS
  use fq_quantize_real32, only: quantize
  use fq_status, only: FQ_NO_MEMORY, FQ_OK
  use fq_work_size, only: SMALL_PRODUCT
  implicit none (type, external)
  private
  public :: linear_codes, linear_nibbles, pack_weights, quantize_int8

  ! Bytes of the rows of weights of an item: they stay in L2 while rows of activations pass by.
  integer(i64), parameter :: BLOCK_BYTES = 262144
  ! Rows of activations whose integer sums are held at a time.
  integer(i64), parameter :: CHUNK_ROWS = 48
  integer(i64), parameter :: MOST_COLS = 192

contains

  !> `y = activation(x w**T + bias)`, x quantized to 8 bits per row, sums of products exact.
  !>
  !> With q the codes of x and s their scale, `y = s * sum over g of (scale_g * sum((q (c -
  !> zero_g))) + minimum_g * sum(q))`, the sums over a group as integers, the rest in the order
  !> written.  A group of more than MAX_STEPS entries is summed in such parts.
  !>
  !> *Preconditions*: rows of w hold each group from a multiple of `stride` codes on, zeros behind
  !> it; `stride` is a multiple of CODE_STEPS, or there is one group.
  subroutine linear_codes(x, group_size, stride, w, scale, zero_point, minimum, has_bias, bias, &
    activation, slope, y, threads, info)
    real(wp), intent(in), contiguous :: x(:, :)                !! activations, `(k, m)`
    integer(i64), intent(in) :: group_size                     !! entries of a group
    integer(i64), intent(in) :: stride  !! codes from group to group in a row of w
    integer(i8), intent(in), contiguous :: w(:, :)             !! signed codes, `(ldw, n)`
    real(wp), intent(in), contiguous :: scale(:, :)            !! step of a code, `(groups, n)`
    integer(i32), intent(in), contiguous :: zero_point(:, :)   !! code of 0, a signed byte, as scale
    real(wp), intent(in), contiguous :: minimum(:, :)  !! value of code `zero_point`, `(groups, n)`
    logical, intent(in) :: has_bias                            !! else bias is not looked at
    real(wp), intent(in) :: bias(*)                            !! added to each row, `(n)`
    integer(i32), intent(in) :: activation                     !! one of ACT_...
    real(wp), intent(in) :: slope                              !! of ACT_LEAKY_RELU
    real(wp), intent(out), contiguous :: y(:, :)               !! results, `(n, m)`
    integer(i32), intent(in) :: threads                        !! threads to use, at least 1
    integer(i32), intent(out) :: info                          !! status code
    integer(CODE_KIND), allocatable :: left(:)
    real(wp), allocatable :: step(:, :)
    integer(i32), allocatable :: code_sums(:, :), sums(:, :)
    integer(i64) :: k, m, n, groups, parts, ldw, ldx, start, cols, across, rows, item, row
    integer(i32) :: team
    integer :: t, stat

    k = size(x, 1, kind=i64)
    m = size(x, 2, kind=i64)
    n = size(y, 1, kind=i64)
    info = FQ_OK
    if (min(m, n) == 0) return
    if (k == 0) then
      call fill_rows(n, m, has_bias, bias, activation, slope, y)
      return
    end if
    groups = size(scale, 1, kind=i64)
    ldw = size(w, 1, kind=i64)
    ldx = padded_steps(groups*stride)
    parts = parts_of(k, group_size)
    team = merge(threads, 1_i32, m*n*k > SMALL_PRODUCT)
    call divide_codes(m, n, ldw, team, cols, across, rows)
    allocate (left(ldx*(m + 1) + CODE_STEPS), stat=stat)
    if (stat == 0) allocate (step(1, m), stat=stat)
    if (stat == 0) allocate (code_sums(parts, m), stat=stat)
    if (stat == 0) allocate (sums(MOST_COLS*(CHUNK_ROWS + parts), team), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info == FQ_OK) start = aligned_start(left, storage_size(left))
    if (info == FQ_OK) call quantize_rows(x, group_size, stride, ldx, left(start), step, &
      code_sums, team, info)
    if (info /= FQ_OK) return
    !$omp parallel do default(none) private(t) num_threads(team) schedule(dynamic) if(team > 1) &
    !$omp   shared(k, m, n, groups, group_size, stride, ldx, left, start, step, parts, code_sums, &
    !$omp   ldw, w, scale, zero_point, minimum, has_bias, bias, activation, slope, y, sums, &
    !$omp   across, cols, rows)
    do item = 0, across*((m + rows - 1)/rows) - 1
      t = 1
      !$ t = omp_get_thread_num() + 1
      call do_item(mod(item, across)*cols, min(mod(item, across)*cols + cols, n), &
        item/across*rows, min(item/across*rows + rows, m), k, n, groups, group_size, stride, ldx, &
        left(start), left(start + ldx*m), step, parts, code_sums, ldw, w, scale, zero_point, &
        minimum, has_bias, bias, activation, slope, y, sums(1, t), sums(MOST_COLS*CHUNK_ROWS + 1, &
        t))
    end do
    if (activation == ACT_SOFTMAX .and. across > 1) then
      !$omp parallel do default(none) shared(activation, slope, y, m) schedule(static) &
      !$omp num_threads(team)
      do row = 1, m
        call activate_row(activation, slope, y(:, row))
      end do
    end if
  end subroutine linear_codes

  !> The same for weights of at most 4 bits that `pack_weights` packed.
  subroutine linear_nibbles(n, x, group_size, panels, scale, zero_point, has_minimum, minimum, &
    has_bias, bias, activation, slope, y, threads, info)
    integer(i64), intent(in) :: n                                 !! rows of weights
    real(wp), intent(in), contiguous :: x(:, :)                   !! activations, `(k, m)`
    integer(i64), intent(in) :: group_size                        !! entries of a group
    integer(i16), intent(in), contiguous :: panels(:, :, :)       !! codes, `(32, k, panels)`
    real(wp), intent(in), contiguous :: scale(:, :, :)            !! step, `(128, groups, panels)`
    integer(i8), intent(in), contiguous :: zero_point(:, :, :)    !! code of 0, the same shape
    logical, intent(in) :: has_minimum                            !! else minimum is not looked at
    real(wp), intent(in), contiguous :: minimum(:, :, :)          !! value of code `zero_point`
    logical, intent(in) :: has_bias                               !! else bias is not looked at
    real(wp), intent(in) :: bias(*)                               !! added to each row, `(n)`
    integer(i32), intent(in) :: activation                        !! one of ACT_...
    real(wp), intent(in) :: slope                                 !! of ACT_LEAKY_RELU
    real(wp), intent(out) :: y(n, size(x, 2, kind=i64))           !! results, `(n, m)`
    integer(i32), intent(in) :: threads                           !! threads to use, at least 1
    integer(i32), intent(out) :: info                             !! status code
    integer(i16), allocatable :: codes(:, :)
    real(wp), allocatable :: step(:, :)
    integer(i32), allocatable :: code_sums(:, :)
    integer(i64) :: k, m, groups, j, i, col, last
    integer(i32) :: team
    integer :: stat

    k = size(x, 1, kind=i64)
    m = size(x, 2, kind=i64)
    info = FQ_OK
    if (min(m, n) == 0) return
    if (k == 0) then
      call fill_rows(n, m, has_bias, bias, activation, slope, y)
      return
    end if
    groups = size(scale, 2, kind=i64)
    team = merge(threads, 1_i32, m*n*k > SMALL_PRODUCT)
    allocate (codes(k, m), stat=stat)
    if (stat == 0) allocate (step(1, m), stat=stat)
    if (stat == 0) allocate (code_sums(groups, m), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info == FQ_OK) call widen_rows(x, group_size, codes, step, code_sums, team, info)
    if (info /= FQ_OK) return
    !$omp parallel do default(none) private(col, last, i) num_threads(team) schedule(dynamic) &
    !$omp   shared(n, k, m, groups, group_size, codes, step, code_sums, panels, scale, &
    !$omp   zero_point, has_minimum, minimum, has_bias, bias, activation, slope, y) if(team > 1)
    do j = 1, size(panels, 3, kind=i64)
      col = (j - 1)*PANEL_ROWS
      last = min(col + PANEL_ROWS, n)
      call multiply_nibbles(k, m, group_size, groups, codes, code_sums, panels(:, :, j), scale(:, &
        :, j), zero_point(:, :, j), has_minimum, minimum(:, :, merge(j, 1_i64, has_minimum)), &
        last - col, n, y(col + 1, 1))
      do i = 1, m
        call finish_run(last - col, step(1, i), has_bias, bias(col + 1), y(col + 1:last, i))
        if (activation /= ACT_SOFTMAX) call activate_row(activation, slope, y(col + 1:last, i))
      end do
    end do
    if (activation == ACT_SOFTMAX) then
      !$omp parallel do default(none) shared(activation, slope, y, m) schedule(static) &
      !$omp num_threads(team) if(team > 1)
      do i = 1, m
        call activate_row(activation, slope, y(:, i))
      end do
    end if
  end subroutine linear_nibbles

  !> Panels of codes for `linear_nibbles`.
  subroutine pack_weights(codes, panels, threads)
    integer(i8), intent(in), contiguous :: codes(:, :)         !! codes `0 ... 15`, `(k, n)`
    integer(i16), intent(out), contiguous :: panels(:, :, :)   !! words, `(32, k, panels)`
    integer(i32), intent(in) :: threads                        !! threads to use, at least 1
    integer(i64) :: j, k, n

    k = size(codes, 1, kind=i64)
    n = size(codes, 2, kind=i64)
    !$omp parallel do default(none) shared(k, n, codes, panels) num_threads(threads) &
    !$omp schedule(static) if(k*n > 262144)
    do j = 1, size(panels, 3, kind=i64)
      call pack_nibbles(k, min(PANEL_ROWS, n - (j - 1)*PANEL_ROWS), codes(:, (j - 1)*PANEL_ROWS &
        + 1:), panels(:, :, j))
    end do
  end subroutine pack_weights

  !> Codes of activations in 16 bits, their steps, and their sums by group.
  subroutine widen_rows(x, group_size, wide, step, code_sums, threads, info)
    real(wp), intent(in), contiguous :: x(:, :)
    integer(i64), intent(in) :: group_size
    integer(i16), intent(out), contiguous :: wide(:, :)
    real(wp), intent(out), contiguous :: step(:, :)
    integer(i32), intent(out), contiguous :: code_sums(:, :)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    integer(i8), allocatable :: codes(:, :)
    integer(i64) :: r, g

    call quantize_int8(x, codes, step, threads, info)
    if (info /= FQ_OK) return
    do r = 1, size(x, 2, kind=i64)
      wide(:, r) = codes(:, r)
      do g = 1, size(code_sums, 1, kind=i64)
        code_sums(g, r) = sum(int(wide((g - 1)*group_size + 1:min(g*group_size, size(x, 1, &
          kind=i64)), r), i32))
      end do
    end do
  end subroutine widen_rows

  !> Codes of activations, symmetric and per row, and their steps.
  subroutine quantize_int8(x, codes, step, threads, info)
    real(wp), intent(in), contiguous :: x(:, :)
    integer(i8), intent(out), allocatable :: codes(:, :)
    real(wp), intent(out), contiguous :: step(:, :)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    type(code_rule), parameter :: INT8 = code_rule(8, -127, 127, 0, 0, 0, 0, 0, 0)
    integer(i32), allocatable :: zeros(:, :)
    real(wp), allocatable :: minima(:, :)
    integer :: stat

    allocate (codes(size(x, 1, kind=i64), size(x, 2, kind=i64)), stat=stat)
    if (stat == 0) allocate (zeros(1, size(x, 2, kind=i64)), stat=stat)
    if (stat == 0) allocate (minima(1, size(x, 2, kind=i64)), stat=stat)
    info = merge(FQ_OK, FQ_NO_MEMORY, stat == 0)
    if (info == FQ_OK) call quantize(x, INT8, size(x, 1, kind=i64), step, zeros, minima, codes, &
      threads, info)
  end subroutine quantize_int8

  !> Items of `cols` columns, `across` of them side by side, and `rows` rows.
  pure subroutine divide_codes(m, n, ldw, team, cols, across, rows)
    integer(i64), intent(in) :: m, n, ldw
    integer(i32), intent(in) :: team
    integer(i64), intent(out) :: cols, across, rows
    integer(i64), parameter :: COL_STEP = 12  ! a multiple of the columns of any tile

    cols = max(COL_STEP, min(MOST_COLS, BLOCK_BYTES/ldw)/COL_STEP*COL_STEP)
    cols = min(cols, ((n + team - 1)/team + COL_STEP - 1)/COL_STEP*COL_STEP)
    across = (n + cols - 1)/cols
    rows = m
    if (across < 4*team) rows = max(4*CHUNK_ROWS, (m*across + 4*team - 1)/(4*team))
    rows = min(rows, max(m, 1_i64))
  end subroutine divide_codes

  !> Codes of the activations, as the machine multiplies them, their steps, and their sums by group;
  !> and a row of ones, zeros in the gaps.
  subroutine quantize_rows(x, group_size, stride, ldx, left, step, code_sums, threads, info)
    real(wp), intent(in), contiguous :: x(:, :)
    integer(i64), intent(in) :: group_size, stride, ldx
    integer(CODE_KIND), intent(out) :: left(ldx, size(x, 2, kind=i64) + 1)
    real(wp), intent(out), contiguous :: step(:, :)
    integer(i32), intent(out), contiguous :: code_sums(:, :)
    integer(i32), intent(in) :: threads
    integer(i32), intent(out) :: info
    integer(i8), allocatable :: codes(:, :)
    integer(i64) :: r, g, part, first, steps, at

    call quantize_int8(x, codes, step, threads, info)
    if (info /= FQ_OK) return
    left(:, size(left, 2, kind=i64)) = 1
    !$omp parallel do default(none) private(g, part, first, steps, at) schedule(static) &
    !$omp num_threads(threads) shared(x, group_size, stride, left, codes, code_sums) &
    !$omp if(threads > 1 .and. size(x, kind=i64) > 262144)
    do r = 1, size(x, 2, kind=i64)
      left(:, r) = 0
      do part = 1, size(code_sums, 1, kind=i64)
        call find_part(part, size(x, 1, kind=i64), group_size, stride, g, at, steps)
        first = (g - 1)*group_size + at - (g - 1)*stride - 1
        steps = max(0_i64, min(steps*CODE_STEPS, g*group_size - first, size(x, 1, kind=i64) &
          - first))
        call store_codes(codes(first + 1:first + steps, r), left(at:at + steps - 1, r), &
          code_sums(part, r))
      end do
    end do
  end subroutine quantize_rows

  pure subroutine store_codes(codes, left, total)
    integer(i8), intent(in), contiguous :: codes(:)
    integer(CODE_KIND), intent(out), contiguous :: left(:)
    integer(i32), intent(out) :: total
    integer(i64) :: i

    total = 0
    do i = 1, size(codes, kind=i64)
      left(i) = int(int(codes(i), i32) + CODE_SHIFT, CODE_KIND)
      total = total + codes(i)
    end do
  end subroutine store_codes

  !> Columns `col + 1 ... last_col` of rows `row + 1 ... last_row`.
  subroutine do_item(col, last_col, row, last_row, k, n, groups, group_size, stride, ldx, left, &
    ones, step, parts, code_sums, ldw, w, scale, zero_point, minimum, has_bias, bias, activation, &
    slope, y, sums, shifts)
    integer(i64), intent(in) :: col, last_col, row, last_row, k, n, groups, group_size, stride
    integer(i64), intent(in) :: ldx, ldw, parts
    integer(CODE_KIND), intent(in) :: left(ldx, *), ones(ldx)
    real(wp), intent(in) :: step(*), scale(groups, n), minimum(groups, n), bias(*), slope
    integer(i32), intent(in) :: code_sums(parts, *), zero_point(groups, n), activation
    integer(i8), intent(in) :: w(ldw, n)
    logical, intent(in) :: has_bias
    real(wp), intent(inout) :: y(n, *)
    integer(i32), intent(inout) :: sums(last_col - col, CHUNK_ROWS), shifts(last_col - col, parts)
    integer(i64) :: cols, first, rows, g, part, at, vectors, i

    cols = last_col - col
    shifts = 0
    if (CODE_SHIFT /= 0) then
      do part = 1, parts
        call find_part(part, k, group_size, stride, g, at, vectors)
        call multiply_codes(vectors, 1_i64, ldx, ones, cols, ldw, w(at, col + 1), cols, shifts(1, &
          part))
      end do
    end if
    do first = row, last_row - 1, CHUNK_ROWS
      rows = min(CHUNK_ROWS, last_row - first)
      do part = 1, parts
        call find_part(part, k, group_size, stride, g, at, vectors)
        call multiply_codes(vectors, rows, ldx, left(at, first + 1), cols, ldw, w(at, col + 1), &
          cols, sums)
        do i = 1, rows
          call add_part(cols, sums(:, i), shifts(:, part), code_sums(part, first + i), groups, &
            scale(g, col + 1), zero_point(g, col + 1), minimum(g, col + 1), part == 1, y(col + 1, &
            first + i))
        end do
      end do
      do i = first + 1, first + rows
        call finish_run(cols, step(i), has_bias, bias(col + 1), y(col + 1, i))
        if (activation /= ACT_SOFTMAX .or. cols == n) call activate_row(activation, slope, &
          y(col + 1:last_col, i))
      end do
    end do
  end subroutine do_item

  !> Parts of a row of k entries: groups, and runs of MAX_STEPS in them.
  pure function parts_of(k, group_size) result(parts)
    integer(i64), intent(in) :: k, group_size
    integer(i64) :: parts

    parts = (k + group_size - 1)/group_size*((group_size + MAX_STEPS - 1)/MAX_STEPS)
  end function parts_of

  !> Group of a part, where its codes start in a stored row, and how many steps it has, in
  !> CODE_STEPS.
  pure subroutine find_part(part, k, group_size, stride, g, at, vectors)
    integer(i64), intent(in) :: part, k, group_size, stride
    integer(i64), intent(out) :: g, at, vectors
    integer(i64) :: runs, run, steps

    runs = (group_size + MAX_STEPS - 1)/MAX_STEPS
    g = (part - 1)/runs + 1
    run = mod(part - 1, runs)*MAX_STEPS
    at = (g - 1)*stride + run + 1
    steps = max(0_i64, min(MAX_STEPS, group_size - run, k - (g - 1)*group_size - run))
    vectors = (steps + CODE_STEPS - 1)/CODE_STEPS
  end subroutine find_part

  !> What a part of a group contributes to a row of results: set if it is the first, else added.
  pure subroutine add_part(cols, sums, shifts, code_sum, groups, scale, zero_point, minimum, &
    first, y)
    integer(i64), intent(in) :: cols, groups
    integer(i32), intent(in) :: sums(cols), shifts(cols), code_sum, zero_point(groups, cols)
    real(wp), intent(in) :: scale(groups, cols), minimum(groups, cols)
    logical, intent(in) :: first
    real(wp), intent(inout) :: y(cols)
    integer(i64) :: j

    if (first) then
      do j = 1, cols
        y(j) = scale(1, j)*real(sums(j) - CODE_SHIFT*shifts(j) - zero_point(1, j)*code_sum, wp) &
          + minimum(1, j)*real(code_sum, wp)
      end do
    else
      do j = 1, cols
        y(j) = y(j) + (scale(1, j)*real(sums(j) - CODE_SHIFT*shifts(j) - zero_point(1, &
          j)*code_sum, wp) + minimum(1, j)*real(code_sum, wp))
      end do
    end if
  end subroutine add_part

  !> Results from sums of scaled codes: times the step of the activations, plus the bias.
  pure subroutine finish_run(cols, step, has_bias, bias, y)
    integer(i64), intent(in) :: cols
    real(wp), intent(in) :: step, bias(cols)
    logical, intent(in) :: has_bias
    real(wp), intent(inout) :: y(cols)

    if (has_bias) then
      y = y*step + bias
    else
      y = y*step
    end if
  end subroutine finish_run
end module fq_linear_real32
