"""``pyfq demo``: from a teacher to a small quantized student, on real digits."""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

import pyfq
from pyfq import (
    Adam,
    AdamW,
    FakeQuantize,
    Network,
    Schedule,
    distill,
    plot,
    prune_neurons,
    prune_ratio,
    quantize,
    save_network,
    to_sparse,
    train,
)
from pyfq.cli import SubParsers
from pyfq.cli._help import HelpFormatter
from pyfq.cli._parser import path_of
from pyfq.cli._report import refuse_missing_directory, write_figure, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DESCRIPTION = """\
Train a teacher on handwritten digits, prune and quantize it, distil a small student from it and
quantize that; write each network to a file, and let it classify digits that training did not see.
"""

EPILOG = """\
examples:
  pyfq demo                           table on stdout, networks and figure in demo/
  pyfq demo --quick --json demo.json  smaller networks, trained less; the table as JSON too
"""

NOTE = """\
bytes: the whole file. multiply-adds: those of a sample; weights that are pruned away need none.
us: microseconds a sample, 1 or 256 samples a call, the best of several calls, {threads} threads.
scikit-learn: the same sizes, trained and timed with predict_proba; bytes of its parameters."""

BATCHES = (1, 256)


@dataclass(frozen=True, eq=False)
class Digits:
    """Images as rows of pixels, 0 ... 1, and what they show; `seen` in training, or not."""

    seen: NDArray[np.float32]
    labels: NDArray[np.int64]
    unseen: NDArray[np.float32]
    answers: NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """A row of the table: a network, and what it costs."""

    network: str
    family: str
    accuracy: float
    nbytes: int
    multiply_adds: int
    us_1: float
    us_256: float


