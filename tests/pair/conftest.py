"""Pairs as a fixture, as users of the plugin have them; and what every pair must leave behind."""

from __future__ import annotations

from vlockstep.testing.plugin import make_pair, pytest_assertrepr_compare

__all__ = ["make_pair", "pytest_assertrepr_compare"]
