"""Where pytest shows a failure."""

from __future__ import annotations

from typing import Any

from vlockstep.errors import VlockstepError


def hide(failure: Any) -> bool:
    """As a module's `__tracebackhide__`: a failure of a test is shown in the test's line, a bug of
    the module in the module's."""
    return isinstance(failure.value, AssertionError | VlockstepError)
