"""Who waits for a move is told each step at once, also when several arrive together."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from vlockstep.cli.running import Move
from vlockstep.ft.events import DiskMoving
from vlockstep.supervise.control import Answer, ControlServer
from vlockstep.supervise.rundir import RunDirectory

MOVE = Move("move-disk", "disk-moving", "cancel-disk-move")
STEPS = 20


def test_all_steps_are_told_before_the_answer(tmp_path: Path) -> None:
    directory, told, all_told = RunDirectory(tmp_path), list[str](), threading.Event()

    def begin(request: Mapping[str, Any], answer: Answer) -> None:
        for step in range(STEPS):
            server.observe(DiskMoving("disk", str(step), "a step", 0, 1))
        wait = threading.Thread(target=lambda: answer({"in_time": all_told.wait(10)}), daemon=True)
        wait.start()

    def text_of(event: dict[str, Any]) -> None:
        told.append(event["phase"])
        if len(told) == STEPS:
            all_told.set()

    listener = directory.claim("books", "ledger")[1]
    server = ControlServer(listener, {"name": "books"}, {"move-disk": begin})
    with closing(server):
        assert MOVE.follow(tmp_path, "books", False, text_of)["in_time"]
    assert told == [str(step) for step in range(STEPS)]