def add_parser(subparsers: SubParsers) -> None:
    """Add the arguments of the command."""
    parser = subparsers.add_parser(
        "demo", description=DESCRIPTION, epilog=EPILOG, formatter_class=HelpFormatter
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=path_of,
        default=Path("demo"),
        help="where to put networks and figure (default: demo)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the table as JSON too; - for stdout")
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the split and of training (default: 0)"
    )
    parser.add_argument("--quick", action="store_true", help="smaller networks, trained less")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    start = time.perf_counter()
    refuse_missing_directory("--json", args.json)
    digits = load_digits(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    hidden, small, epochs = ((64, 32), 8, 40) if args.quick else ((256, 128), 16, 60)
    rows, answers = [], []
    for name, family, network in chain(digits, hidden, small, epochs, args.seed):
        path = args.out / f"{name.replace(',', '').replace(' %', '').replace(' ', '-')}.safetensors"
        save_network(network, path)
        outputs = network.forward(digits.unseen)
        rows.append(row_of(name, family, network.forward, outputs, digits, path, network))
        answers.append(outputs.argmax(axis=1))
    for name, sizes in (
        ("scikit-learn, as teacher", hidden),
        ("scikit-learn, as student", (small,)),
    ):
        rows.append(in_sklearn(name, sizes, digits, epochs, args.seed))
    if args.json != "-":
        note = NOTE.format(threads=pyfq.get_num_threads())
        print(f"{as_table(rows)}\n\n{note}")
    figure = args.out / "demo.png"
    write_figure(draw(rows, answers, digits), figure, args.command)
    if args.json is not None:
        report = {
            "pyfq": pyfq.__version__,
            "seed": args.seed,
            "teacher": [64, *hidden, 10],
            "student": [64, small, 10],
            "threads": pyfq.get_num_threads(),
            "digits": len(digits.answers),
            "rows": [asdict(row) for row in rows],
        }
        write_json(report, args.json)
    print(f"figure: {figure} ({time.perf_counter() - start:.1f} s in all)", file=sys.stderr)
    return 0


def load_digits(seed: int) -> Digits:
    """Return the digits, a third of them for evaluation."""
    try:
        import matplotlib  # noqa: F401 -- needed last, so better missed first
        from sklearn import datasets
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError as e:
        raise ImportError(
            "the demo needs scikit-learn and matplotlib: pip install scikit-learn matplotlib"
        ) from e
    x, y = datasets.load_digits(return_X_y=True)
    seen, unseen, labels, answers = train_test_split(
        (x / 16).astype(np.float32), y, test_size=1 / 3, stratify=y, random_state=seed
    )
    return Digits(seen, labels, unseen, answers)


def chain(
    digits: Digits, hidden: tuple[int, ...], small: int, epochs: int, seed: int
) -> Iterator[tuple[str, str, Network]]:
    """Yield name, family and network of each step, from the teacher to the smallest student."""
    x, y, slow = digits.seen, digits.labels, Schedule("cosine")

    def told(what: str, sizes: tuple[int, ...]) -> None:
        print(f"{what} {'-'.join(map(str, sizes))} on {len(y)} digits", file=sys.stderr)

    start = Network.create((64, *hidden, 10), seed=seed)
    told("training a teacher", start.sizes)
    teacher = train(
        start, x, y, epochs=epochs, seed=seed, optimizer=AdamW(1e-3, 0.05), schedule=slow
    ).network
    yield "teacher", "teacher", teacher
    yield "teacher, 8 bits", "teacher, compressed", in_8_bits(teacher)
    again = {"epochs": 2 * epochs, "seed": seed, "optimizer": Adam(3e-3), "schedule": slow}
    pruned = teacher.map_weights(lambda w: prune_ratio(w, 0.9).weights)
    pruned = train(pruned, x, y, keep_zeros=True, **again).network
    yield "teacher, 90 % pruned", "teacher, compressed", pruned.map_weights(to_sparse)
    both = pruned.map_weights(lambda w: to_sparse(quantize(w, 8)))
    yield "teacher, 90 % pruned, 8 bits", "teacher, compressed", replace(both, activation_bits=8)
    fewer = prune_neurons(teacher, 0.75, x).network
    fewer = distill(teacher, fewer, x, y, temperature=2.0, **again).network
    yield "teacher, a quarter of its neurons", "teacher, compressed", fewer

    start = Network.create((64, small, 10), seed=seed + 100)
    told("training a student", start.sizes)
    how = {"epochs": 4 * epochs, "batch_size": 32, "seed": seed, "schedule": slow}
    yield "student alone", "student", train(start, x, y, optimizer=Adam(5e-3), **how).network
    taught = {"temperature": 2.0, **how}
    student = distill(teacher, start, x, y, optimizer=Adam(5e-3), **taught).network
    yield "student, distilled", "student", student
    yield "student, distilled, 8 bits", "student", in_8_bits(student)
    rounding = FakeQuantize(4)
    tuned = distill(
        teacher, student, x, y, fake_quantize=rounding, optimizer=Adam(1e-3), **taught
    ).network
    yield (
        "student, distilled, 4 bits",
        "student",
        replace(tuned.map_weights(rounding.apply), activation_bits=8),
    )


def in_8_bits(network: Network) -> Network:
    """Return the network with weights and activations of 8 bits."""
    return replace(network.map_weights(lambda w: quantize(w, 8)), activation_bits=8)


def row_of(
    name: str,
    family: str,
    forward: Callable[[NDArray], NDArray],
    outputs: NDArray,
    digits: Digits,
    path: Path,
    network: Network,
) -> Row:
    """Return the row of a network."""
    accuracy = float(np.mean(outputs.argmax(axis=1) == digits.answers))
    return Row(
        name, family, accuracy, path.stat().st_size, network.multiply_adds,
        *timed(forward, digits.unseen),
    )  # fmt: skip


def in_sklearn(name: str, hidden: tuple[int, ...], digits: Digits, epochs: int, seed: int) -> Row:
    """Return the row of scikit-learn's network of the same sizes."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    classifier = MLPClassifier(hidden, max_iter=epochs, random_state=seed)
    with warnings.catch_warnings():  # a network that could be better is good enough here
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(digits.seen, digits.labels)
    parameters = [*classifier.coefs_, *classifier.intercepts_]
    return Row(
        name,
        "scikit-learn",
        float(classifier.score(digits.unseen, digits.answers)),
        sum(w.nbytes for w in parameters),
        sum(w.size for w in classifier.coefs_),
        *timed(classifier.predict_proba, digits.unseen),
    )


def timed(forward: Callable[[NDArray], NDArray], x: NDArray) -> tuple[float, ...]:
    """Return microseconds a sample, for each number of samples a call."""
    times = []
    for batch in BATCHES:
        part = np.ascontiguousarray(np.resize(x, (batch, x.shape[1])))
        best, until = np.inf, time.perf_counter() + 0.1
        while time.perf_counter() < until:
            start = time.perf_counter()
            for _ in range(10):
                forward(part)
            best = min(best, (time.perf_counter() - start) / 10)
        times.append(1e6 * best / batch)
    return tuple(times)


def as_table(rows: list[Row]) -> str:
    """Return the rows as text."""
    columns = ("network", "accuracy", "bytes", "multiply-adds", "us, 1", "us, 256")
    cells = [
        (row.network, f"{row.accuracy:.2%}", f"{row.nbytes:,}", f"{row.multiply_adds:,}",
         f"{row.us_1:.1f}", f"{row.us_256:.3f}") for row in rows
    ]  # fmt: skip
    return tabulate(cells, columns, disable_numparse=True, colalign=("left", *["right"] * 5))


def draw(rows: list[Row], answers: list[NDArray[np.int64]], digits: Digits) -> "Figure":
    """Return the figure: all networks, and what the smallest gets wrong that the teacher knows."""
    smallest = min(range(len(answers)), key=lambda i: rows[i].nbytes)
    right = answers[0] == digits.answers
    flipped = np.flatnonzero(right & (answers[smallest] != digits.answers))
    return plot.accuracy_by_bytes(
        [plot.Point(row.network, row.family, row.nbytes, row.accuracy) for row in rows],
        title=f"{len(digits.answers)} digits that training did not see",
        flips=[
            plot.Flip(
                digits.unseen[i].reshape(8, 8), str(digits.answers[i]), str(answers[smallest][i])
            )
            for i in flipped
        ],
        flips_title="what the smallest gets wrong\n(truth → answer)",
    )
