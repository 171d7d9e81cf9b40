!> C boundary of `sparse`, which the formats of pruned weights make: flat arrays, explicit extents.
!>
!> Python: `pyfq/formats/sparse.py`.  Reference: `pyfq/reference/formats/sparse.py`.
!>
!> NumPy's C-ordered `(rows, cols)` is the same memory as Fortran's `(cols, rows)`.
module fq_sparse_c_real32
  use fq_activation_kind, only: is_activation
  use fq_arguments, only: is_given, pieces, status_of
  use fq_blocked_csr_real32, only: blocked_csr, multiply_blocked_csr
  use fq_csr_real32, only: multiply_csr
  use fq_epilogue_real32, only: epilogue
  use fq_finish_real32, only: fill_rows
  use fq_kept_rows_real32, only: scatter_rows
  use fq_kinds, only: i8, i16, i32, i64, wp => sp
  use fq_nm24_int8_real32, only: nm24_codes
  use fq_nm24_real32, only: multiply_nm24
  use fq_quantized_rows_real32, only: multiply_quantized
  use fq_status, only: FQ_NOT_GIVEN, FQ_OK
  implicit none (type, external)
  private
  public :: fq_multiply_blocked_csr, fq_multiply_csr, fq_multiply_nm24, fq_multiply_nm24_int8, &
    fq_scatter_rows

