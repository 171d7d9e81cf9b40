"""Every way this machine can run a kernel, and arrays that try to break it."""

from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import pyfq
from pyfq import _native

LIBS = {isa: _native.load(isa) for isa in _native.runnable()}
THREADS = (1, 2, 3)

dtypes = st.sampled_from([np.float32, np.float64])
granularities = st.one_of(
    st.just(pyfq.PerTensor()), st.just(pyfq.PerRow()), st.builds(pyfq.PerGroup, st.integers(1, 40))
)


def everywhere() -> Iterator[str]:
    """Run the body of a loop once for every variant and number of threads."""
    used = _native.lib
    try:
        for isa, lib in LIBS.items():
            _native.lib = lib
            for n in THREADS:
                with pyfq.num_threads(n):
                    yield f"{isa}, {n} threads"
    finally:
        _native.lib = used


SHAPES = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=21)


@st.composite
def weights(draw, dtype=None, shapes=SHAPES):
    """Arrays with ties, zeros of both signs, denormals, huge and tiny values."""
    dtype = np.dtype(draw(dtypes) if dtype is None else dtype)
    limits = np.finfo(dtype)
    special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        2.5,
        limits.max,
        limits.min,
        limits.tiny,
        -limits.tiny,
        limits.smallest_subnormal,
        -3 * limits.smallest_subnormal,
    ]
    elements = st.one_of(
        st.sampled_from([float(x) for x in special]),
        st.floats(-8, 8, width=8 * dtype.itemsize),
        st.floats(allow_nan=False, allow_infinity=False, width=8 * dtype.itemsize),
        st.integers(-3, 3).map(float),
    )
    return draw(arrays(dtype, draw(shapes), elements=elements))


def large(dtype, seed=0, shape=(301, 997)):
    """Return an array that is worth a team of threads: odd extents, ties, both zeros."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(shape).astype(dtype)
    w.reshape(-1)[::7] = np.round(w.reshape(-1)[::7], 1)
    w.reshape(-1)[::1001] = -0.0
    return w


def same(got, want, where):
    """Compare to the bit, the signs of zeros apart."""
    np.testing.assert_array_equal(got, want, err_msg=where, strict=True)
