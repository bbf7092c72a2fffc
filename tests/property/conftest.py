"""How hard the properties are tried: REKINDLE_HYPOTHESIS=default (quick), ci or deep."""

import os

from hypothesis import HealthCheck, settings

_COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
settings.register_profile("default", _COMMON, max_examples=200, derandomize=True, database=None)
settings.register_profile("ci", _COMMON, max_examples=1_000, print_blob=True)
settings.register_profile("deep", _COMMON, max_examples=20_000, print_blob=True)
settings.load_profile(os.environ.get("REKINDLE_HYPOTHESIS", "default"))
