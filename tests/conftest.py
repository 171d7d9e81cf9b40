"""Settings of every test; `--hypothesis-profile=thorough` draws many more examples."""

import ctypes
import gc
import os
import time

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
settings.load_profile("pyfq")

STARTED = time.monotonic()


def pytest_addoption(parser):
    parser.addoption("--seconds", type=float, help="skip tests that have not begun after so many")


def pytest_runtest_setup(item):
    seconds = item.config.getoption("--seconds")
    if seconds is not None and time.monotonic() - STARTED > seconds:
        pytest.skip(f"--seconds={seconds:g} have passed")


@pytest.fixture(scope="session", autouse=True)
def no_leaks():
    """Fail at the end if memory was lost, where `.make/sanitized` lets the process look for it."""
    yield
    look = getattr(ctypes.CDLL(None), "__lsan_do_recoverable_leak_check", None)
    gc.collect()
    assert look is None or look() == 0, "memory was lost: LeakSanitizer's report is above"
