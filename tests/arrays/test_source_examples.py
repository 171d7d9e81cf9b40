"""The worked examples of the documents pyfq was written from, each against its own NumPy."""

import numpy as np
import pytest
from variants import everywhere, same

import pyfq
from pyfq import PerTensor

RNG = np.random.default_rng(2024)
W = RNG.uniform(-1, 1, (100, 100))


def test_prune_below_r_hundredths():
    r = 10
    pruned = W.copy()
    pruned[np.abs(pruned) < r * 0.01] = 0
    for where in everywhere():
        same(pyfq.prune_threshold(W, r * 0.01).weights, pruned, where)


def test_prune_below_the_median_magnitude():
    threshold = np.percentile(np.abs(W), 50)
    pruned = np.where(np.abs(W) < threshold, 0, W)
    for where in everywhere():
        got = pyfq.prune_percentile(W, 50)
        assert got.threshold == threshold
        same(got.weights, pruned, where)


def test_truncate_to_b_bits():
    b = 4
    codes = np.vectorize(lambda w: int(w * 2 ** (b - 1)))(W)
    for where in everywhere():
        got = pyfq.quantize_fixed_point(W, 0, b - 1, rounding="trunc")
        same(got.codes, codes.astype(np.int8), where)
        same(got.dequantize(), codes / 2 ** (b - 1), where)


def test_round_tenths_of_weights():
    codes = np.round(W * 10)
    for where in everywhere():
        got = pyfq.quantize(W, 8, granularity=PerTensor(), scale=0.1, reciprocal=True)
        same(got.codes, codes.astype(np.int8), where)


def test_round_tenths_of_relu_activations_around_five():
    x = np.maximum(RNG.normal(size=(64, 100)), 0)
    codes = np.round(x * 10 + 5)
    for where in everywhere():
        got = pyfq.quantize(
            x, 8, scheme="affine", granularity=PerTensor(), scale=0.1, zero_point=5, reciprocal=True
        )
        # x*10 + 5 rounds once more than x*10: where that crosses a half, the codes may differ by
        # one.
        ties = np.abs(x * 10 % 1 - 0.5) < 1e-12
        same(got.codes[~ties], codes[~ties].astype(np.uint8), where)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_minmax_with_eight_bits(dtype):
    b = 8
    w = W.astype(dtype)
    low, high = w.min(), w.max()
    step = (high - low) / dtype(2**b - 1)
    codes = np.round((w - low) / step)
    for where in everywhere():
        got = pyfq.quantize(w, b, scheme="minmax", granularity=PerTensor())
        same(got.codes, codes.astype(np.uint8), where)
        same(got.dequantize(), low + codes.astype(dtype) * step, where)
