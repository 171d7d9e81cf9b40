"""Print the sentences of scikit-learn's descriptions of its data sets, one a line.

No method or setting was chosen by them; ``sentences.py --text`` takes what this prints.
"""

import re
import sys
from pathlib import Path

import sklearn.datasets

# A sentence as prose has it, of neither a table, a link nor markup.
PROSE = re.compile(r"[A-Z][a-z].*[a-z]{2}[.!?]")
MARKUP = re.compile(r"[|=_*`:<>\\]|https?")


def main() -> int:
    """Print them, file by file."""
    folder = Path(sklearn.datasets.__file__).parent / "descr"
    for path in sorted(folder.glob("*.rst")):
        for sentence in sentences_of(path.read_text(encoding="utf-8")):
            print(sentence)
    return 0


def sentences_of(text: str) -> list[str]:
    """Return the sentences of 40 to 250 characters."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in re.split(r"(?<=[.!?]) ", " ".join(paragraph.split())):
            if PROSE.fullmatch(sentence) and 40 <= len(sentence) <= 250:
                found += [] if MARKUP.search(sentence) else [sentence]
    return found


if __name__ == "__main__":
    sys.exit(main())
