"""Pairs as users of the plugin have them, but more patient: several of them share these CPUs."""

from __future__ import annotations

from typing import Any

import pytest
from pair_checks import MISSES

from vlockstep.testing import Pair
from vlockstep.testing.plugin import MakePair, pytest_assertrepr_compare
from vlockstep.testing.plugin import make_pair as make_any_pair

__all__ = ["make_any_pair", "make_pair", "pytest_assertrepr_compare"]


@pytest.fixture
def make_pair(make_any_pair: MakePair) -> MakePair:
    def make(*arguments: Any, start: bool = True, **options: Any) -> Pair:
        return make_any_pair(*arguments, start=start, **{"misses": MISSES} | options)

    return make
