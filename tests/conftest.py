"""What all tests share: properties have no deadline, for a shared machine may pause; `timeout` bounds every test."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
