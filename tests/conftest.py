"""Settings of every test; `--hypothesis-profile=thorough` draws ten times as many examples."""

import ctypes
import gc
import os
import re
import signal
import sys
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "pyfq",
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.register_profile(
    "thorough", settings.get_profile("pyfq"), max_examples=1000, derandomize=False
)
settings.register_profile("few", settings.get_profile("pyfq"), max_examples=15)
# The gate draws a third: `make full` draws all.
settings.register_profile("gate", settings.get_profile("pyfq"), max_examples=35)
settings.load_profile("gate" if os.environ.get("CI") else "pyfq")

STARTED = time.monotonic()

# `nohup` and shells that start a job in the background have these ignored, by children too: tests
# send them.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# What libraries of others keep looks as if it was lost: sanitized tests do without the oracles.
LOOK = getattr(ctypes.CDLL(None), "__lsan_do_recoverable_leak_check", None)
if LOOK:
    pyproject = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    oracles = pyproject["project"]["optional-dependencies"]["oracles"]
    ABSENT = {re.match(r"[\w-]+", oracle)[0].replace("-", "_") for oracle in oracles}

    class NoOracles:
        """Finds no oracle; one that is None in `sys.modules` would look as if it were loaded."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            if name.partition(".")[0] in ABSENT:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, NoOracles)


def pytest_addoption(parser):
    parser.addoption("--seconds", type=float, help="skip tests that have not begun after so many")
    parser.addoption(
        "--one-variant", action="store_true", help="kernels' tests run the variant in use alone"
    )


def pytest_configure(config):
    if config.getoption("--one-variant"):
        import variants

        for isa in variants.LIBS.keys() - {variants.pyfq.isa}:
            del variants.LIBS[isa]


def pytest_runtest_setup(item):
    seconds = item.config.getoption("--seconds")
    if seconds is not None and time.monotonic() - STARTED > seconds:
        pytest.skip(f"--seconds={seconds:g} have passed")


@pytest.fixture(scope="session", autouse=True)
def no_leaks():
    """Fail at the end if memory was lost, where `.make/sanitized` lets the process look for it."""
    yield
    gc.collect()
    assert not LOOK or LOOK() == 0, "memory was lost: LeakSanitizer's report is above"
