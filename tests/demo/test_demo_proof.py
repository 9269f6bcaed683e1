"""The checks can fail: each kind of damage is found, and named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from vlockstep.demo import proof
from vlockstep.demo.plan import Plan, make_plan
from vlockstep.demo.screens import Quiet
from vlockstep.demo.stage import Continued, make_pair, perform
from vlockstep.demo.story import Fate, Story
from vlockstep.testing import Pair, Replayed

LINES = 20


def plan_of(**changes: object) -> Plan:
    options = {"lines": LINES, "memory": 16, "place": "write:30", "pause": False, "seed": 1}
    return make_plan("ledger", [], **options | changes)  # type: ignore[arg-type]


@dataclasses.dataclass
class Shown:
    pair: Pair
    story: Story
    log: Replayed


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    plan = plan_of()
    pair = make_pair(plan, tmp_path_factory.mktemp("demo"))
    story, _ = perform(plan, pair, Quiet())
    log = proof.rerun(pair.log("secondary"), plan.image)
    assert isinstance(log, Replayed)
    return Shown(pair, story, log)


def test_all_of_it_holds(shown: Shown) -> None:
    checks = list(proof.prove(shown.story.plan, shown.pair, shown.story, None))
    assert [(check.name, check.ok) for check in checks] == [
        ("failover", True), ("console", True), ("disk", True), ("end state", True),
    ]  # fmt: skip


def test_console_text_that_was_tampered_with(shown: Shown) -> None:
    text = shown.pair.transcript
    rows = text.splitlines(keepends=True)
    assert proof.console(text, shown.log, LINES).ok
    changed = text.replace(b"sum=", b"sum:", 1)
    damages = {
        b"".join(rows[:4] + rows[5:]): "line 5 ",
        b"".join(rows[:5] + rows[4:]): "line 6 ",
        changed: "line 1 ",
        text[:-1]: f"{len(text) - 1} bytes on the console, {len(text)} by the log",
        text + b"\n": f"{len(text) + 1} bytes on the console",
    }
    for damaged, named in damages.items():
        check = proof.console(damaged, shown.log, LINES)
        assert not check.ok
        assert named in check.text


def test_numbers_of_the_lines_are_checked_without_the_log(shown: Shown) -> None:
    """Should primary and log agree on a line too few."""
    rows = shown.pair.transcript.splitlines(keepends=True)
    text = b"".join(rows[:4] + rows[5:])
    check = proof.console(text, dataclasses.replace(shown.log, console=text), LINES)
    assert check.text == f"the numbers of the lines are not 1 to {LINES}, each once"


@pytest.mark.parametrize("offset", [0, 512 * 7 + 60, 512 * LINES - 1, 512 * LINES])
def test_a_disk_that_was_tampered_with(shown: Shown, offset: int) -> None:
    content = bytearray(shown.pair.disk())
    assert proof.ledger_disk(shown.pair.transcript, bytes(content), LINES).ok
    content[offset] ^= 1
    assert not proof.ledger_disk(shown.pair.transcript, bytes(content), LINES).ok


def test_another_end_state(shown: Shown) -> None:
    assert shown.story.finished is not None
    assert proof.end_state(shown.story, shown.log).ok
    finished = dict(shown.story.finished)
    registers = dict(finished["registers"]) | {"rbx": "0x1234"}
    changes: list[tuple[dict[str, object], str]] = [
        ({"registers": registers}, "other registers than in the replay: rbx"),
        ({"memory_digest": "00"}, "another digest of the RAM"),
        ({"status": 9}, "status 9, 0 in the replay"),
    ]
    for change, named in changes:
        story = Story(shown.story.plan)
        story.finished = finished | change
        check = proof.end_state(story, shown.log)
        assert not check.ok and named in check.text
    assert not proof.end_state(Story(shown.story.plan), shown.log).ok


def test_a_log_that_is_damaged_or_cut_off(shown: Shown, tmp_path: Path) -> None:
    log = tmp_path / "damaged.vlog"
    content = shown.pair.log("secondary").read_bytes()
    log.write_bytes(content[:-40] + bytes(40))
    damaged = proof.rerun(log, shown.story.plan.image)
    assert isinstance(damaged, str) and "damaged" in damaged
    log.write_bytes(content[:-40])
    cut = proof.rerun(log, shown.story.plan.image)
    for found in (damaged, cut):
        assert not proof.console(shown.pair.transcript, found, LINES).ok
        assert not proof.end_state(shown.story, found).ok


def test_failover() -> None:
    story = Story(plan_of())
    assert "never came to write:30" in proof.failover(story).text
    story.fault = Fate(100.0, -9)
    assert "B never went live" in proof.failover(story).text
    story.live = {"time": 99.9}
    assert proof.failover(story).text == "B went live 100 ms before A was killed"
    story.live = {"time": 100.25}
    assert proof.failover(story) == proof.Check("failover", True, "250 ms from A's death to B live")


@pytest.mark.parametrize(
    ("continued", "text"),
    [
        (None, "A was never continued"),
        (Continued(1.0, 1, "replaced", ("console.txt",)), "it wrote to console.txt"),
        (Continued(1.0, None, "", ()), "it did not stop"),
        (Continued(1.0, 0, "", ()), "it left with status 0"),
        (Continued(1.0, -11, "", ()), "it left with status -11"),
    ],
)
def test_an_old_primary_that_does_not_give_way(continued: Continued | None, text: str) -> None:
    assert proof.old_primary(continued) == proof.Check("old primary", False, text)


def test_a_seed_repeats_the_place() -> None:
    places = {plan_of(place=None, seed=seed).place for seed in range(20)}
    assert len(places) > 5
    assert plan_of(place=None, seed=3) == plan_of(place=None, seed=3)
    assert all(30 <= int(place.removeprefix("write:")) <= 60 for place in places)
