"""Settings for all tests: repeatable hypothesis runs, and skips where a program is missing."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import settings

settings.register_profile("vlockstep", deadline=None, derandomize=True, database=None)
settings.load_profile("vlockstep")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("external"):
        for program in mark.args:
            if shutil.which(program) is None:
                # CI installs what the tests need, and skips none.
                (pytest.fail if "CI" in os.environ else pytest.skip)(f"needs {program}")
