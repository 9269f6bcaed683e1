"""`python -m vlockstep.sim`"""

from __future__ import annotations

import json
import re
import shlex
import sys

import pytest
from support import some

from vlockstep.arbiter import rule
from vlockstep.sim import explore
from vlockstep.sim.__main__ import main
from vlockstep.sim.execution import Result
from vlockstep.sim.schedule import Schedule


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["sim", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_all_is_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--seeds", "20", "--first", "7") == 0
    assert re.fullmatch(r"20 executions in .* s: all well\n", capsys.readouterr().out)


@pytest.mark.parametrize(("replicas", "cases"), some([(2, (50, 150, 40))], (3, (80, 500, 100))))
def test_exhaustive(
    replicas: int,
    cases: tuple[int, int, int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "--exhaustive", "ledger/1", "--replicas", f"{replicas}", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    counts = [data[kind] for kind in ("single", "double", "partitions")]
    assert data["executions"] == sum(counts)
    assert all(count > least for count, least in zip(counts, cases, strict=True))
    assert data["failures"] == []


def test_so_many_replicas(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Schedule] = []

    def note(schedule: Schedule) -> Result:
        ran.append(schedule)
        return Result(schedule, (), {})

    monkeypatch.setattr(explore, "execute", note)
    for count in ((), ("--replicas", "2"), ("--replicas", "3")):
        assert run(monkeypatch, "--seeds", "20", *count) == 0
    assert [{schedule.replicas for schedule in ran[at : at + 20]} for at in (0, 20, 40)] == [
        {2, 3}, {2}, {3},
    ]  # fmt: skip


def test_so_many_newcomers(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Schedule] = []

    def note(schedule: Schedule, watch: object = None) -> Result:
        ran.append(schedule)
        return Result(schedule, (), {})

    monkeypatch.setattr(explore, "execute", note)
    for count in ((), ("--newcomers", "0"), ("--newcomers", "2")):
        assert run(monkeypatch, "--seeds", "20", *count) == 0
    assert [{schedule.newcomers for schedule in ran[at : at + 20]} for at in (0, 20, 40)] == [
        {0, 1, 2}, {0}, {2},
    ]  # fmt: skip
    ran.clear()
    assert run(monkeypatch, "--exhaustive", "ledger/2", "--newcomers", "1", "--first", "3") == 0
    assert str(ran[0]) == "ledger/2 seed=3 newcomers=1 join:newcomer@0us"


def test_a_violation_comes_with_the_command_that_shows_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rule, "claim", lambda _, claimant, *changes: claimant)
    assert run(monkeypatch, "--seeds", "400") == 1
    out = capsys.readouterr().out
    command = re.search(r"^  python -m vlockstep\.sim (.*)$", out, re.MULTILINE)
    assert command is not None and "went wrong" in out
    assert run(monkeypatch, *shlex.split(command[1])) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--schedule", "sort/3 seed=1"], "'sort/3' is no guest"),
        (["--schedule", ""], "'' is no guest"),
        (["--schedule", "tally/3"], "write seed=N"),
        (["--schedule", "real-rewrite/3 seed=1"], "real guests are ledger, preempt, tally"),
        (["--schedule", "tally/3 seed=1 flood@3us"], "no fault 'flood'"),
        (
            ["--schedule", "tally/3 seed=1 crash@3us"],
            "crash takes primary or secondary or tertiary",
        ),
        (["--schedule", "tally/3 seed=1 drop:primary@3us"], "drop takes no target"),
        (["--schedule", "tally/3 seed=1 pause:primary@3us"], "+TIMEus tells how long"),
        (["--schedule", "tally/3 seed=1 crash:primary@3us+4us"], "does not last"),
        (["--schedule", "tally/3 seed=1 drop@#4"], "only a crash strikes at a point"),
        (["--schedule", "tally/3 seed=1 crash:primary"], "is no fault"),
        (["--exhaustive", "tally"], "'tally' is no guest"),
        (["--schedule", "ledger/0 seed=1"], "'ledger/0' is no guest"),
        (["--schedule", "ledger/1 seed=1 replicas=4"], "write replicas=2 or replicas=3"),
        (["--schedule", "ledger/1 seed=1 crash:tertiary@1us"], "only primary, secondary"),
        (["--replicas", "4"], "invalid choice: 4"),
        (["--newcomers", "3"], "invalid choice: 3"),
        (["--seeds", "0"], "must be at least 1"),
        (["--first", "-1"], "not negative"),
    ],
)
def test_wrong_usage(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert message in capsys.readouterr().err
