"""``pyfq demo``: what each step of compression costs a small network, on data it has not seen."""

import argparse
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

import pyfq
from pyfq import plot
from pyfq.cli import SubParsers
from pyfq.cli.report import write_json
from pyfq.io import open_safetensors, write_safetensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Network = dict[str, NDArray[np.float32]]

DESCRIPTION = """\
Train a network on handwritten digits, compress it step by step, write every step to a file, read
it back and let it classify digits that training did not see.
"""

EPILOG = """\
examples:
  pyfq demo                           table on stdout, files and figure in demo/
  pyfq demo --quick --json demo.json  a smaller network; the table as JSON too
"""

NOTE = """\
bits/weight: weights or codes, scales, and the mask of what is pruned.
sparsity: the fraction of weights that the file gives back as zero, by pruning or by rounding.
bytes: the whole file on disk, with its header and the biases, which stay float32. Pruned weights
are left out and marked in a mask of one bit each: as zeros they would be as large as any other.
SQNR: of all weights together."""


@dataclass(frozen=True)
class Step:
    """One way to compress: the fraction that is pruned, and the bits the rest is quantized to."""

    ratio: float = 0.0
    bits: int | None = None

    @property
    def name(self) -> str:
        """What the table calls it."""
        pruned = f"{self.ratio:.0%} pruned" if self.ratio else ""
        quantized = f"{self.bits} bits" if self.bits else ""
        return " + ".join(part for part in (quantized, pruned) if part) or "dense"

    @property
    def family(self) -> str:
        """What the figure's legend calls it."""
        pruned, quantized = "pruned" if self.ratio else "", "quantized" if self.bits else ""
        return " and ".join(part for part in (pruned, quantized) if part) or "dense (float32)"


LADDER = (
    Step(),
    *(Step(bits=bits) for bits in (8, 6, 4, 3, 2)),
    *(Step(ratio) for ratio in (0.3, 0.5, 0.8)),
    *(Step(ratio, bits) for ratio, bits in ((0.5, 8), (0.5, 4), (0.8, 4))),
)


