"""Layers in memory: which format is chosen for which samples, and that blocks stand alone."""

import itertools

import numpy as np
import pytest

import pyfq
from pyfq import PerGroup, PerRow, _native
from pyfq._core.memory import aligned_empty
from pyfq.products.model import ENDS, FORMATS, ModelLayer, build

RNG = np.random.default_rng(5)
W = RNG.standard_normal((24, 64)).astype(np.float32)
PRUNED = pyfq.prune_nm(W, 2, 4).weights
LARGEST = np.finfo(np.float32).max


def kept_rows():
    """Return weights of which every other row is zeros."""
    w = W.copy()
    w[::2] = 0
    return w


CODES = pyfq.quantize(PRUNED, 8)
LARGE = pyfq.quantize(np.full((24, 64), LARGEST, np.float32), 8)
# Weights, whether inputs become codes, and the formats by the number of samples from which they are
# chosen.
CHOICES = {
    "array": (W, False, {1: "panels"}),
    "few rows": (W[:3], False, {1: "dense"}),
    "bfloat16": (pyfq.to_half(W, "bfloat16"), False, {1: "half"}),
    "float16": (pyfq.to_half(W, "float16"), False, {1: "half"}),
    "large float16": (pyfq.to_half(200 + W, "float16"), False, {1: "panels"}),
    "codes of 8 bits": (pyfq.quantize(W, 8), False, {1: "code_panels"}),
    "codes of 9 bits": (pyfq.quantize(W, 9), False, {1: "panels"}),
    "large steps": (LARGE, False, {1: "panels"}),
    "few rows of codes": (pyfq.quantize(W[:3], 8), False, {1: "dense"}),
    "8 bits": (pyfq.quantize(W, 8), True, {1: "codes"}),
    "4 bits": (pyfq.quantize(W, 4), True, {1: "nibbles", 3: "codes"}),
    "4 bits in groups": (pyfq.quantize(W, 4, granularity=PerGroup(32)), True, {1: "nibbles"}),
    "levels": (pyfq.quantize_codebook(W), False, {1: "level_panels"}),
    "csr": (pyfq.to_sparse(PRUNED), False, {1: "csr", 2: "blocked_csr", 17: "blocked_csr"}),
    "2:4": (pyfq.to_sparse(PRUNED, "nm"), False, {1: "nm24", 25: "blocked_csr"}),
    "codes of 2:4": (pyfq.to_sparse(CODES, "nm"), True, {1: "nm24_int8"}),
    "codes of csr": (pyfq.to_sparse(CODES), True, {1: "csr", 2: "blocked_csr", 17: "blocked_csr"}),
    "rows": (pyfq.to_sparse(kept_rows(), "rows"), False, {1: "dense", 4: "panels"}),
    "codes of rows": (
        pyfq.to_sparse(pyfq.quantize(kept_rows(), 8, granularity=PerRow()), "rows"),
        True,
        {1: "codes"},
    ),
}


@pytest.mark.parametrize("what", CHOICES)
def test_formats_are_those_for_the_samples(what):
    w, coded, formats = CHOICES[what]
    starts = [*formats, 2**63]
    for first, last in itertools.pairwise(starts):
        for batch in {first, min(first + 1, last - 1), last - 1}:
            model = build([ModelLayer(w, codes_inputs=coded)], np.float32, batch)
            assert model.formats == (formats[first],)
            assert (model.least, model.most) == (first, last - 1)


@pytest.mark.parametrize("what", CHOICES)
def test_blocks_may_be_moved(what):
    w, coded, _ = CHOICES[what]
    model = build(
        [ModelLayer(w, np.ones(len(np.asarray(w)), np.float32), "relu", coded)], np.float32, 2
    )
    moved = aligned_empty(model.memory.shape, np.int8)
    moved[:] = model.memory
    x = RNG.standard_normal((2, 64)).astype(np.float32)
    y, z = np.empty((2, *w.shape[:1]), np.float32), np.empty((2, *w.shape[:1]), np.float32)
    forward = _native.lib.fq_forward_network_f32
    assert forward(x, model.memory, y, 1) == forward(x, moved, z, 1) == 0
    np.testing.assert_array_equal(y, z)


def test_all_formats_are_chosen():
    chosen = {format for _, _, formats in CHOICES.values() for format in formats.values()}
    assert chosen | {"static"} == set(FORMATS)


def test_a_network_keeps_a_block_for_each_choice():
    network = pyfq.Network([pyfq.Dense(pyfq.to_sparse(PRUNED, "nm")), pyfq.Dense(W[:, :24].copy())])
    for batch, blocks in ((1, 1), (24, 1), (25, 2), (1000, 2), (7, 2)):
        network.forward(np.ones((batch, 64), np.float32))
        assert len(network._models) == blocks
    dense = pyfq.Network([pyfq.Dense(W)])
    for batch in (1, 3, 17, 300):
        dense.forward(np.ones((batch, 64), np.float32))
    assert len(dense._models) == 1


def test_what_does_not_fit_is_an_error_of_fortran():
    with pytest.raises(pyfq.FqError, match="model_bytes"):
        build([ModelLayer(W), ModelLayer(W)], np.float32, 1)
    ends = [np.ones(3, np.float32)] * len(ENDS)
    with pytest.raises(pyfq.FqError, match="model_bytes"):
        build([ModelLayer(W)], np.float32, 1, ends)
