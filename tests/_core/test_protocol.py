"""Objects that stand for arrays are arrays for whoever asks NumPy for one, and for nobody else."""

import numpy as np
import pytest

import pyfq

W = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
FORMS = {
    "Codebook": pyfq.quantize_codebook(W),
    "Half": pyfq.to_half(W),
    "LowRank": pyfq.svd_lowrank(W, rank=4),
    "Pruned": pyfq.prune_ratio(W, 0.5),
    "Quantized": pyfq.quantize(W, 4),
    "RateQuantized": pyfq.quantize_rate(W, bits=3.0),
    "Sparse": pyfq.to_sparse(pyfq.prune_nm(W), "nm"),
}


def reals(form):
    """Return what a form stands for, by its own method."""
    if isinstance(form, pyfq.Pruned):
        return form.weights
    return form.toarray() if hasattr(form, "toarray") else form.dequantize()


@pytest.mark.parametrize("word", FORMS)
def test_asarray_gives_what_a_form_stands_for(word):
    form = FORMS[word]
    for got in (np.asarray(form), np.array(form), np.ascontiguousarray(form)):
        assert (got.shape, got.dtype) == ((32, 64), np.float32)
        np.testing.assert_array_equal(got, reals(form))
    np.testing.assert_array_equal(np.asarray(form, np.float64), reals(form).astype(np.float64))
    assert np.asarray(form, np.float64).dtype == np.float64


@pytest.mark.parametrize("word", sorted(set(FORMS) - {"Pruned"}))
def test_asarray_without_a_copy_is_refused(word):
    with pytest.raises(ValueError, match="copy must not be False: the array is decoded"):
        np.asarray(FORMS[word], copy=False)


def test_asarray_of_pruned_shares_its_weights():
    assert np.asarray(FORMS["Pruned"], copy=False) is FORMS["Pruned"].weights


@pytest.mark.parametrize("word", FORMS)
def test_operators_of_arrays_refuse(word):
    for operation in (np.add, np.matmul):
        with pytest.raises(TypeError, match="does not support ufuncs"):
            operation(W, FORMS[word])
    with pytest.raises(TypeError, match="unsupported operand"):
        W @ FORMS[word]
    assert (FORMS[word] == W) is False
