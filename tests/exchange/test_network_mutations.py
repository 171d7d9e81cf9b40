"""Damaged files of networks are refused, or hold networks that Fortran builds and runs."""

import random
import warnings

import numpy as np
import pytest
from hypothesis import settings

import pyfq
from pyfq import Dense, Network, PerGroup, reference

RNG = np.random.default_rng(3)


def matrix(rows, cols):
    """Return weights of float32."""
    return RNG.standard_normal((rows, cols)).astype(np.float32)


def of_two(change, dtype=np.float32, **options):
    """Return a network of two layers whose weights are in some form."""
    layers = []
    for rows, cols, activation in ((12, 16, "relu"), (5, 12, None)):
        w = change(matrix(rows, cols).astype(dtype))
        layers.append(Dense(w, RNG.standard_normal(rows).astype(dtype), activation))
    return Network(layers, **options)


def pruned(w):
    """Return weights of which two of four neighbours are left."""
    return pyfq.prune_nm(w, 2, 4).weights


def without_rows(w):
    """Return weights of which the first rows are zeros."""
    return np.where(np.arange(len(w))[:, None] < 2, 0, w).astype(w.dtype)


def coded(form):
    """Return what makes codes of weights without zeros."""
    return lambda w: pyfq.to_sparse(pyfq.quantize(pruned(w), 8), form)


def calibrated():
    """Return a network whose inputs become codes of a fixed step."""
    network = of_two(lambda w: pyfq.quantize(w, 8))
    return network.calibrate(matrix(32, 16))


def networks():
    """Return networks of all forms of weights."""
    ends = {
        "input_mean": matrix(1, 16)[0], "input_scale": np.abs(matrix(1, 16)[0]) + 1,
        "output_mean": matrix(1, 5)[0], "output_scale": np.abs(matrix(1, 5)[0]) + 1,
    }  # fmt: skip
    return [
        of_two(lambda w: w, **ends),
        of_two(lambda w: w, np.float64),
        of_two(pyfq.to_half),
        of_two(lambda w: pyfq.quantize(w, 3, granularity=PerGroup(4))),
        of_two(lambda w: pyfq.quantize(w, 4, scheme="minmax"), activation_bits=8),
        of_two(lambda w: pyfq.quantize_codebook(w)),
        of_two(lambda w: pyfq.quantize_rate(w, step=0.1)),
        of_two(lambda w: pyfq.to_sparse(pruned(w))),
        of_two(lambda w: pyfq.to_sparse(pruned(w), "nm")),
        of_two(lambda w: pyfq.to_sparse(without_rows(w), "rows")),
        of_two(coded("csr"), activation_bits=8),
        of_two(coded("nm"), activation_bits=8),
        calibrated(),
    ]


def changed(rng, content):
    """Return bytes with some of them changed, left out, or there twice."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, n = rng.randrange(len(content)), rng.choice((1, 1, 2, 8))
        match rng.randrange(6):
            case 0 | 1:
                content[at] ^= 1 << rng.randrange(8)
            case 2:
                content[at : at + n] = bytes(rng.choice((0, 1, 127, 128, 255)) for _ in range(n))
            case 3:
                content[at:at] = content[at : at + n]
            case 4:
                del content[at : at + n]
            case _:  # a number of the header
                header = content.find(b"}}", 8)
                digits = [i for i in range(8, max(header, 9)) if 48 <= content[i] <= 57]
                if digits:
                    content[rng.choice(digits)] = rng.choice(b"0123456789")
    return bytes(content)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_networks_are_refused_or_run(tmp_path, seed):
    rng, path = random.Random(seed), tmp_path / "n.safetensors"
    contents = []
    for network in networks():
        pyfq.save_network(network, path)
        contents.append(path.read_bytes())
    ran = 0
    for number in range(3 * settings().max_examples):
        path.write_bytes(changed(rng, contents[number % len(contents)]))
        try:
            network = pyfq.load_network(path)
        except (ValueError, OSError) as error:
            assert len(str(error)) < 2000
            continue
        for batch in (1, 2, 3, 30):
            ran += runs(network, batch)
    assert ran > 0


def runs(network, batch):
    """Return whether a network takes samples; what it gives then is that of the reference."""
    x = np.random.default_rng(batch).standard_normal((batch, network.sizes[0]))
    x = x.astype(network.dtype)
    try:
        got = network.forward(x)
    except (ValueError, pyfq.FqError):
        return False  # a stream is damaged, or what becomes codes is not finite
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        want = reference.forward_network(x, network)
    assert got.shape == want.shape
    finite = np.isfinite(want) & np.isfinite(got)
    room = 1e-4 * max(1.0, np.abs(want[finite]).max(initial=0))
    if room < 1e10:  # else sums may lose more
        np.testing.assert_allclose(got[finite], want[finite], rtol=1e-3, atol=room)
    return True
