!> C boundary of `sparse`, which the formats of pruned weights make.
!>
!> `docs/boundary.md` says what all bindings have in common.
!>
!> Python: `pyfq/formats/sparse.py`.  Reference: `pyfq/reference/formats/sparse.py`.
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

  !> `y = activation(scale*(x w**T)*step + bias)`, the zeros of w skipped: see
  !> `multiply_blocked_csr`.
  subroutine fq_multiply_blocked_csr(m, n, k, segments, nonzeros, scale_cols, steps, bias_cols, x, &
                              block_cols, starts, cols, values, has_scale, scale, step, has_bias, &
                              bias, activation, slope, y, threads, info) &
    bind(c, name='fq_multiply_blocked_csr_f32')
    integer(i64), intent(in), value :: m, n, k              !! rows of x; outputs; inputs
    integer(i64), intent(in), value :: segments             !! `ceiling(k/block_cols)*n + 1`
    integer(i64), intent(in), value :: nonzeros             !! nonzeros of w
    integer(i64), intent(in), value :: scale_cols  !! entries of scale: n or more, if there is one
    integer(i64), intent(in), value :: steps  !! entries of step: m or more, if there is one
    integer(i64), intent(in), value :: bias_cols            !! entries of bias: n, if there is one
    real(wp), intent(in), optional :: x(k, m)               !! activations, `(m, k)`
    integer(i64), intent(in), value :: block_cols           !! columns of a block, `1 ... 32768`
    integer(i64), intent(in), optional :: starts(segments)  !! nonzeros before each, `(segments)`
    integer(i16), intent(in), optional :: cols(nonzeros)    !! columns in blocks, `(nonzeros)`
    real(wp), intent(in), optional :: values(nonzeros)      !! nonzeros, `(nonzeros)`
    integer(i32), intent(in), value :: has_scale            !! 0: scale and step are not looked at
    real(wp), intent(in), optional :: scale(scale_cols)  !! factors of columns of y, `(scale_cols)`
    real(wp), intent(in), optional :: step(steps)           !! factors of rows of y, `(steps)`
    integer(i32), intent(in), value :: has_bias             !! 0: bias is not looked at
    real(wp), intent(in), optional :: bias(bias_cols)       !! added to each row of y, `(n)`
    integer(i32), intent(in), value :: activation  !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope                    !! parameter of the activation
    real(wp), intent(out), optional :: y(n, m)              !! results, `(m, n)`
    integer(i32), intent(in), value :: threads              !! threads to use, at least 1
    integer(i32), intent(out) :: info                       !! status code, FQ_NO_MEMORY among them
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
    info = status_of([m, n, k, segments, nonzeros, scale_cols, steps, bias_cols, block_cols], &
      block_cols <= 32768 .and. pieces(k, block_cols) >= 0 .and. segments == pieces(k, &
        block_cols)*n + 1 .and. (has_scale == 0 .or. (scale_cols >= n .and. steps >= m)) .and. &
        (has_bias == 0 .or. bias_cols == n), &
      is_activation(activation) .and. threads >= 1)
    if (info /= FQ_OK .or. min(m, n) == 0) return
    after = epilogue(has_bias /= 0, activation, slope)
    if (k == 0) then
      call fill_rows(bias, after, y)
      return
    end if
    call multiply_blocked_csr(x, blocked_csr(block_cols, has_scale /= 0), starts, cols, values, &
                              scale, step, bias, after, y, threads, info)
  end subroutine fq_multiply_blocked_csr

  !> `y = activation(scale*(x w**T)*step + bias)` for one row of x: see `multiply_csr`.
  subroutine fq_multiply_csr(m, n, k, rows, nonzeros, scale_cols, steps, bias_cols, x, indptr, &
                           indices, values, has_scale, scale, step, has_bias, bias, activation, &
                           slope, y, threads, info) bind(c, name='fq_multiply_csr_f32')
    integer(i64), intent(in), value :: m                     !! rows of x, 0 or 1
    integer(i64), intent(in), value :: n, k                  !! outputs; inputs
    integer(i64), intent(in), value :: rows                  !! entries of indptr, `n + 1`
    integer(i64), intent(in), value :: nonzeros              !! nonzeros of w
    integer(i64), intent(in), value :: scale_cols  !! entries of scale: n or more, if there is one
    integer(i64), intent(in), value :: steps  !! entries of step: m or more, if there is one
    integer(i64), intent(in), value :: bias_cols             !! entries of bias: n, if there is one
    real(wp), intent(in), optional :: x(k, m)                !! activations, `(m, k)`
    integer(i64), intent(in), optional :: indptr(rows)       !! nonzeros before each row, `(n + 1)`
    integer(i32), intent(in), optional :: indices(nonzeros)  !! columns, from 0, `(nonzeros)`
    real(wp), intent(in), optional :: values(nonzeros)       !! nonzeros, `(nonzeros)`
    integer(i32), intent(in), value :: has_scale             !! 0: scale and step are not looked at
    real(wp), intent(in), optional :: scale(scale_cols)  !! factors of columns of y, `(scale_cols)`
    real(wp), intent(in), optional :: step(steps)            !! factors of rows of y, `(steps)`
    integer(i32), intent(in), value :: has_bias              !! 0: bias is not looked at
    real(wp), intent(in), optional :: bias(bias_cols)        !! added to each row of y, `(n)`
    integer(i32), intent(in), value :: activation  !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope                     !! parameter of the activation
    real(wp), intent(out), optional :: y(n, m)               !! results, `(m, n)`
    integer(i32), intent(in), value :: threads               !! threads to use, at least 1
    integer(i32), intent(out) :: info                        !! status code
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

  !> `y = activation(x w**T + bias)`, two of every four weights stored: see `multiply_nm24`.
  subroutine fq_multiply_nm24(m, n, k, panels, panel_values, panel_words, bias_cols, x, groups, &
                             values, positions, has_bias, bias, activation, slope, y, threads, &
                             info) bind(c, name='fq_multiply_nm24_f32')
    integer(i64), intent(in), value :: m, n, k         !! rows of x; outputs; inputs
    integer(i64), intent(in), value :: panels          !! `ceiling(n/16)`
    integer(i64), intent(in), value :: panel_values    !! `32*groups`
    integer(i64), intent(in), value :: panel_words     !! `2*groups`
    integer(i64), intent(in), value :: bias_cols       !! entries of bias: n, if there is one
    real(wp), intent(in), optional :: x(k, m)          !! activations, `(m, k)`
    integer(i64), intent(in), value :: groups          !! at least `ceiling(k/4)`, a multiple of 8
    real(wp), intent(in), optional :: values(panel_values, panels)  !! `(panels, panel_values)`
    integer(i32), intent(in), optional :: positions(panel_words, panels)  !! `(panels, panel_words)`
    integer(i32), intent(in), value :: has_bias        !! 0: bias is not looked at
    real(wp), intent(in), optional :: bias(bias_cols)  !! added to each row of y, `(n)`
    integer(i32), intent(in), value :: activation      !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope               !! parameter of the activation
    real(wp), intent(out), optional :: y(n, m)         !! results, `(m, n)`
    integer(i32), intent(in), value :: threads         !! threads to use, at least 1
    integer(i32), intent(out) :: info                  !! status code, FQ_NO_MEMORY among them
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

  !> The same with codes of 8 bits, x quantized to 8 bits per row: see `nm24_codes` and
  !> `multiply_quantized`.
  subroutine fq_multiply_nm24_int8(m, n, k, row_bytes, scale_cols, bias_cols, x, run_bytes, w, &
                             code_sums, &
                             scale, has_bias, bias, activation, slope, y, threads, info) &
    bind(c, name='fq_multiply_nm24_int8_f32')
    integer(i64), intent(in), value :: m, n, k         !! rows of x; outputs; inputs
    integer(i64), intent(in), value :: row_bytes       !! bytes of a row of w, `5*run_bytes`
    integer(i64), intent(in), value :: scale_cols      !! entries of scale, n
    integer(i64), intent(in), value :: bias_cols       !! entries of bias: n, if there is one
    real(wp), intent(in), optional :: x(k, m)          !! activations, `(m, k)`
    integer(i64), intent(in), value :: run_bytes       !! at least `k/8` and 64, a multiple of 64
    integer(i8), intent(in), optional, target :: w(row_bytes, n)  !! codes, `(n, row_bytes)`
    !> Sum of the codes of each row, `(n)`.
    integer(i32), intent(in), optional, target :: code_sums(n)
    !> Step of a code of each row, `(n)`.
    real(wp), intent(in), optional, target :: scale(scale_cols)
    integer(i32), intent(in), value :: has_bias        !! 0: bias is not looked at
    real(wp), intent(in), optional :: bias(bias_cols)  !! added to each row of y, `(n)`
    integer(i32), intent(in), value :: activation      !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope               !! parameter of the activation
    real(wp), intent(out), optional :: y(n, m)         !! results, `(m, n)`
    integer(i32), intent(in), value :: threads         !! threads to use, at least 1
    integer(i32), intent(out) :: info  !! status code, FQ_NO_MEMORY and FQ_NOT_FINITE among them
    type(nm24_codes) :: weights

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(x), [k, m])) return
    if (.not. is_given(present(scale), [scale_cols])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(w), [row_bytes, n])) return
    if (.not. is_given(present(code_sums), [n])) return
    if (.not. is_given(present(y), [n, m])) return
    info = status_of([m, n, k, row_bytes, scale_cols, bias_cols, run_bytes], &
      mod(run_bytes, 64_i64) == 0 .and. run_bytes >= 64 .and. row_bytes == 5*run_bytes .and. &
        8*run_bytes >= k .and. scale_cols == n .and. (has_bias == 0 .or. bias_cols == n), &
      is_activation(activation) .and. threads >= 1)
    if (info /= FQ_OK .or. min(m, n) == 0) return
    weights%run_bytes = run_bytes
    weights%codes => w
    weights%code_sums => code_sums
    weights%scale => scale
    call multiply_quantized(weights, x, bias, epilogue(has_bias /= 0, activation, slope), y, &
      threads, info)
  end subroutine fq_multiply_nm24_int8

  !> Columns of y from the rows of w that were kept; the others are `activation(bias)`.
  subroutine fq_scatter_rows(m, n, count, bias_cols, kept, products, has_bias, bias, activation, &
                               slope, y, threads, info) bind(c, name='fq_scatter_rows_f32')
    integer(i64), intent(in), value :: m, n               !! rows and columns of y
    integer(i64), intent(in), value :: count              !! columns that were computed
    integer(i64), intent(in), value :: bias_cols          !! entries of bias: n, if there is one
    integer(i64), intent(in), optional :: kept(count)     !! which columns, `0 ... n - 1`, `(count)`
    real(wp), intent(in), optional :: products(count, m)  !! what they hold, `(m, count)`
    integer(i32), intent(in), value :: has_bias           !! 0: bias is not looked at
    real(wp), intent(in), optional :: bias(bias_cols)     !! added to each row of y, `(n)`
    integer(i32), intent(in), value :: activation         !! one of ACT_... of `fq_activation_kind`
    real(wp), intent(in), value :: slope                  !! parameter of the activation
    real(wp), intent(out), optional :: y(n, m)            !! results, `(m, n)`
    integer(i32), intent(in), value :: threads            !! threads to use, at least 1
    integer(i32), intent(out) :: info                     !! status code

    info = FQ_NOT_GIVEN
    if (.not. is_given(present(kept), [count])) return
    if (.not. is_given(present(products), [count, m])) return
    if (.not. (has_bias == 0 .or. is_given(present(bias), [bias_cols]))) return
    if (.not. is_given(present(y), [n, m])) return
    info = status_of([m, n, count, bias_cols], &
      has_bias == 0 .or. bias_cols == n, &
      is_activation(activation) .and. all(kept >= 0 .and. kept < n) .and. threads >= 1)
    if (info /= FQ_OK) return
    call scatter_rows(kept, products, bias, epilogue(has_bias /= 0, activation, slope), y, threads)
  end subroutine fq_scatter_rows
end module fq_sparse_c_real32
