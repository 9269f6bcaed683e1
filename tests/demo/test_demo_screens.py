"""The picture keeps its height and width, and the plain lines their pace."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from vlockstep.demo import screens
from vlockstep.demo.plan import make_plan
from vlockstep.demo.story import Fate, Story

LINE = "ledger 000500 wall=1795325547910007820 tsc=6342558588 sum=0fcd1eced29a4288"


def status(at: float, **changes: object) -> dict[str, object]:
    common = {"event": "status", "time": at, "role": "primary", "state": "protected"}
    numbers = {"generation": 1, "exits": 5, "entries": 5, "log_bytes": int(at * 4096)}
    return common | numbers | {"lag_entries": 2, "lag_ms": 1.25} | changes


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
    story.see("B", status(11.2, state="alone", generation=2))
    return story


def drawn(story: Story, width: int, lines: list[str]) -> list[str]:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(screens.picture(story, lines))
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_the_picture_has_one_size(story: Story, width: int) -> None:
    before = drawn(story, width, [])
    after = drawn(live(story), width, [LINE] * 9)
    assert len(before) == len(after) <= 23
    assert max(map(len, before + after)) <= width
    assert after.count(LINE) == 5
    assert len(screens.title(story.plan)) <= 80


def test_the_picture_tells_it(story: Story) -> None:
    rows = drawn(live(story), 80, [])
    text = "\n".join(rows)
    assert "killed (SIGKILL)        " in text and "alone" in text
    assert "5 entries, 4.0 KiB/s" in text
    assert f"  1.000 s  A is killed at {story.plan.place}, after “ledger 000”" in text
    assert "  1.050 s  B is live as generation 2, 50 ms later" in text


def test_what_a_guest_prints_cannot_move_the_cursor(tmp_path: Path) -> None:
    path = tmp_path / "console"
    path.write_bytes(b"one\n\x1b[2Jtwo\x07\tthree \xff\r\nfour")
    assert screens.console_tail(path) == ["one", " [2Jtwo  three \ufffd", "four"]
    assert screens.console_tail(tmp_path / "none") == []


def test_plain_lines_come_once_a_second(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = screens.Plain()
    story.hear("A", [{"event": "started", "time": 10.0}])
    for tenth in range(1, 31):
        story.see("A", status(10 + tenth / 10))
        plain.update(story, tmp_path)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "  0.000 s  A runs the guest"
    assert len(out) == 4
    plain.update(live(story), tmp_path)
    assert "B is live as generation 2" in capsys.readouterr().out
