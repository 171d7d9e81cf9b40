"""Settings of every test."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "pyfq",
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("pyfq")
