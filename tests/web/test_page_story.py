"""`vlockstep demo --web` in a browser."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs the extra test")

from playwright.sync_api import expect

from tests.web.browsing import Visit, picture
from vlockstep.testing.process import command, environment

pytestmark = pytest.mark.external("chromium")
_REMEMBER = """() => {
    window.remembered = [];
    const look = () => {
        const flow = document.querySelector(".flow");
        const told = document.querySelector("[aria-label='Replica A']")?.textContent ?? "";
        const seen = ["flows", "cut"].filter((each) => flow?.classList.contains(each))
            .concat(["primary", "killed"].filter((each) => told.includes(each))).join(" ");
        if (seen.includes(" ") && !remembered.includes(seen)) remembered.push(seen);
    };
    const all = { subtree: true, childList: true, attributes: true, characterData: true };
    new MutationObserver(look).observe(document.body, all);
    look();
}"""
"""How the log flowed and what the first replica was, each once: some of it is soon over."""
STEP = 120_000
"""Milliseconds, for each step of a cluster."""


@contextmanager
def demonstration(*options: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """It, and the address of its page."""
    demo = subprocess.Popen(
        command("demo", *options, "--web"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={key: value for key, value in environment().items() if "DISPLAY" not in key},
    )
    assert demo.stderr is not None
    try:
        said = demo.stderr.readline()
        found = re.search(r"http://\S+", said)
        assert found, said
        yield demo, found[0]
    finally:
        demo.kill()
        demo.wait()
        demo.stderr.close()


def test_the_demonstration_is_seen(visit: Callable[..., Visit], pictures: Path | None) -> None:
    """The log's flow, the kill, the takeover, and the proof; it ends when the page is closed."""
    with demonstration("--lines", 200, "--seed", 7) as (demo, address):
        opened = visit(address)
        page = opened.page
        page.evaluate(_REMEMBER)
        expect(page.get_by_role("article", name="Replica A")).to_contain_text("killed (SIGKILL)")
        expect(page.get_by_role("article", name="Replica B")).to_contain_text("primary")
        expect(page.locator(".story-head")).to_contain_text("B took over")
        assert {"flows primary", "cut killed"} <= {*page.evaluate("remembered")}
        expect(page.locator(".verdict")).to_contain_text("did not notice")
        for name in ("failover", "console", "disk", "end state"):
            expect(page.get_by_role("region", name="Proof")).to_contain_text(name)
        picture(page, pictures, "story")
        opened.close()
        assert demo.wait(30) == 0


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_cluster_is_seen(visit: Callable[..., Visit], pictures: Path | None) -> None:
    """Its master dies: the guests of that host go on elsewhere, clients are answered, and in the
    end it is proved."""
    with demonstration("figure1") as (demo, address):
        opened = visit(address)
        page = opened.page
        hosts = {name: page.get_by_role("article", name=f"Host {name}") for name in "ABCD"}
        expect(hosts["A"]).to_contain_text("master", timeout=STEP)
        expect(hosts["A"].locator(".block.primary")).to_have_text(["A1", "A2", "A3"], timeout=STEP)
        expect(hosts["C"].locator(".block.secondary")).to_have_text("A1", timeout=STEP)
        expect(page.locator(".story-head")).to_contain_text("host A will be killed", timeout=STEP)
        world = page.get_by_role("region", name="What the world sees")
        expect(world.locator(".lane-names li").first).to_be_visible()
        expect(hosts["A"]).to_contain_text("killed", timeout=STEP)
        expect(hosts["A"]).to_contain_text("runs nothing")
        expect(hosts["C"].locator(".block.primary")).to_contain_text(["A1"], timeout=STEP)
        expect(hosts["B"]).to_contain_text("master", timeout=STEP)
        expect(page.locator(".verdict.ok")).to_contain_text("all of it held", timeout=STEP)
        for name in ("master", "guests", "clients", "protection", "one live", "consoles"):
            expect(page.get_by_role("region", name="Proof")).to_contain_text(name)
        lanes = page.get_by_role("region", name="Where guests run")
        expect(lanes.get_by_role("img")).to_have_accessible_name(re.compile("A1: primary on C"))
        picture(page, pictures, "cluster-story")
        opened.close()
        assert demo.wait(30) == 0
