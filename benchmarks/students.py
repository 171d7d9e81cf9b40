"""What distillation, quantization and fine-tuning do to small students: means over seeds.

``python benchmarks/students.py digits`` classifies scikit-learn's digits, ``... emulator`` emulates
the condensate of a lifted parcel of air; ``--seeds N`` and ``--json FILE``.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate
from tqdm import tqdm

import pyfq
from pyfq import Adam, AdamW, FakeQuantize, Network, Schedule, distill, train

COSINE = Schedule("cosine")


def main() -> int:
    """Run an experiment for each seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=("digits", "emulator"))
    parser.add_argument("--seeds", metavar="N", type=int, default=20)
    parser.add_argument("--json", metavar="FILE", type=Path)
    options = parser.parse_args()
    experiment = {"digits": digits, "emulator": emulator}[options.experiment]
    rows = [experiment(seed) for seed in tqdm(range(options.seeds), disable=None, leave=False)]
    measured = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    print(as_table(measured))
    if options.json:
        options.json.write_text(json.dumps({k: v.tolist() for k, v in measured.items()}))
    return 0


def as_table(measured: dict[str, NDArray]) -> str:
    """Return means, standard errors, and differences from the student that was trained alone."""
    alone = next(values for name, values in measured.items() if "alone" in name)
    root = math.sqrt(len(alone))
    cells = []
    for name, values in measured.items():
        ahead = values - alone
        cells.append(
            (
                name,
                f"{values.mean():.4g}",
                f"{values.std(ddof=1) / root:.2g}",
                "" if values is alone else f"{ahead.mean():+.3g}",
                "" if values is alone else f"{ahead.std(ddof=1) / root:.2g}",
            )
        )
    headers = ("", "mean", "standard error", "ahead of alone", "standard error")
    return tabulate(cells, headers, disable_numparse=True, colalign=("left", *["right"] * 4))


def digits(seed: int) -> dict[str, float]:
    """Return percents of right answers on digits that training did not see."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x, unseen, y, answers = train_test_split(
        (x / 16).astype(np.float32), y, test_size=0.3, stratify=y, random_state=seed
    )
    teacher = train(
        Network.create((64, 256, 128, 10), seed=seed), x, y, epochs=40, seed=seed,
        optimizer=AdamW(1e-3, 0.05), schedule=COSINE,
    ).network  # fmt: skip
    start = Network.create((64, 8, 10), seed=seed + 100)
    how = {
        "epochs": 200, "batch_size": 32, "seed": seed, "optimizer": Adam(5e-3), "schedule": COSINE,
    }  # fmt: skip
    alone = train(start, x, y, **how).network
    student = distill(teacher, start, x, y, temperature=2.0, **how).network
    rounding = FakeQuantize(4)
    tuned = distill(
        teacher, student, x, y, temperature=2.0, fake_quantize=rounding,
        **how | {"epochs": 40, "optimizer": Adam(1e-3)},
    ).network  # fmt: skip
    networks = {
        "teacher 64-256-128-10": teacher,
        "student 64-8-10, alone": alone,
        "distilled": student,
        "distilled, 8 bits, activations too": in_8_bits(student),
        "distilled, 4 bits, rounded": student.map_weights(rounding.apply),
        "distilled, 4 bits, fine-tuned": tuned.map_weights(rounding.apply),
    }
    return {
        name: 100 * float(np.mean(network.forward(unseen).argmax(axis=1) == answers))
        for name, network in networks.items()
    }


def emulator(seed: int) -> dict[str, float]:
    """Return root mean square errors in g/kg on states that training did not see."""
    generator = np.random.default_rng(seed)
    x, unseen = states(generator, 20_000), states(generator, 20_000)
    y = condensate(x)
    ends = dict(scales(x, y))
    tanh = {"activation": "tanh", "seed": seed}
    teacher = replace(Network.create((6, 128, 128, 1), **tanh), **ends)
    how = {"epochs": 60, "batch_size": 128, "seed": seed, "schedule": COSINE}
    teacher = train(teacher, x, y, optimizer=Adam(2e-3), **how).network
    start = replace(Network.create((6, 24, 1), **tanh), **ends)
    few = slice(0, 2000)  # the student has seen a tenth of the truth, and all that its teacher says
    alone = train(
        start, x[few], y[few], optimizer=Adam(1e-2), **how | {"epochs": 600}
    ).network  # as many steps
    student = distill(teacher, start, x, optimizer=Adam(1e-2), **how).network
    tuned = distill(
        teacher, student, x, fake_quantize=FakeQuantize(8), optimizer=Adam(1e-3), **how
    ).network
    networks = {
        "teacher 6-128-128-1": teacher,
        "student 6-24-1, alone, 2000 samples": alone,
        "distilled": student,
        "distilled, 8 bits, rounded": student.map_weights(lambda w: pyfq.quantize(w, 8)),
        "distilled, 8 bits, fine-tuned": tuned.map_weights(lambda w: pyfq.quantize(w, 8)),
        "the same, activations too": in_8_bits(tuned),
    }
    truth = condensate(unseen)
    return {
        name: float(np.sqrt(np.mean((network.forward(unseen) - truth) ** 2)))
        for name, network in networks.items()
    }


def in_8_bits(network: Network) -> Network:
    """Return the network with weights and activations of 8 bits."""
    return replace(network.map_weights(lambda w: pyfq.quantize(w, 8)), activation_bits=8)


def states(generator: np.random.Generator, samples: int) -> NDArray[np.float32]:
    """Return states: temperature / K, pressure / Pa, relative humidity, ascent / m, lapse rate /
    (K/m), fraction of dry air mixed in.
    """  # noqa: D205
    low = (273.0, 6e4, 0.3, 0.0, 0.004, 0.0)
    high = (303.0, 1e5, 1.0, 2000.0, 0.0098, 0.3)
    return generator.uniform(low, high, (samples, 6)).astype(np.float32)


def condensate(x: NDArray) -> NDArray[np.float32]:
    """Return by how much the vapour of a lifted parcel exceeds saturation, in g/kg."""
    temperature, pressure, humidity, ascent, lapse, mixed = x.astype(np.float64).T
    vapour = (1 - mixed) * humidity * saturation(temperature, pressure)
    above = pressure * np.exp(-9.81 * ascent / (287.04 * temperature))
    excess = vapour - saturation(temperature - lapse * ascent, above)
    return (1000 * excess).astype(np.float32)[:, None]


def saturation(temperature: NDArray, pressure: NDArray) -> NDArray:
    """Return the saturation mixing ratio (Bolton 1980, Mon. Wea. Rev. 108, equation 10)."""
    celsius = temperature - 273.15
    vapour = 611.2 * np.exp(17.67 * celsius / (celsius + 243.5))
    return 0.622 * vapour / (pressure - vapour)


def scales(x: NDArray, y: NDArray) -> Iterator[tuple[str, NDArray]]:
    """Yield means and deviations as a network takes them."""
    for side, values in (("input", x), ("output", y)):
        yield f"{side}_mean", values.mean(axis=0)
        yield f"{side}_scale", values.std(axis=0)


if __name__ == "__main__":
    sys.exit(main())
