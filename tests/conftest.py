"""How every test runs: hypothesis derives its examples from the test itself, so each run tries the same.

A longer search is one variable away: HYPOTHESIS_PROFILE=search draws many more examples, new ones each time.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "suite",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
)
settings.register_profile(
    "search",
    settings.get_profile("suite"),
    derandomize=False,
    max_examples=5_000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
