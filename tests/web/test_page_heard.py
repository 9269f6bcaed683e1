"""What a screen reader is told: rows in their order, with names, also of lists of which little is
in the page; and every control by a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("playwright", reason="needs the extra test")

from playwright.sync_api import Page, expect

from tests.web.browsing import Visit, acting, heard, simulated
from tests.web.page_source import LivelySource

pytestmark = pytest.mark.external("chromium")
GUESTS = 300
SEEN = """(selector) => {
    const rows = [...document.querySelectorAll(`${selector}:not([hidden])`)];
    const places = rows.map((row) => row.getBoundingClientRect().top);
    return {
        indexes: rows.map((row) => Number(row.getAttribute("aria-rowindex"))),
        sorted: places.every((top, at) => !at || top > places[at - 1]),
    };
}"""

SCROLL = """async (top) => {
    document.querySelector(".score-body").scrollTop = top;
    for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
}"""


@pytest.fixture(scope="module")
def source() -> LivelySource:
    return LivelySource(8, GUESTS)


@pytest.fixture(scope="module")
def address(source: LivelySource) -> Iterator[str]:
    with simulated(source) as address:
        yield address


@pytest.fixture
def page(address: str, visit: Callable[..., Visit]) -> Page:
    page = visit(acting(address)).page
    expect(page.locator(".row").first).to_be_visible()
    return page


def test_guests_are_heard_in_their_order(page: Page, source: LivelySource) -> None:
    """Wherever one has scrolled to, and whatever was there before."""
    page.get_by_role("combobox", name="Order").select_option("name")
    names = sorted(source.look().guests, key=lambda name: (name[:-3], int(name[-2:])))
    grid = page.get_by_role("grid", name="Guests by host")
    expect(grid).to_have_attribute("aria-rowcount", str(GUESTS + 1))
    for at in (0, 90, 40, 260, 255):
        page.evaluate(SCROLL, at * 34)
        seen = page.evaluate(SEEN, ".row")
        first, last = seen["indexes"][0], seen["indexes"][-1]
        assert seen["sorted"]
        assert seen["indexes"] == list(range(first, last + 1))
        head, *rows = heard(page, "Guests by host")
        assert head.startswith("Guest")
        assert [row.partition(":")[0] for row in rows] == names[first - 2 : last - 1]


def test_a_row_tells_all_of_its_guest(page: Page) -> None:
    page.get_by_role("searchbox", name="Filter guests").fill("ledger-03")
    row = page.get_by_role("row", name="ledger-03")
    cells = row.get_by_role("gridcell")
    expect(cells).to_have_count(4)
    expect(cells.nth(0)).to_contain_text("ledger-03")
    expect(cells.nth(1)).to_have_accessible_name("primary on host-3, secondary on host-4")
    expect(cells.nth(1)).to_have_attribute("aria-colspan", "8")
    expect(cells.nth(2)).to_contain_text("ms")
    columns = page.get_by_role("grid", name="Guests by host").get_by_role("columnheader")
    expect(columns).to_have_count(11)
    assert [each.get_attribute("aria-colindex") for each in columns.all()] == [
        str(number) for number in range(1, 12)
    ]


def test_what_keys_choose_is_heard(page: Page) -> None:
    """Also when it goes to another place."""
    page.get_by_role("combobox", name="Order").select_option("name")
    grid = page.get_by_role("grid", name="Guests by host")
    grid.focus()
    page.keyboard.press("PageDown")
    page.keyboard.press("ArrowDown")
    name = page.locator(".row.chosen a").inner_text()
    assert chosen(page).startswith(f"{name}:")
    page.get_by_role("combobox", name="Order").select_option("log rate")
    page.get_by_role("searchbox", name="Filter guests").fill(name)
    expect(page.locator(".row.chosen a")).to_have_text(name)
    assert chosen(page).startswith(f"{name}:")
    page.get_by_role("searchbox", name="Filter guests").fill("no such guest")
    expect(grid).not_to_have_attribute("aria-activedescendant", "row")


def chosen(page: Page) -> str:
    told: str = page.evaluate(
        """() => {
            const grid = document.querySelector(".score-grid");
            return document.getElementById(grid.getAttribute("aria-activedescendant")).ariaLabel;
        }"""
    )
    return told


def test_events_are_heard_newest_first(page: Page) -> None:
    """Also when others have come, and when one has scrolled."""
    rows = page.locator(".event:not([hidden])")
    expect(rows.nth(7)).to_be_attached()
    newest = rows.first.inner_text()
    expect(rows.first).not_to_have_text(newest)
    assert page.evaluate(SEEN, ".event")["sorted"]
    page.evaluate("document.querySelector('.pane:last-of-type .list').scrollTop = 80")
    expect(rows.first).not_to_have_text(newest)
    seen = page.evaluate(SEEN, ".event")
    assert seen["sorted"]
    assert all("a replica of" in row for row in heard(page, "Events"))


def test_all_can_be_heard(page: Page, address: str) -> None:
    """Each control has a name, and each picture a text."""
    assert nameless(page) == []
    page.goto(f"{address}#/guests/ledger-00")
    expect(page.locator(".plot[aria-label]")).to_have_count(4)
    assert nameless(page) == []


def nameless(page: Page) -> list[str]:
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll(
            "button, a[href], input, select, canvas, svg, [role=meter], [role=grid], [role=img]")]
            .filter((node) => !node.closest("[hidden], [aria-hidden=true]"))
            .filter((node) => !node.parentElement.closest("[role=img][aria-label]"))
            .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim()))
            .map((node) => node.outerHTML.slice(0, 120))"""
    )
    return found