contains

  subroutine fq_multiply_blocked_csr(m, n, k, segments, nonzeros, scale_cols, steps, bias_cols, x, &
                              block_steps, starts, cols, values, has_scale, scale, step, has_bias, &
                              bias, activation, slope, y, threads, info) &
    bind(c, name='fq_multiply_blocked_csr_f32')
    integer(i64), intent(in), value :: m, n, k, segments, nonzeros, scale_cols, steps, bias_cols
    integer(i64), intent(in), value :: block_steps
    real(wp), intent(in), optional :: x(k, m), values(nonzeros), scale(scale_cols), step(steps), &
    bias(bias_cols)
    integer(i64), intent(in), optional :: starts(segments)
    integer(i16), intent(in), optional :: cols(nonzeros)
    integer(i32), intent(in), value :: has_scale, has_bias, activation, threads
    real(wp), intent(in), value :: slope
    real(wp), intent(out), optional :: y(n, m)
    integer(i32), intent(out) :: info
    type(epilogue) :: after

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, m])) return
    if (.not. is_given(present(values), [nonzeros])) return
    if (.not. (has_scale == 0 .or. is_given(present(scale), [scale_cols]))) return
    if (.not. (has_scale == 0 .or. is_given(present(step), [steps]))) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(starts), [segments])) return
    if (.not. is_given(present(cols), [nonzeros])) return
    if (.not. is_given(present(y), [n, m])) return
    info = status_of([m, n, k, segments, nonzeros, scale_cols, steps, bias_cols, block_steps], &
      block_steps <= 32768 .and. pieces(k, block_steps) >= 0 .and. segments == pieces(k, &
        block_steps)*n + 1 .and. (has_scale == 0 .or. (scale_cols >= n .and. steps >= m)) .and. &
        (has_bias == 0 .or. bias_cols == n), &
      is_activation(activation) .and. threads >= 1)
    if (info /= FQ_OK .or. min(m, n) == 0) return
    after = epilogue(has_bias /= 0, activation, slope)
    if (k == 0) then
      call fill_rows(bias, after, y)
      return
    end if
    call multiply_blocked_csr(x, blocked_csr(block_steps, has_scale /= 0), starts, cols, values, &
                              scale, step, bias, after, y, threads, info)
  end subroutine fq_multiply_blocked_csr

  subroutine fq_multiply_csr(m, n, k, rows, nonzeros, scale_cols, steps, bias_cols, x, indptr, &
                           indices, values, has_scale, scale, step, has_bias, bias, activation, &
                           slope, y, threads, info) bind(c, name='fq_multiply_csr_f32')
    integer(i64), intent(in), value :: m, n, k, rows, nonzeros, scale_cols, steps, bias_cols
    real(wp), intent(in), optional :: x(k, m), values(nonzeros), scale(scale_cols), step(steps), &
    bias(bias_cols)
    integer(i64), intent(in), optional :: indptr(rows)
    integer(i32), intent(in), optional :: indices(nonzeros)
    integer(i32), intent(in), value :: has_scale, has_bias, activation, threads
    real(wp), intent(in), value :: slope
    real(wp), intent(out), optional :: y(n, m)
    integer(i32), intent(out) :: info
    type(epilogue) :: after

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, m])) return
    if (.not. is_given(present(values), [nonzeros])) return
    if (.not. (has_scale == 0 .or. is_given(present(scale), [scale_cols]))) return
    if (.not. (has_scale == 0 .or. is_given(present(step), [steps]))) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(indptr), [rows])) return
    if (.not. is_given(present(indices), [nonzeros])) return
    if (.not. is_given(present(y), [n, m])) return
    info = status_of([m, n, k, rows, nonzeros, scale_cols, steps, bias_cols], &
      m <= 1 .and. rows == n + 1 .and. (has_scale == 0 .or. (scale_cols >= n .and. steps >= m)) &
        .and. (has_bias == 0 .or. bias_cols == n), &
      is_activation(activation) .and. threads >= 1)
    if (info /= FQ_OK .or. min(m, n) == 0) return
    after = epilogue(has_bias /= 0, activation, slope)
    if (k == 0) then
      call fill_rows(bias, after, y)
      return
    end if
    call multiply_csr(x, indptr, indices, values, has_scale /= 0, scale, step, bias, after, y, &
                      threads)
  end subroutine fq_multiply_csr

  subroutine fq_multiply_nm24(m, n, k, panels, panel_values, panel_words, bias_cols, x, groups, &
                             values, positions, has_bias, bias, activation, slope, y, threads, &
                             info) bind(c, name='fq_multiply_nm24_f32')
    integer(i64), intent(in), value :: m, n, k, panels, panel_values, panel_words, bias_cols, groups
    real(wp), intent(in), optional :: x(k, m), values(panel_values, panels), bias(bias_cols)
    integer(i32), intent(in), optional :: positions(panel_words, panels)
    integer(i32), intent(in), value :: has_bias, activation, threads
    real(wp), intent(in), value :: slope
    real(wp), intent(out), optional :: y(n, m)
    integer(i32), intent(out) :: info
    type(epilogue) :: after

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, m])) return
    if (.not. is_given(present(values), [panel_values, panels])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(positions), [panel_words, panels])) return
    if (.not. is_given(present(y), [n, m])) return
    info = status_of([m, n, k, panels, panel_values, panel_words, bias_cols, groups], &
      groups >= pieces(k, 4_i64) .and. mod(groups, 8_i64) == 0 .and. panels == pieces(n, 16_i64) &
        .and. panel_values == 32*groups .and. panel_words == 2*groups .and. (has_bias == 0 .or. &
        bias_cols == n), &
      is_activation(activation) .and. threads >= 1)
    if (info /= FQ_OK .or. min(m, n) == 0) return
    after = epilogue(has_bias /= 0, activation, slope)
    if (k == 0) then
      call fill_rows(bias, after, y)
      return
    end if
    call multiply_nm24(x, groups, values, positions, bias, after, y, threads, info)
  end subroutine fq_multiply_nm24

  subroutine fq_multiply_nm24_int8(m, n, k, row_bytes, scale_cols, bias_cols, x, run, w, &
                             code_sums, &
                             scale, has_bias, bias, activation, slope, y, threads, info) &
    bind(c, name='fq_multiply_nm24_int8_f32')
    integer(i64), intent(in), value :: m, n, k, row_bytes, scale_cols, bias_cols, run
    real(wp), intent(in), optional :: x(k, m), bias(bias_cols)
    real(wp), intent(in), optional, target :: scale(scale_cols)
    integer(i8), intent(in), optional, target :: w(row_bytes, n)
    integer(i32), intent(in), optional, target :: code_sums(n)
    integer(i32), intent(in), value :: has_bias, activation, threads
    real(wp), intent(in), value :: slope
    real(wp), intent(out), optional :: y(n, m)
    integer(i32), intent(out) :: info
    type(epilogue) :: after
    type(nm24_codes) :: weights

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, m])) return
    if (.not. is_given(present(scale), [scale_cols])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(w), [row_bytes, n])) return
    if (.not. is_given(present(code_sums), [n])) return
    if (.not. is_given(present(y), [n, m])) return
    info = status_of([m, n, k, row_bytes, scale_cols, bias_cols, run], &
      mod(run, 64_i64) == 0 .and. run >= 64 .and. row_bytes == 5*run .and. 8*run >= k .and. &
        scale_cols == n .and. (has_bias == 0 .or. bias_cols == n), &
      is_activation(activation) .and. threads >= 1)
    if (info /= FQ_OK .or. min(m, n) == 0) return
    after = epilogue(has_bias /= 0, activation, slope)
    if (k == 0) then
      call fill_rows(bias, after, y)
      return
    end if
    weights%run_bytes = run
    weights%codes => w
    weights%code_sums => code_sums
    weights%scale => scale
    call multiply_quantized(weights, x, bias, after, y, threads, info)
  end subroutine fq_multiply_nm24_int8

  subroutine fq_scatter_rows(m, n, count, bias_cols, kept, part, has_bias, bias, activation, &
                               slope, y, threads, info) bind(c, name='fq_scatter_rows_f32')
    integer(i64), intent(in), value :: m, n, count, bias_cols
    integer(i64), intent(in), optional :: kept(count)
    real(wp), intent(in), optional :: part(count, m), bias(bias_cols)
    integer(i32), intent(in), value :: has_bias, activation, threads
    real(wp), intent(in), value :: slope
    real(wp), intent(out), optional :: y(n, m)
    integer(i32), intent(out) :: info

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(kept), [count])) return
    if (.not. is_given(present(part), [count, m])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(y), [n, m])) return
    info = status_of([m, n, count, bias_cols], &
      has_bias == 0 .or. bias_cols == n, &
      is_activation(activation) .and. all(kept >= 0 .and. kept < n) .and. threads >= 1)
    if (info /= FQ_OK) return
    call scatter_rows(kept, part, bias, epilogue(has_bias /= 0, activation, slope), y, threads)
  end subroutine fq_scatter_rows
end module fq_sparse_c_real32
