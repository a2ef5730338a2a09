"""What holds for every test: a busy machine fails no property test. Hypothesis' own limits of time are off."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("unhurried", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
