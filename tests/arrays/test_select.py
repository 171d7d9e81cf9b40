"""Topic `select` against its reference, everywhere, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from variants import everywhere, granularities, large, same, weights

import pyfq
from pyfq import PerGroup, PerRow, PerTensor, reference


def check(x, k, granularity, magnitude):
    want = reference.select_kth(x, k, granularity=granularity, magnitude=magnitude)
    for where in everywhere():
        same(pyfq.select_kth(x, k, granularity=granularity, magnitude=magnitude), want, where)


@given(
    x=weights(shapes=array_shapes(max_dims=3, max_side=21)),
    granularity=granularities,
    data=st.data(),
)
def test_select_kth_matches_reference(x, granularity, data):
    cols = {PerTensor: x.size, PerRow: x.shape[-1]}.get(type(granularity), x.shape[-1] % 40 or 1)
    size = getattr(granularity, "size", cols)
    shortest = (
        min(x.shape[-1] % size or size, x.shape[-1]) if isinstance(granularity, PerGroup) else cols
    )
    check(x, data.draw(st.integers(0, shortest - 1)), granularity, data.draw(st.booleans()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("magnitude", [False, True])
@pytest.mark.parametrize("granularity", [PerTensor(), PerRow(), PerGroup(300)])
def test_select_kth_matches_partition_of_large_arrays(dtype, magnitude, granularity):
    check(large(dtype), 77, granularity, magnitude)


@pytest.mark.parametrize("k", [-1, 12])
def test_select_kth_refuses_a_rank_out_of_range(k):
    with pytest.raises(ValueError, match=rf"k must be 0 ... 11, not {k}"):
        pyfq.select_kth(np.ones((3, 4)), k)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("granularity", [PerTensor(), PerRow()])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_select_kth_refuses_what_is_not_finite(bad, granularity, dtype):
    x = np.ones((3, 4), dtype)
    x[2, 1] = bad
    with pytest.raises(ValueError, match=r"x must be finite, but x\[2, 1\] is"):
        pyfq.select_kth(x, 0, granularity=granularity)
