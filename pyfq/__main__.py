"""``python -m pyfq`` is ``pyfq``."""

import sys

from _pyfq_command import main

if __name__ == "__main__":
    sys.exit(main())
