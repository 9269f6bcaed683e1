"""The pytest plugin: pairs as a fixture, and readable comparisons of registers.

def test_a_crash_goes_unnoticed(make_pair):
    pair = make_pair("ledger", ["--lines=20"])
    pair.crash("primary")
    assert pair.wait_live() == 2
    assert pair.wait_finished().secondary == 0
    check_ledger(pair.transcript, pair.disk(), lines=20)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from vlockstep.testing.pair import Pair


class MakePair(Protocol):
    """Makes a `Pair` with the same arguments, in a directory of its own below `tmp_path`."""

    def __call__(self, *arguments: Any, start: bool = True, **options: Any) -> Pair: ...


@pytest.fixture
def make_pair(tmp_path: Path) -> Iterator[MakePair]:
    """Makes pairs and starts them, but with `start=False`; all are closed when the test ends."""
    from vlockstep.testing.pair import Pair

    with ExitStack() as stack:
        count = 0

        def make(*arguments: Any, start: bool = True, **options: Any) -> Pair:
            nonlocal count
            count += 1
            pair = Pair(*arguments, **{"directory": tmp_path / f"pair{count}"} | options)
            stack.callback(pair.close)
            if start:
                pair.start()
            return pair

        yield make


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """The registers that differ, where two `Registers` should be equal."""
    from vlockstep.machine.registers import Registers, describe_difference

    if op != "==" or not (isinstance(left, Registers) and isinstance(right, Registers)):
        return None
    head = f"{left!r} == {right!r}"
    if left.keys() != right.keys():
        return [head, f"not in both: {sorted(left.keys() ^ right.keys())}"]
    return [head, *describe_difference(left, right).splitlines()]
