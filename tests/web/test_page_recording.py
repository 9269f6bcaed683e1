"""A recording in a browser: its entries, its text, and the guest at a line of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs the extra test")

from playwright.sync_api import Page, expect

from tests.commands import run_command
from tests.web.browsing import Visit, dashboard, go, picture

pytestmark = pytest.mark.external("chromium")
LINES = 60


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("recordings")
    disk, log = folder / "disk.img", folder / "books.vlog"
    disk.write_bytes(bytes(1 << 20))
    words = ("--block", f"disk={disk}", "--keyframes", "0.2", "-o", log, "--", f"--lines={LINES}")
    assert run_command("record", "ledger", *words).returncode == 0
    with dashboard(log) as address:
        yield address


@pytest.fixture
def page(address: str, visit: Callable[..., Visit]) -> Page:
    page = visit(address).page
    page.get_by_role("link", name="Recordings").click()
    page.get_by_role("link", name="books.vlog").click()
    expect(page.locator(".mark:not([hidden])").first).to_be_visible()
    return page


def test_a_line_leads_to_its_position(page: Page, pictures: Path | None) -> None:
    expect(page.locator(".guest-head")).to_contain_text("complete")
    page.locator(".mark", has_text="ledger 000003").click()
    look = page.get_by_role("region", name="The guest there")
    expect(look).to_contain_text(re.compile(r"exits:\d+"))
    expect(look.locator(".registers")).to_contain_text("rip")
    for number, command in enumerate(
        (r"vlockstep debug .*books.vlog", r"\(gdb\).*seek exits:\d+", r"vlockstep replay .*--until")
    ):
        expect(look.locator(".command").nth(number)).to_contain_text(re.compile(command))
    picture(page, pictures, "recording")


def test_it_is_zoomed_by_keys(page: Page) -> None:
    marks = page.locator(".listing [role=status]")
    expect(marks).to_have_text(f"{LINES + 1} marks")
    page.locator(".entries").focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.keyboard.press("Home")
    span = page.locator(".timeline [role=status]")
    expect(span).to_contain_text(re.compile(r"^0 to \d\d of"))
    expect(marks).not_to_have_text(f"{LINES + 1} marks")
    page.keyboard.press("End")
    expect(page.locator(".mark:not([hidden])", has_text="ledger done")).to_be_attached()
    page.get_by_role("button", name="All of it").click()
    expect(marks).to_have_text(f"{LINES + 1} marks")


def test_a_position_is_opened_by_keys(page: Page) -> None:
    go(page, page.get_by_role("button", name="disk", exact=True))
    page.keyboard.press("Enter")
    expect(page.locator(".mark:not([hidden])").first).to_contain_text("512 B")
    go(page, page.get_by_role("grid", name="Marks"))
    page.keyboard.press("ArrowDown")
    position = page.locator(".mark.chosen span").last.inner_text().split()[-1]
    page.keyboard.press("Enter")
    look = page.get_by_role("region", name="The guest there")
    expect(look.locator("h3")).to_have_text(position)
    expect(look.locator(".registers")).to_contain_text("rip")
    go(page, look.get_by_role("button", name=re.compile("^Copy vlockstep debug")))


def test_other_marks_are_listed(page: Page) -> None:
    kinds = page.get_by_role("group", name="What is listed")
    kinds.get_by_role("button", name="disk").click()
    expect(page.locator(".mark:not([hidden])").first).to_contain_text("512 B")
    kinds.get_by_role("button", name="network").click()
    expect(page.locator(".listing [role=status]")).to_have_text("0 marks")
