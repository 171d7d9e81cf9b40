"""Make ``methods.png`` beside this file: cosine over bits, from the tables of two pages."""

import re
from collections import defaultdict
from pathlib import Path

import matplotlib.pyplot as plt

HERE = Path(__file__).parent
# Columns of bits and of the cosine of 292 sentences, counted from the end of a row.
PAGES = {
    HERE.parent / "explanation" / "sentences.md": (-4, -2),
    HERE.parent / "how-to" / "compress-a-checkpoint.md": (-3, -2),
}
# What a row is of, by how its first cell begins; others are left out.
FAMILIES = (
    (r"`--target-bits [\d.]+`", "entropy-coded (--target-bits)", "o-", "#000000"),
    (r"nncodec", "NNCodec", "x--", "#D55E00"),
    (r"mixed lloyd, ", "fitted levels, widths by a budget", "s-", "#0072B2"),
    (r"\d bits minmax als", "one width, als", "^", "#009E73"),
    (r"hqq \d bits", "hqq", "v", "#CC79A7"),
    (r"nf4 ", "nf4", "D", "#E69F00"),
)


def rows_of(page: Path) -> list[list[str]]:
    """Return the cells of each row of the tables of a page."""
    lines = page.read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]


points: dict[str, list[tuple[float, float]]] = defaultdict(list)
for page, (bits, cosine) in PAGES.items():
    for row in rows_of(page):
        family = next((label for start, label, *_ in FAMILIES if re.match(start, row[0])), None)
        if family is not None and len(row) >= 4:
            points[family].append((float(row[bits]), float(row[cosine])))
figure, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
for _, label, style, colour in FAMILIES:
    x, y = zip(*sorted(points[label]), strict=True)
    axes.plot(x, y, style, color=colour, label=label, ms=5)
axes.set(xlabel="bits a weight, everything counted", ylabel="mean cosine, 292 sentences")
axes.set(xlim=(1.5, 5.2), ylim=(0, 1.02))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
figure.savefig(HERE / "methods.png", dpi=110)
