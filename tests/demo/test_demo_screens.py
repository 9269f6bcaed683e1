"""The picture keeps its height and width, and the plain lines their pace."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from rich.console import Console

from vlockstep.demo import screens
from vlockstep.demo.plan import make_plan
from vlockstep.demo.story import Fate, Story

LINE = "ledger 000500 wall=1795325547910007820 tsc=6342558588 sum=0fcd1eced29a4288"


def status(at: float, **changes: object) -> dict[str, object]:
    common = {"event": "status", "time": at, "role": "primary"}
    state = {"state": "protected", "state_text": "protected"}
    numbers = {"generation": 1, "exits": 5, "entries": 5, "log_bytes": int(at * 4096)}
    return common | state | numbers | {"lag_entries": 2, "lag_ms": 1.25} | changes


@pytest.fixture
def story() -> Story:
    return Story(
        make_plan("ledger", [], lines=400, memory=64, place=None, pause=False, seed=999999)
    )


def live(story: Story) -> Story:
    """A was killed in mid-line, B is live."""
    started = {"event": "started", "time": 10.0}
    story.hear("A", [started])
    story.hear("B", [started])
    story.see("A", status(10.1))
    story.see("A", status(10.6))
    story.end("A", Fate(11.0, -9, b"ledger 000"))
    story.hear("B", [started, {"event": "live", "time": 11.05, "generation": 2}])
    story.see("B", status(11.2, state="alone", state_text="alone", generation=2))
    return story


def drawn(
    story: Story, width: int, lines: list[str], height: int = 24, *, whole: bool = False
) -> list[str]:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(screens.picture(story, lines, height, whole=whole))
    return capture.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (80, 20)])
def test_the_picture_has_one_size(story: Story, width: int, height: int) -> None:
    before = drawn(story, width, [], height)
    after = drawn(live(story), width, [LINE] * 9, height)
    title = screens.title(story.plan)
    assert len(before) == len(after) < height - len(title)
    assert max(map(len, before + after)) <= width
    assert 1 <= after.count(LINE) <= 5
    assert max(map(len, title)) <= 80


@pytest.mark.parametrize("height", [20, 24, 40])
def test_the_console_makes_room_for_the_events(story: Story, height: int) -> None:
    events = [f"event {n}" for n in range(7)]
    for n, event in enumerate(events):
        story.tell(20.0 + n, event)
    rows = drawn(story, 80, [LINE] * 9, height)
    shown = [event for event in events if any(row.endswith(event) for row in rows)]
    assert shown == events[-min(7, height - 14) :], "the latest ones"
    assert rows.count(LINE) == {20: 1, 24: 3, 40: 5}[height]
    rows = drawn(story, 80, [LINE] * 9, height, whole=True)
    assert [row.rpartition("   ")[2] for row in rows[-7:]] == events, "in the end all"


def test_the_picture_tells_it(story: Story) -> None:
    rows = drawn(live(story), 80, [])
    text = "\n".join(rows)
    assert "killed (SIGKILL)        " in text and "alone" in text
    assert "5 entries, 4.0 KiB/s" in text
    assert f"  1.000 s !! A is killed at {story.plan.place}, after “ledger 000”" in text
    assert "  1.050 s >> B is live as generation 2, 50 ms later" in text


def test_the_fault_is_announced_and_counted_down(story: Story) -> None:
    place = story.plan.place
    assert f"A is to be killed (SIGKILL) at {place}, in mid-output" in screens.title(story.plan)[1]
    assert story.ahead == ""
    story.hear("A", [{"event": "started", "time": 10.0}])
    story.see("A", status(10.1))
    ahead = f"{int(place.removeprefix('write:')) - 5} entries until A is killed"
    assert story.ahead == ahead
    assert ahead in drawn(story, 80, [])
    assert "A was killed" in drawn(live(story), 80, [])
    assert story.ahead == ""


@pytest.mark.parametrize(("place", "ahead"), [("time:1.5", "1.4 s"), ("exits:9+3", "4 exits")])
def test_places_of_other_kinds_are_counted_down(place: str, ahead: str) -> None:
    plan = make_plan("hello", [], lines=1, memory=64, place=place, pause=True, seed=1)
    story = Story(plan)
    story.hear("A", [{"event": "started", "time": 10.0}])
    story.see("A", status(10.1))
    assert story.ahead == f"{ahead} until A is paused"


def test_a_cause_comes_before_its_effects(story: Story) -> None:
    """Though B notices the end of its connection before we do that of A."""
    story.hear("A", [{"event": "started", "time": 10.0}])
    lost = {"event": "notice", "time": 10.98, "text": "the connection to the primary was lost"}
    story.hear("B", [lost, {"event": "live", "time": 11.02, "generation": 2}])
    story.end("A", Fate(11.0, -9))
    assert [moment.text.split()[0] for moment in story.moments] == ["A", "A", "B:", "B"]
    assert story.moments[1].text == f"A is killed at {story.plan.place}"
    assert story.moments[3].text == "B is live as generation 2, 40 ms later"


def test_an_effect_that_is_heard_later_comes_later(story: Story) -> None:
    story.hear("A", [{"event": "started", "time": 10.0}])
    story.end("A", Fate(11.0, -9))
    lost = {"event": "notice", "time": 10.98, "text": "the connection to the primary was lost"}
    story.hear("B", [lost])
    assert story.moments[1].text == f"A is killed at {story.plan.place}"
    assert story.moments[2].text == "B: the connection to the primary was lost"


def test_what_a_guest_prints_cannot_move_the_cursor(tmp_path: Path) -> None:
    path = tmp_path / "console"
    path.write_bytes(b"one\n\x1b[2Jtwo\x07\tthree \xff\r\nfour")
    assert screens.console_tail(path) == ["one", " [2Jtwo  three \ufffd", "four"]
    assert screens.console_tail(tmp_path / "none") == []


def test_plain_lines_come_once_a_second(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = screens.Plain()
    story.players["A"].pid, story.players["B"].pid = 47, 48
    story.hear("A", [{"event": "started", "time": 10.0}])
    for tenth in range(1, 31):
        story.see("A", status(10 + tenth / 10))
        plain.update(story, tmp_path)
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("A is process 47, the primary: ")
    assert out[1].startswith("B is process 48, the secondary: ")
    assert out[2] == "  0.000 s    A runs the guest"
    assert [line.endswith(" entries until A is killed") for line in out[3:]] == [True, True]
    plain.update(live(story), tmp_path)
    assert "B is live as generation 2" in capsys.readouterr().out


def test_plain_lines_wait_for_what_came_before_them(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, now = screens.Plain(), time.time()
    story.hear("A", [{"event": "started", "time": now - 1}])
    plain.update(story, tmp_path)
    story.hear("B", [{"event": "stopped", "time": now + 9, "reason": "enough"}])
    plain.update(story, tmp_path)
    story.tell(now + 8, "before it")
    plain.stop()
    out = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[2:] for line in out] == [
        ["A", "runs", "the", "guest"],
        ["before", "it"],
        ["B", "stops:", "enough"],
    ]
