"""`vlockstep demo --web` in a browser."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs the extra test")

from playwright.sync_api import expect

from tests.web.browsing import Visit, picture
from vlockstep.testing.process import command, environment

pytestmark = pytest.mark.external("chromium")


def test_the_demonstration_is_seen(visit: Callable[..., Visit], pictures: Path | None) -> None:
    """The log's flow, the kill, the takeover, and the proof; it ends when the page is closed."""
    demo = subprocess.Popen(
        command("demo", "--web", "--lines", 200, "--seed", 7),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={key: value for key, value in environment().items() if "DISPLAY" not in key},
    )
    assert demo.stdout is not None and demo.stderr is not None
    try:
        said = demo.stderr.readline()
        found = re.search(r"http://\S+", said)
        assert found, said
        opened = visit(found[0])
        page = opened.page
        expect(page.locator(".flow.flows")).to_be_visible()
        expect(page.get_by_role("article", name="Replica A")).to_contain_text("primary")
        expect(page.locator(".flow.cut")).to_be_visible()
        expect(page.get_by_role("article", name="Replica A")).to_contain_text("killed (SIGKILL)")
        expect(page.get_by_role("article", name="Replica B")).to_contain_text("primary")
        expect(page.locator(".story-head")).to_contain_text("B took over")
        expect(page.locator(".verdict")).to_contain_text("did not notice")
        for name in ("failover", "console", "disk", "end state"):
            expect(page.get_by_role("region", name="Proof")).to_contain_text(name)
        picture(page, pictures, "story")
        opened.close()
        assert demo.wait(30) == 0
    finally:
        demo.kill()
        demo.wait()
        demo.stdout.close()
        demo.stderr.close()