@dataclass(frozen=True, eq=False)
class Digits:
    """Images as rows of pixels, 0 ... 1, and what they show."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """A row of the table: a step and what became of the network."""

    step: str
    family: str
    bits_per_weight: float
    sparsity: float
    nbytes: int
    sqnr: float
    accuracy: float
    accuracy_lost: float


def add_parser(subparsers: SubParsers) -> None:
    """Add the arguments of the command."""
    parser = subparsers.add_parser(
        "demo",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("demo"),
        help="where to put checkpoints and figure (default: demo)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the table as JSON too; - for stdout")
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the split and of training (default: 0)"
    )
    parser.add_argument("--quick", action="store_true", help="a smaller network, trained less")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    start = time.perf_counter()
    hidden = (64, 32) if args.quick else (256, 128)
    network, unseen = train(hidden, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    rows, answers = climb(network, unseen, args.out)
    if args.json != "-":
        print(f"{as_table(rows)}\n\n{NOTE}")
    figure = args.out / "demo.png"
    draw(rows, answers, unseen).savefig(figure)
    if args.json is not None:
        report = {
            "pyfq": pyfq.__version__,
            "seed": args.seed,
            "layers": [64, *hidden, 10],
            "digits": len(unseen.y),
            "rows": [asdict(row) for row in rows],
        }
        write_json(report, args.json)
    print(f"figure: {figure} ({time.perf_counter() - start:.1f} s in all)", file=sys.stderr)
    return 0


def train(hidden: tuple[int, ...], seed: int) -> tuple[Network, Digits]:
    """Return a trained network, weights `(out, in)`, and the digits that it has not seen."""
    try:
        import matplotlib  # noqa: F401 -- needed last, so better missed first
        from sklearn.datasets import load_digits
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.model_selection import train_test_split
        from sklearn.neural_network import MLPClassifier
    except ModuleNotFoundError as e:
        raise ImportError(
            "the demo needs scikit-learn and matplotlib: pip install 'pyfq-fortran[demo]'"
        ) from e
    x, y = load_digits(return_X_y=True)
    seen_x, x, seen_y, y = train_test_split(x / 16, y, test_size=0.3, stratify=y, random_state=seed)
    layers = "-".join(map(str, (64, *hidden, 10)))
    print(f"training {layers} on {len(seen_y)} digits", file=sys.stderr)
    classifier = MLPClassifier(hidden, alpha=0.01, tol=1e-3, max_iter=60, random_state=seed)
    with warnings.catch_warnings():  # a network that could be better is good enough here
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(seen_x, seen_y)
    network = {}
    for i, (w, b) in enumerate(zip(classifier.coefs_, classifier.intercepts_, strict=True)):
        network[f"layers.{i}.weight"] = np.ascontiguousarray(w.T, np.float32)
        network[f"layers.{i}.bias"] = b.astype(np.float32)
    return network, Digits(x.astype(np.float32), y)


def climb(
    network: Network, unseen: Digits, directory: Path
) -> tuple[list[Row], list[NDArray[np.int64]]]:
    """Write the network as each step of the ladder has it, and evaluate what the files hold.

    Returns the table, and for each of its rows the answers of the network.
    """
    weights = {name: w for name, w in network.items() if name.endswith(".weight")}
    biases = {name: b for name, b in network.items() if name not in weights}
    dense = flat(weights)
    rows, answers = [], []
    for step in LADDER:
        path = directory / f"{step.name.replace(' ', '').replace('%', '')}.safetensors"
        write_safetensors(path, biases | compress(weights, step))
        with open_safetensors(path) as file:
            loaded = {name: decompress(file, name, w.shape, step) for name, w in weights.items()}
            answer = classify(loaded | {name: file[name] for name in biases}, unseen.x)
            stored = file.nbytes - sum(b.nbytes for b in biases.values())
        back = flat(loaded)
        accuracy = float(np.mean(answer == unseen.y))
        rows.append(
            Row(
                step=step.name,
                family=step.family,
                bits_per_weight=8 * stored / dense.size,
                sparsity=float(np.mean(back == 0)),
                nbytes=path.stat().st_size,
                sqnr=pyfq.distortion(dense, back).sqnr,
                accuracy=accuracy,
                accuracy_lost=rows[0].accuracy - accuracy if rows else 0.0,
            )
        )
        answers.append(answer)
    return rows, answers


def flat(weights: Network) -> NDArray[np.float32]:
    """Return all weights in a row."""
    return np.concatenate([w.reshape(-1) for w in weights.values()])


def compress(weights: Network, step: Step) -> dict[str, NDArray]:
    """Return what is stored of the weights: values, or codes and scales, and a mask if pruned.

    All tensors are ranked together: the weights that matter least may all be in one layer.
    """
    stored: dict[str, NDArray] = {}
    for name, pruned in pyfq.prune_global(weights, step.ratio).items():
        if step.ratio:
            stored[f"{name}_mask"] = pyfq.pack(pruned.mask.view(np.uint8), 1)
        if step.bits:
            quantized = pyfq.quantize(pruned.weights, step.bits)
            stored[f"{name}_codes"] = pyfq.pack(quantized.codes[pruned.mask], step.bits)
            stored[f"{name}_scale"] = quantized.scale
        else:
            stored[f"{name}_values"] = pruned.weights[pruned.mask]
    return stored


def decompress(
    stored: Mapping[str, NDArray], name: str, shape: tuple[int, int], step: Step
) -> NDArray[np.float32]:
    """Return the weights that `compress` stored."""
    mask = np.ones(shape, np.bool_)
    if step.ratio:
        mask = pyfq.unpack(stored[f"{name}_mask"], 1, shape[1]).view(np.bool_)
    w = np.zeros(shape, np.float32)
    if step.bits:
        kept = np.count_nonzero(mask)
        w[mask] = pyfq.unpack(stored[f"{name}_codes"], step.bits, kept, signed=True)
        w *= stored[f"{name}_scale"]
    else:
        w[mask] = stored[f"{name}_values"]
    return w


def classify(network: Network, x: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the digit that each row of pixels shows, as the network has it."""
    last = len(network) // 2 - 1
    for i in range(last + 1):
        x = x @ network[f"layers.{i}.weight"].T + network[f"layers.{i}.bias"]
        if i < last:
            x = np.maximum(x, 0)
    return x.argmax(axis=1)


def as_table(rows: list[Row]) -> str:
    """Return the rows as text."""
    columns = ("step", "bits/weight", "sparsity", "bytes", "SQNR / dB", "accuracy", "points lost")
    cells = [
        (row.step, f"{row.bits_per_weight:.2f}", f"{row.sparsity:.1%}", f"{row.nbytes:,}",
         f"{row.sqnr:.1f}", f"{row.accuracy:.2%}", f"{100 * row.accuracy_lost:.2f}") for row in rows
    ]  # fmt: skip
    return tabulate(cells, columns, disable_numparse=True, colalign=("left", *["right"] * 6))


def draw(rows: list[Row], answers: list[NDArray[np.int64]], unseen: Digits) -> "Figure":
    """Return the figure: all rows, and what the smallest network within a point gets wrong."""
    good = [i for i, row in enumerate(rows) if row.accuracy_lost <= 0.01]
    smallest = min(good, key=lambda i: rows[i].nbytes)
    flipped = np.flatnonzero((answers[0] == unseen.y) & (answers[smallest] != unseen.y))
    return plot.accuracy_by_bytes(
        [plot.Point(row.step, row.family, row.nbytes, row.accuracy) for row in rows],
        title=f"{len(unseen.y)} digits that training did not see",
        flips=[
            plot.Flip(unseen.x[i].reshape(8, 8), str(unseen.y[i]), str(answers[smallest][i]))
            for i in flipped
        ],
        flips_title=f"lost by {rows[smallest].step}\n(truth → answer)",
    )
