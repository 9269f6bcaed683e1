"""A replica as a process: what it makes of an arbiter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import sample

from vlockstep.arbiter import ArbiterError, Verdict
from vlockstep.ft import channel
from vlockstep.ft.host import Setting
from vlockstep.ft.process import Process
from vlockstep.ft.protocol import Claim
from vlockstep.replay.devices import ConsoleFile


class Arbiter:
    """Answers with these, in turn."""

    def __init__(self, *answers: Verdict | Exception) -> None:
        self._answers = iter(answers)

    def claim(self, expected: int, alone: bool) -> Verdict:
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self, generation: int) -> None: ...


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def process(tmp_path: Path, said: list[str]) -> Iterator[Process]:
    arbiter = Arbiter(
        ArbiterError("away"),
        ArbiterError("away"),
        ZeroDivisionError("odd"),
        ArbiterError("away"),
        Verdict.LOST,
        ArbiterError("away"),
    )

    def observe(event: dict[str, Any]) -> None:
        said.append(event.get("text", ""))

    setting = Setting(sample("hello"), ConsoleFile(tmp_path / "console"), {}, {})
    listener = channel.listen(f"ipc://{tmp_path}/socket", None)
    yield Process(setting, listener, arbiter, observe)
    listener.close()


def test_whatever_fails_in_a_claim_it_is_answered_and_told_once(
    process: Process, said: list[str]
) -> None:
    answers = []
    for _ in range(6):
        process.claim(Claim(1, alone=True))
        answers.append(process._answers.get(timeout=10))
    assert answers == [None, None, None, None, Verdict.LOST, None]
    assert said == ["away", "the arbiter failed: ZeroDivisionError: odd", "away", "away"]
