"""``python -m pyfq`` is ``pyfq``."""

import sys

from pyfq.cli import main

if __name__ == "__main__":
    sys.exit(main())
