"""`vlockstep.testing.replay` stops where it is told to, in the state that the guest was in."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlockstep.errors import UsageError
from vlockstep.machine.position import Position
from vlockstep.testing import LocalPair, Replayed, replay


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a ledger of 5 lines: 26 entries."""
    logs = tmp_path_factory.mktemp("logs")
    with LocalPair(logs=logs) as pair:
        pair.run()
    return logs / "primary.vlog"


def test_the_state_is_that_of_the_guest_there(log: Path) -> None:
    with LocalPair() as pair:
        for exits in (0, 7, 20):
            pair.run_to(Position(exits))
            there = replay(log, until=str(pair.primary.position))
            assert there.position == pair.primary.position
            assert there.registers == pair.registers("primary")
            assert there.memory_digest == pair.memory_digest("primary")
            assert there.status is None


@pytest.mark.parametrize(
    ("until", "position", "entries"),
    [
        ("entry:12", Position(12), 12),
        (12, Position(12), 12),
        ("exits:12", Position(12), 12),
        (Position(12, 3), Position(12, 3), 12),
        ("exits:12+3", Position(12, 3), 12),
        ("entry:0", Position(0), 0),
    ],
)
def test_spellings(
    log: Path, until: Position | str | int, position: Position, entries: int
) -> None:
    there = replay(log, until=until)
    assert (there.position, there.entries) == (position, entries)


def test_all_of_it(log: Path) -> None:
    whole = replay(log)
    assert (whole.status, whole.entries, whole.position) == (0, 26, Position(25))
    assert whole.console.endswith(b"\n")
    assert whole.console.startswith(replay(log, until="entry:12").console)


@pytest.mark.parametrize("until", ["entry:26", "exits:500", "exits:500+1", 26, -1])
def test_what_is_not_in_the_log(log: Path, until: str | int) -> None:
    with pytest.raises(UsageError, match=r"is not in .* it ends after 26 entries"):
        replay(log, until=until)


def test_what_there_is_not(log: Path) -> None:
    with pytest.raises(UsageError, match=r"exits:12\+100000 does not exist"):
        replay(log, until="exits:12+100000")
    with pytest.raises(UsageError, match="is not a position"):
        replay(log, until="sent:12")


def test_a_log_that_ends_before_the_guest(log: Path, tmp_path: Path) -> None:
    """All that there is, and no status."""
    with LocalPair(logs=tmp_path) as pair:
        pair.run_to_entry(12)
    part: Replayed = replay(tmp_path / "primary.vlog")
    assert part.status is None
    assert part == replay(log, until=part.entries)
