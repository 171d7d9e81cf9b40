"""`fastest` measures the forms that give the same results, and switches nothing by itself."""

import sys

import numpy as np
import pytest

import pyfq


def weights(shape=(96, 80), dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def forms(w, **options):
    return set(pyfq.fastest(w, **options).seconds)


def test_fastest_tries_what_holds_the_weights():
    w = weights()
    assert forms(w) == {"array", "prepared"}
    assert forms(pyfq.prune_nm(w, 2, 4)) == {"array", "prepared", "nm", "csr"}
    assert forms(pyfq.prune_ratio(w, 0.9)) == {"array", "prepared", "csr"}
    assert "rows" in forms(pyfq.prune_rows(w, 0.5))
    assert forms(pyfq.quantize(w, 4), activation_bits=8) == {"quantized", "prepared"}
    assert forms(pyfq.quantize_rate(w, 4), activation_bits=8) == {"quantized", "prepared"}
    assert "csr" in forms(pyfq.to_sparse(w, "csr"))


@pytest.mark.parametrize("batch", [1, 7])
def test_fastest_returns_weights_that_give_the_same(batch):
    w = pyfq.prune_ratio(weights(), 0.9).weights
    x = weights((batch, 80))
    found = pyfq.fastest(w, batch)
    np.testing.assert_allclose(pyfq.linear(x, found.weights), x @ w.T, rtol=1e-5, atol=1e-5)
    assert found.form == min(found.seconds, key=found.seconds.get)
    assert found.reason.startswith(f"{found.form} takes")
    assert f"for {batch} row" in found.reason


def test_fastest_measures_a_layer_once(monkeypatch):
    w = weights((33, 44))
    first = pyfq.fastest(w, 3).seconds
    monkeypatch.setattr(
        sys.modules["pyfq.products.fastest"], "linear", None
    )  # a second measurement would call it
    assert pyfq.fastest(w + 1, 3).seconds == first


@pytest.mark.parametrize("batch, error", [(0, ValueError), (1.5, TypeError)])
def test_fastest_refuses_what_is_no_batch(batch, error):
    with pytest.raises(error, match="batch"):
        pyfq.fastest(weights(), batch)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (4,), (2, 3, 4)])
def test_fastest_refuses_what_is_no_layer(shape):
    with pytest.raises(ValueError, match="w must have 2 axes and entries"):
        pyfq.fastest(np.zeros(shape))


def test_fastest_refuses_other_dtypes_and_bits():
    with pytest.raises(TypeError, match="w must be float32 or float64, not int64"):
        pyfq.fastest(np.ones((2, 2), int))
    with pytest.raises(ValueError, match="activation_bits=8 needs quantized weights"):
        pyfq.fastest(weights(), activation_bits=8)
