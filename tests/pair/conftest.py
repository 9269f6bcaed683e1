"""Pairs as users of the plugin have them, on the engine that is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import support

from vlockstep.testing import Pair
from vlockstep.testing.plugin import MakePair, pytest_assertrepr_compare
from vlockstep.testing.plugin import make_pair as make_any_pair

__all__ = ["make_any_pair", "make_pair", "pytest_assertrepr_compare"]


@pytest.fixture
def make_pair(make_any_pair: MakePair) -> MakePair:
    def make(*arguments: Any, start: bool = True, **options: Any) -> Pair:
        pair = make_any_pair(*arguments, start=False, **options)
        if support.on_kvm:
            pair.specs = {s: replace(spec, engine="kvm") for s, spec in pair.specs.items()}
        if start:
            pair.start()
        return pair

    return make
