"""Scrolling through a thousand guests in Chromium while they change: when frames come, and what the
page's thread does for each."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contest import Claim, Contestant, Report, interleave, percentile

if TYPE_CHECKING:
    from playwright.sync_api import Page

GUESTS = 1000
PIXELS, SPEED = 8000, 2000
"""So far at each run, and so many a second: sixty rows."""
FRAME_TARGET, WORK_TARGET = 34.0, 8.0
"""Milliseconds: of 95 % of the frames, thirty a second at least; and of script, style and layout
for each, half a frame of sixty. A GPU paints, where there is one."""
_OURS = ("ScriptDuration", "RecalcStyleDuration", "LayoutDuration")
_ALL = "TaskDuration"
_FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
_NOTE = """() => {
    const note = (time) => (window.frames_seen.push(time), requestAnimationFrame(note));
    requestAnimationFrame(note);
}"""


def measure(directory: Path, rounds: int) -> Report:
    name = f"{GUESTS} guests"
    with _address() as address, _page(address) as page:
        figures = interleave([Contestant(name, lambda: _scroll(page))], rounds)
    gaps, work = (figures[f"{name}, {what}"] for what in ("95 % of frames", "page's work"))
    claims = [
        Claim("95 % of the frames", percentile(gaps, 50), FRAME_TARGET, False, "ms"),
        Claim("script, style, layout", percentile(work, 50), WORK_TARGET, False, "ms"),
    ]
    return Report("scroll: the page with a thousand guests, scrolled", "ms", figures, claims)


def _scroll(page: Page) -> dict[str, float]:
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    box = page.locator(".score-body").bounding_box()
    assert box is not None
    page.evaluate("document.querySelector('.score-body').scrollTop = 0")
    page.evaluate("window.frames_seen = []")
    before = _busy(session)
    for way, end in ((-1, PIXELS), (1, 0)):
        session.send(
            "Input.synthesizeScrollGesture",
            {
                "x": box["x"] + box["width"] / 2,
                "y": box["y"] + box["height"] / 2,
                "yDistance": way * PIXELS,
                "speed": SPEED,
                "gestureSourceType": "mouse",
            },
        )
        there = page.evaluate("document.querySelector('.score-body').scrollTop")
        if abs(there - end) > PIXELS / 10:
            raise RuntimeError(f"the page was scrolled to {there}, and not to {end}")
    after = _busy(session)
    times = page.evaluate("window.frames_seen")
    session.detach()
    gaps = [after - before for before, after in pairwise(times)]
    return {
        "median of frames": percentile(gaps, 50),
        "95 % of frames": percentile(gaps, 95),
        "longest frame": max(gaps),
        "page's work": sum(1000 * (after[each] - before[each]) / len(times) for each in _OURS),
        "with painting": 1000 * (after[_ALL] - before[_ALL]) / len(times),
    }


def _busy(session: Any) -> dict[str, float]:
    """Seconds that the page's thread has worked, by what at."""
    found = session.send("Performance.getMetrics")["metrics"]
    return {each["name"]: float(each["value"]) for each in found}


@contextmanager
def _page(address: str) -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=[*_FLAGS])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        page.locator(".row").first.wait_for()
        page.get_by_label("Order").select_option("name")
        page.evaluate(f"window.frames_seen = []; ({_NOTE})()")
        yield page
        browser.close()


@contextmanager
def _address() -> Iterator[str]:
    """Of a server of its own, whose guests change twice a second."""
    command = [sys.executable, "-m", "tests.web.page_source", "--guests", str(GUESTS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
