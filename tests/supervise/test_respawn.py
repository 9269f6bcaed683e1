"""When the command that starts another replica runs, and when it does no more."""

from __future__ import annotations

import queue
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlockstep.errors import UsageError
from vlockstep.supervise.respawn import ATTEMPTS, Respawner

_TIMEOUT = 20


class Told:
    def __init__(self) -> None:
        self.lines = queue.SimpleQueue[str]()

    def until(self, text: str) -> list[str]:
        """What was told up to a line with this text."""
        lines = [self.lines.get(timeout=_TIMEOUT)]
        while text not in lines[-1]:
            lines.append(self.lines.get(timeout=_TIMEOUT))
        return lines


@pytest.fixture
def told() -> Iterator[Told]:
    yield Told()


def script(text: str) -> str:
    return shlex.join([sys.executable, "-c", text])


def test_it_gives_up(told: Told) -> None:
    """And begins again when the guest has been protected meanwhile."""
    respawner = Respawner(script("exit(3)"), {}, told.lines.put, interval=0)
    for _ in range(2):
        respawner.unprotected()
        lines = told.until("no other replica came of")
        assert len(lines) == ATTEMPTS + 1
        assert lines[-1].endswith("attempts; the last ended with exit status 3")
        respawner.protected()
    respawner.close()


def test_a_command_that_there_is_not(told: Told) -> None:
    with pytest.raises(UsageError, match="there is no program '/no/such/thing' here"):
        Respawner("/no/such/thing --at all", {}, told.lines.put)


def test_one_that_there_is_no_more_when_it_is_needed(told: Told, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.touch(0o755)
    respawner = Respawner(str(program), {}, told.lines.put, interval=0)
    program.unlink()
    respawner.unprotected()
    lines = told.until("no other replica came of")
    assert lines.count(f"{program} cannot be run: No such file or directory") == ATTEMPTS
    respawner.close()


def test_what_a_command_started_that_has_ended_well_gets_its_time(told: Told) -> None:
    respawner = Respawner(script("print('away')"), {}, told.lines.put, interval=0, starting=0.2)
    began = time.monotonic()
    respawner.unprotected()
    told.until("no other replica came of")
    assert time.monotonic() >= began + ATTEMPTS * 0.2
    respawner.close()


def test_but_not_when_that_is_lost_again(told: Told) -> None:
    respawner = Respawner(script("print('away')"), {}, told.lines.put, starting=1000)
    for _ in range(2):
        respawner.unprotected()
        told.until(": away")
        respawner.protected()
    respawner.close()


def test_it_ends_with_what_it_started_in_vain(told: Told) -> None:
    text = "import os, time; print(os.environ['WHERE'], flush=True); time.sleep(1000)"
    respawner = Respawner(script(text), {"WHERE": "tcp://here"}, told.lines.put)
    respawner.unprotected()
    told.until(f"{sys.executable}: tcp://here")
    process = respawner.process
    assert process is not None
    respawner.close()
    assert process.wait(_TIMEOUT) == -9


def test_what_has_come_of_it_is_left_alone_until_that_is_lost(told: Told) -> None:
    text = "import time; print('up', flush=True); time.sleep(1000)"
    respawner = Respawner(script(text), {}, told.lines.put, interval=0)
    respawner.unprotected()
    told.until(": up")
    first = respawner.process
    assert first is not None
    respawner.protected()
    assert first.poll() is None
    respawner.unprotected()
    assert first.wait(_TIMEOUT) == -9
    told.until(": up")
    assert respawner.process is not first
    respawner.close()


def test_a_long_line_comes_in_pieces(told: Told) -> None:
    respawner = Respawner(script("print('a' * 700)"), {}, told.lines.put, interval=1000)
    respawner.unprotected()
    pieces = [told.lines.get(timeout=_TIMEOUT) for _ in range(3)][1:]
    assert [piece.rpartition(" ")[2] for piece in pieces] == ["a" * 500, "a" * 200]
    respawner.close()
