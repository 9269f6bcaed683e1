"""The first page in a browser: a simulated cluster of 8 hosts and 1,000 guests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs the extra test")

from playwright.sync_api import Page, expect

from tests.web.browsing import Visit, acting, picture, simulated
from tests.web.page_source import LivelySource
from tests.web.simulated import TOKENS

pytestmark = pytest.mark.external("chromium")
GUESTS = 1000
Opens = Callable[..., Visit]


@pytest.fixture(scope="module")
def source() -> LivelySource:
    return LivelySource(8, GUESTS)


@pytest.fixture(scope="module")
def address(source: LivelySource) -> Iterator[str]:
    with simulated(source) as address:
        yield address


@pytest.fixture(scope="module")
def few() -> Iterator[str]:
    """The address of a cluster with few guests."""
    with simulated(LivelySource(8, 200)) as address:
        yield address


@pytest.fixture
def small(few: str, visit: Opens) -> Page:
    page = visit(acting(few)).page
    expect(page.locator(".row").first).to_be_visible()
    return page


@pytest.fixture
def page(address: str, visit: Opens) -> Page:
    page = visit(acting(address)).page
    expect(page.locator(".row").first).to_be_visible()
    return page


def rows(page: Page) -> int:
    return page.locator(".row:not([hidden])").count()


def test_all_is_seen_at_once(page: Page, pictures: Path | None) -> None:
    expect(page.locator(".problem").first).to_contain_text("the master does not reach it")
    expect(page.get_by_role("region", name="Guests", exact=True)).to_contain_text("1,000")
    ha = page.get_by_role("region", name="High availability")
    expect(ha).to_contain_text("host-1")
    expect(ha).to_contain_text("slots")
    expect(page.get_by_role("region", name="Heartbeat datastores")).to_contain_text("2 of 8")
    expect(page.locator(".host")).to_have_count(8)
    balance = page.get_by_role("region", name="Balance of load")
    expect(balance.get_by_role("meter")).to_have_attribute(
        "aria-valuetext", re.compile(r"^0\.\d+, target 0\.1$")
    )
    expect(balance.locator(".advice li")).to_have_count(3)
    expect(page.locator(".event").first).to_contain_text("a replica of")
    portrait(page, pictures, "overview")


def test_a_protected_guest_is_two_blocks_and_a_tie(page: Page) -> None:
    page.get_by_role("searchbox", name="Filter guests").fill("ledger-03")
    row = page.locator(".row:not([hidden])")
    expect(row).to_have_count(1)
    expect(row.locator(".block.primary")).to_have_text("primary")
    expect(row.locator(".block.secondary")).to_have_text("secondary")
    expect(row.locator(".tie")).to_have_count(1)
    expect(row).to_have_attribute(
        "aria-label", re.compile(r"^ledger-03: protected, (primary|secondary) on host-\d, ")
    )


def test_of_a_thousand_guests_few_are_in_the_page(page: Page) -> None:
    body = page.locator(".score-body")
    assert rows(page) < 60
    page.get_by_role("combobox", name="Order").select_option("name")
    seen = page.evaluate(
        """async () => {
            const body = document.querySelector(".score-body");
            let most = 0;
            for (let at = 0; at < body.scrollHeight; at += 2 * body.clientHeight) {
                body.scrollTop = at;
                await new Promise(requestAnimationFrame);
                const shown = [...body.querySelectorAll(".row:not([hidden])")];
                most = Math.max(most, shown.length);
                const box = body.getBoundingClientRect();
                const middle = box.top + box.height / 2;
                if (!shown.some((row) => {
                    const { top, bottom } = row.getBoundingClientRect();
                    return top <= middle && middle <= bottom + 1;
                })) throw new Error(`nothing is shown at ${at}`);
            }
            body.scrollTop = body.scrollHeight;
            return most;
        }"""
    )
    assert seen < 60
    expect(body.get_by_role("link", name="web-99")).to_be_visible()


def test_it_is_driven_by_keys(page: Page) -> None:
    page.get_by_role("combobox", name="Order").select_option("name")
    page.get_by_role("grid", name="Guests by host").focus()
    page.keyboard.press("End")
    expect(page.locator(".row.chosen")).to_contain_text("web-99")
    page.keyboard.press("ArrowUp")
    expect(page.locator(".row.chosen")).to_contain_text("web-98")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="web-98")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".score-body")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("alone")
    expect(page.locator(".score header [role=status]")).to_contain_text("of 1,000 guests")
    expect(page.locator(".row:not([hidden]) .state").first).to_have_text("ALONE")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()


def test_changes_come_by_themselves(page: Page, source: LivelySource) -> None:
    page.get_by_role("searchbox", name="Filter guests").fill("mail-07")
    expect(page.locator(".row:not([hidden]) .block.secondary")).to_be_visible()
    before = source.guest("mail-07")
    source.lose("mail-07")
    expect(page.locator(".row:not([hidden]) .state")).to_have_text("ALONE")
    expect(page.locator(".row:not([hidden]) .tie")).to_have_count(0)
    expect(page.locator(".event", has_text="mail-07 has lost its secondary")).to_be_visible()
    source.put(before)
    expect(page.locator(".row:not([hidden]) .state")).to_have_text("protected")


def test_recommendations_are_applied(small: Page) -> None:
    small.locator(".advice .button").first.click()
    dialog = small.get_by_role("dialog", name="Apply recommendations")
    expect(dialog).to_contain_text("will migrate while running")
    dialog.get_by_role("button", name="Apply").click()
    expect(small.locator(".toast")).to_contain_text("apply 1 recommendation")
    expect(small.locator(".task", has_text="migrate").first).to_contain_text("done")


def test_events_and_tasks_are_filtered(small: Page) -> None:
    expect(small.locator(".event").first).to_be_visible()
    small.get_by_role("searchbox", name="Filter events").fill("no such thing")
    expect(small.locator(".event:not([hidden])")).to_have_count(0)
    small.get_by_role("searchbox", name="Filter events").fill("!nothing")
    expect(small.locator(".event:not([hidden])").first).to_be_visible()
    small.keyboard.press("Escape")
    small.keyboard.press("d")
    expect(small.locator("#dock")).to_have_class("folded")


def test_levels_differ_by_shape(small: Page) -> None:
    small.get_by_role("combobox", name="Order").select_option("worst first")
    signs = {
        level: small.evaluate(
            """async (level) => {
                const module = await import("./js/dom.js");
                return module.icon(level).innerHTML;
            }""",
            level,
        )
        for level in ("good", "plain", "warn", "bad")
    }
    assert len({*signs.values()}) == len(signs)


def test_the_dark_has_other_colours(few: str, visit: Opens, pictures: Path | None) -> None:
    light, dark = (visit(acting(few), color_scheme=scheme).page for scheme in ("light", "dark"))
    ground = "getComputedStyle(document.body).backgroundColor"
    assert light.evaluate(ground) != dark.evaluate(ground)
    expect(dark.locator(".row").first).to_be_visible()
    portrait(dark, pictures, "overview-dark")


def portrait(page: Page, pictures: Path | None, name: str) -> None:
    """With guests of all kinds, and lines that have had time to grow."""
    if pictures is None:
        return
    page.get_by_role("combobox", name="Order").select_option("name")
    page.evaluate("document.querySelector('.score-body').scrollTop = 34 * 13")
    page.wait_for_timeout(45_000)
    picture(page, pictures, name)


def test_two_browsers_see_what_one_does(few: str, visit: Opens) -> None:
    one, other = visit(acting(few)).page, visit(acting(few)).page
    expect(other.locator(".event").first).to_be_visible()
    one.goto(f"{few}#/guests/shop-11")
    one.get_by_role("button", name="Switch over").click()
    one.get_by_role("dialog").get_by_role("button", name="Switch over").click()
    expect(one.locator(".task", has_text="shop-11").first).to_contain_text("switchover")
    expect(other.locator(".task", has_text="shop-11").first).to_contain_text("switchover")


def test_who_may_only_look_is_offered_nothing(few: str, visit: Opens) -> None:
    page = visit(f"{few}#token={TOKENS.read}").page
    expect(page.locator("#top")).to_contain_text("may only look")
    expect(page.locator(".advice li").first).to_be_visible()
    expect(page.locator(".advice .button")).to_have_count(0)
    page.goto(f"{few}#/guests/shop-11")
    stop = page.get_by_role("button", name="Stop")
    expect(stop).to_have_attribute("aria-disabled", "true")
    stop.click(force=True)
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_token_does_not_stay_in_the_address(small: Page) -> None:
    assert TOKENS.act not in small.url
    assert TOKENS.act not in small.content()


def test_without_a_token_there_is_a_gate(few: str, visit: Opens) -> None:
    opened = visit(few)
    expect(opened.page.get_by_role("heading", name="A token, please")).to_be_visible()
    opened.page.get_by_label("Token").fill(TOKENS.read)
    opened.page.get_by_role("button", name="Open").click()
    expect(opened.page.locator(".row").first).to_be_visible()
    assert all("401" in fault for fault in opened.faults)
    opened.faults.clear()
