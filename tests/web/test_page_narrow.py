"""Pages on screens of a telephone, a tablet and a small computer: all of each can be reached."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs the extra test")

from playwright.sync_api import Page, expect

from tests.commands import run_command
from tests.web.browsing import Visit, acting, dashboard, simulated
from tests.web.page_source import LivelySource, told_story

pytestmark = pytest.mark.external("chromium")
Opens = Callable[..., Visit]
WIDTHS = (360, 768, 1280)
HEIGHT = 740
UNREACHED = """async () => {
    const found = [];
    const controls = "button, a[href], input, select, [tabindex='0']";
    const hidden = "[hidden], .skip, .row, .event, .task:not(:has(button)), .mark";
    for (const node of document.querySelectorAll(controls)) {
        if (node.closest(hidden) || !node.checkVisibility({ visibilityProperty: true })) continue;
        node.scrollIntoView({ block: "center", inline: "center" });
        const { left, top, width, height } = node.getBoundingClientRect();
        const [x, y] = [left + width / 2, top + Math.min(height / 2, 20)];
        const there = document.elementFromPoint(x, y);
        if (!there || !(node.contains(there) || there.closest("label")?.contains(node)))
            found.push(`${node.outerHTML.slice(0, 90)} at ${x}, ${y}`);
    }
    document.getElementById("main").scrollTop = 0;
    return found;
}"""
SIDEWAYS = """() => [document.documentElement, document.body, document.getElementById("main")]
    .map((node) => node.scrollWidth - node.clientWidth)"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with simulated(LivelySource(8, 200)) as address:
        yield address


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture
def sized(visit: Opens, width: int) -> Callable[[str], Page]:
    def open_page(address: str) -> Page:
        return visit(address, viewport={"width": width, "height": HEIGHT}).page

    return open_page


@pytest.fixture
def page(address: str, sized: Callable[[str], Page]) -> Page:
    page = sized(acting(address))
    expect(page.locator(".row").first).to_be_attached()
    return page


def all_is_reached(page: Page) -> None:
    assert page.evaluate(UNREACHED) == []
    assert page.evaluate(SIDEWAYS) == [0, 0, 0]


def test_the_overview_fits(page: Page) -> None:
    all_is_reached(page)
    page.get_by_role("searchbox", name="Filter guests").fill("ledger-03")
    row = page.locator(".row:not([hidden])")
    row.scroll_into_view_if_needed()
    expect(row.locator(".block.primary")).to_be_in_viewport()
    expect(row.locator(".lag span")).to_be_in_viewport()


def test_a_host_is_looked_at(page: Page) -> None:
    page.get_by_role("button", name="host-6").click()
    dialog = page.get_by_role("dialog", name="Host host-6")
    expect(dialog).to_be_in_viewport(ratio=1)
    expect(dialog.get_by_role("button", name="Begin maintenance")).to_be_in_viewport(ratio=1)


def test_tasks_and_events_are_reached(page: Page, address: str, width: int) -> None:
    page.goto(f"{address}#/guests/shop-11")
    page.get_by_role("button", name="Switch over").click()
    page.get_by_role("dialog").get_by_role("button", name="Switch over").click()
    names = ("Tasks", "Events")
    if width > 900:
        for name in names:
            expect(page.get_by_role("region", name=name)).to_be_in_viewport()
        return
    shown = page.get_by_role("group", name="What is shown")
    for name, kind, other in zip(names, (".task", ".event"), reversed(names), strict=True):
        shown.get_by_role("button", name=name).click()
        expect(page.locator(f"{kind}:not([hidden])").first).to_be_in_viewport()
        expect(page.get_by_role("region", name=other)).to_be_hidden()


def test_a_guest_fits(page: Page, address: str) -> None:
    page.goto(f"{address}#/guests/ledger-02")
    expect(page.locator(".plot canvas")).to_have_count(4)
    expect(page.locator(".console .text")).to_contain_text("line 4999")
    all_is_reached(page)
    page.get_by_role("button", name="Migrate").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("radio", name="host-3").check()
    expect(dialog.locator(".checks")).to_contain_text("its datastore is there")
    expect(dialog.get_by_role("button", name="Migrate")).to_be_in_viewport(ratio=1)


def test_a_recording_fits(sized: Callable[[str], Page], recording: str) -> None:
    page = sized(recording)
    page.get_by_role("link", name="Recordings").click()
    expect(page.get_by_role("link", name="clock.vlog")).to_be_visible()
    all_is_reached(page)
    page.get_by_role("link", name="clock.vlog").click()
    page.locator(".mark:not([hidden])").first.click()
    expect(page.locator(".registers")).to_contain_text("rip")
    all_is_reached(page)
    page.get_by_role("button", name="Fold tasks and events").click()
    expect(page.locator("#dock")).not_to_have_class(re.compile("folded"))


def test_a_story_fits(sized: Callable[[str], Page]) -> None:
    with simulated(told_story()) as address:
        page = sized(acting(address))
        expect(page.locator(".verdict")).to_contain_text("did not notice")
        all_is_reached(page)
        page.close()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log: Path = tmp_path_factory.mktemp("recordings") / "clock.vlog"
    assert run_command("record", "clock", "-o", log).returncode == 0
    with dashboard(log) as address:
        yield address
