"""A guest without a cluster is protected from its page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from household import House

pytest.importorskip("playwright", reason="needs the extra test")

from playwright.sync_api import expect

from tests.web.browsing import Visit, dashboard, picture

pytestmark = pytest.mark.external("chromium")
PATIENT = "200"
"""Missed heartbeats: on a busy machine nobody shall count as dead."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with closing(House(tmp_path)) as made:
        made.run_ledger()
        yield made


def test_a_guest_is_protected(
    house: House, visit: Callable[..., Visit], pictures: Path | None
) -> None:
    """By keys; what is wrong is said in the dialog; the command that is told starts a secondary."""
    with dashboard("--run-dir", house.run_directory.path) as address:
        opened = visit(address, permissions=["clipboard-read", "clipboard-write"])
        page = opened.page
        page.locator(".row:not([hidden]) a").click()
        page.get_by_role("button", name="Protect", exact=True).press("Enter")
        dialog = page.get_by_role("dialog", name="Protect books")
        arbiter = dialog.get_by_label("Arbiter")
        expect(arbiter).to_be_focused()
        page.keyboard.type("pair")
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("alert")).to_contain_text("from / on")
        arbiter.fill(str(house.directory / "arbiter"))
        dialog.get_by_label("Endpoint").fill(house.endpoint)
        dialog.get_by_label("Heartbeats").fill(PATIENT)
        picture(page, pictures, "protect")
        dialog.get_by_role("button", name="Protect", exact=True).click()
        expect(dialog).to_have_count(0)
        told = page.get_by_role("region", name="A secondary for it")
        expect(told).to_contain_text(f"vlockstep secondary ledger --join {house.endpoint}")
        told.get_by_role("button", name="Copy").click()
        expect(page.locator(".toast", has_text="copied")).to_be_visible()
        house.start_by(page.evaluate("navigator.clipboard.readText()"))
        head = page.locator(".guest-head")
        expect(head.get_by_text("protected", exact=True)).to_be_visible()
        expect(told).to_be_hidden()
        protect = page.get_by_role("button", name="Protect", exact=True)
        expect(protect).to_have_attribute("aria-disabled", "true")
        expect(page.locator(".reign").first).to_contain_text("was to be protected")
        expect(page.locator(".reign.last")).to_contain_text("another replica has joined")
    assert all("409" in fault for fault in opened.faults) and len(opened.faults) == 1
    opened.faults.clear()
    house.check_that_it_goes_on("books")
