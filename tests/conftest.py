"""Settings of every test; `--hypothesis-profile=thorough` draws many more examples."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "pyfq",
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.register_profile("thorough", settings.get_profile("pyfq"), max_examples=5000)
settings.load_profile("pyfq")
