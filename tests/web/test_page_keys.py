"""All that can be done, done by keys alone; one sees where one is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("playwright", reason="needs the extra test")

from playwright.sync_api import Locator, Page, expect

from tests.web.browsing import Visit, acting, go, simulated
from tests.web.page_source import LivelySource

pytestmark = pytest.mark.external("chromium")
PROTECTED, UNPROTECTED, OFF = "ledger-01", "queue-00", "login-00"


class LastingSource(LivelySource):
    lasting = frozenset({"test-restart-secondary"})


@pytest.fixture(scope="module")
def source() -> LastingSource:
    return LastingSource(8, 60)


@pytest.fixture(scope="module")
def address(source: LastingSource) -> Iterator[str]:
    with simulated(source) as address:
        yield address


@pytest.fixture
def page(address: str, visit: Callable[..., Visit]) -> Page:
    page = visit(acting(address)).page
    expect(page.locator(".row").first).to_be_visible()
    return page


def press(page: Page, name: str | re.Pattern[str], within: Locator | None = None) -> None:
    button = (within or page.locator("body")).get_by_role("button", name=name, exact=True)
    go(page, button)
    page.keyboard.press("Enter")


def task(page: Page, what: str) -> Locator:
    return page.locator(".task:not([hidden])", has_text=what).first


def open_guest(page: Page, name: str) -> None:
    page.keyboard.press("/")
    page.keyboard.type(name)
    go(page, page.get_by_role("grid", name="Guests by host"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()


@pytest.mark.parametrize(
    ("guest", "label"),
    [
        (PROTECTED, "Switch over"),
        (PROTECTED, "Unprotect"),
        (PROTECTED, "Stop"),
        (PROTECTED, "Test failover"),
        (PROTECTED, "Test restart of the secondary"),
        (UNPROTECTED, "Protect"),
        (OFF, "Start"),
    ],
)
def test_a_guest_is_acted_on(page: Page, guest: str, label: str) -> None:
    asked = label not in ("Protect", "Start")
    kinds = {"Switch over": "switchover", "Test restart of the secondary": "test-restart"}
    open_guest(page, guest)
    press(page, label)
    if asked:
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("button", name=label)).to_be_focused()
        page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
    kind = kinds.get(label, label.lower().replace(" ", "-"))
    expect(task(page, f"{kind}")).to_contain_text(guest)
    button = page.get_by_role("button", name=label, exact=True)
    expect(button).to_be_focused()


def test_a_guest_is_migrated(page: Page) -> None:
    open_guest(page, PROTECTED)
    press(page, "Migrate")
    dialog = page.get_by_role("dialog", name=f"Migrate {PROTECTED}")
    primary, secondary, *hosts = dialog.get_by_role("radio").all()
    expect(primary).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(secondary).to_be_checked()
    go(page, hosts[0])
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    expect(hosts[1]).to_be_checked()
    expect(dialog.get_by_role("button", name="Migrate")).to_have_attribute("aria-disabled", "false")
    press(page, "Migrate", dialog)
    expect(task(page, f"migrate {PROTECTED}")).to_be_visible()


def test_what_is_drawn_anew_keeps_the_focus(page: Page) -> None:
    open_guest(page, PROTECTED)
    last = page.locator(".reign.last")
    go(page, last)
    drawn = last.inner_text()
    expect(last).not_to_have_text(drawn, use_inner_text=True)
    expect(last).to_be_focused()


def test_a_message_that_goes_leaves_the_focus_on_the_page(page: Page) -> None:
    open_guest(page, PROTECTED)
    press(page, "Switch over")
    page.keyboard.press("Enter")
    go(page, page.get_by_role("button", name="Dismiss"))
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_have_count(0)
    expect(page.locator("#main")).to_be_focused()


def test_a_task_is_cancelled(page: Page) -> None:
    open_guest(page, PROTECTED)
    press(page, "Test restart of the secondary")
    page.keyboard.press("Enter")
    running = page.locator(".task:not([hidden])", has_text="running").first
    number = running.locator(".number").inner_text()
    press(page, f"Cancel task {number}")
    mine = page.locator(".task", has=page.locator(".number", has_text=re.compile(f"^{number}$")))
    expect(mine).to_contain_text("canceled")


def test_a_host_is_put_into_maintenance(page: Page, source: LastingSource) -> None:
    host = page.get_by_role("button", name="host-2", exact=True)
    for verb in ("Begin", "End"):
        press(page, "host-2")
        dialog = page.get_by_role("dialog", name="Host host-2")
        press(page, f"{verb} maintenance", dialog)
        expect(dialog).to_have_count(0)
        expect(page.locator(".toast").last).to_contain_text(f"{verb.lower()} maintenance of host-2")
        expect(host).to_be_focused()


def test_a_recommendation_is_applied(page: Page) -> None:
    button = page.get_by_role("button", name="Apply ledger-00 to host-8")
    go(page, button)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Apply recommendations")).to_be_visible()
    page.keyboard.press("Enter")
    expect(task(page, "migrate ledger-00")).to_be_visible()
    expect(button).to_be_focused()


def test_a_dialog_keeps_the_focus_and_gives_it_back(page: Page) -> None:
    press(page, "host-2")
    dialog = page.get_by_role("dialog", name="Host host-2")
    held = "document.activeElement.closest('dialog') !== null"
    for key in ("Tab", "Shift+Tab"):
        seen = set()
        for _ in range(5):
            page.keyboard.press(key)
            assert page.evaluate(held)
            seen.add(page.evaluate("document.activeElement.textContent"))
        assert seen == {"Show its guests", "Close", "Begin maintenance"}
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("button", name="host-2", exact=True)).to_be_focused()


def test_the_focus_stays_where_controls_are_made_anew(page: Page, source: LastingSource) -> None:
    """Also if that happens while a dialog is open."""
    press(page, "Look at host-8")
    before = source.advice
    try:
        page.keyboard.press("Escape")
        button = page.get_by_role("button", name="Apply ledger-00 to host-8")
        go(page, button)
        button.evaluate("(node) => (node.mark = true)")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_visible()
        source.advice = "another reason"
        expect(page.locator(".advice")).to_contain_text("another reason")
        page.keyboard.press("Escape")
        expect(button).to_be_focused()
        assert not button.evaluate("(node) => node.mark")
        source.advice = "one more reason"
        expect(page.locator(".advice")).to_contain_text("one more reason")
        expect(button).to_be_focused()
    finally:
        source.advice = before


def test_one_comes_back_to_where_one_was(page: Page) -> None:
    grid = page.get_by_role("grid", name="Guests by host")
    go(page, grid)
    for _ in range(12):
        page.keyboard.press("ArrowDown")
    name = page.locator(".row.chosen a").inner_text()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    page.keyboard.press("Escape")
    expect(grid).to_be_focused()
    expect(page.locator(".row.chosen a")).to_have_text(name)
    expect(page.locator(".row.chosen")).to_be_in_viewport()


def test_an_event_leads_to_its_guest(page: Page) -> None:
    expect(page.locator(".event:not([hidden])").first).to_be_visible()
    go(page, page.get_by_role("grid", name="Events"))
    page.keyboard.press("ArrowDown")
    name = page.locator(".event.chosen a").inner_text()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def test_the_first_stop_skips_to_the_content(page: Page, address: str) -> None:
    page.goto(f"{address}#/guests/{PROTECTED}")
    expect(page.get_by_role("heading", name=PROTECTED)).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=PROTECTED)).to_be_visible()
    go(page, page.get_by_role("link", name="Overview", exact=True).last)
