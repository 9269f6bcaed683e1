"""A guest's page, of the simulated cluster and of real replicas."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

pytest.importorskip("playwright", reason="needs the extra test")

from playwright.sync_api import Page, expect

from tests.web.browsing import Visit, acting, dashboard, picture, simulated
from tests.web.page_source import LivelySource
from vlockstep.testing import Pair
from vlockstep.web import shapes

pytestmark = pytest.mark.external("chromium")
Opens = Callable[..., Visit]
PATIENT = 200
"""Missed heartbeats: on a busy machine nobody shall count as dead."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with simulated(LivelySource(8, 60)) as address:
        yield address


def test_all_of_a_guest(address: str, visit: Opens, pictures: Path | None) -> None:
    page = visit(acting(address), color_scheme="dark").page
    expect(page.locator(".row").first).to_be_visible()
    page.goto(f"{address}#/guests/ledger-02")
    moving = page.get_by_role("region", name="Migration", exact=True)
    expect(moving.locator("[aria-current=step]")).to_have_text("pass 3")
    steps = ["reach it", "check", "pass 1", "pass 2", "pass 3", "catch up", "hand over", "leave"]
    expect(moving.locator(".passes li")).to_have_text([re.compile(f"{each}$") for each in steps])
    for text in ("187 MB", "61.0 MB/s", "41.0 MB, 672 ms", "18 entries", "12 ms", "to host-4"):
        expect(moving).to_contain_text(text)
    reigns = page.get_by_role("region", name="Generations")
    expect(reigns.locator(".reign")).to_have_count(4)
    expect(reigns).to_contain_text("its primary was lost")
    for chart in ("Lag", "Log", "Disks", "Network"):
        expect(page.get_by_role("region", name=chart, exact=True).locator("canvas")).to_be_visible()
    expect(page.get_by_role("log", name="Console of")).to_contain_text("line 4999 of what it says")
    expect(page.get_by_role("region", name="Replicas").locator(".replica")).to_have_count(2)
    expect(page.get_by_role("region", name="Drills")).to_contain_text("Test failover")
    expect(page.get_by_role("button", name="Kill")).to_have_count(0)
    picture(page, pictures, "guest-dark")


def test_a_migration_is_followed(visit: Opens) -> None:
    """Whatever of it changes, be it only one number."""
    source = LivelySource(4, 24)
    name = next(name for name, guest in source.look().guests.items() if guest["migration"])

    def move(**now: object) -> None:
        guest = source.guest(name)
        assert guest["migration"] is not None
        migration = cast(shapes.Migration, {**guest["migration"], **now})
        source.put({**guest, "migration": migration})

    move(phase="connecting", text="reaching the destination", rounds=0, bytes=0, left=None)
    with simulated(source) as address:
        page = visit(acting(address)).page
        expect(page.locator(".row").first).to_be_visible()
        page.goto(f"{address}#/guests/{name}")
        moving = page.get_by_role("region", name="Migration", exact=True)
        step, sent = moving.locator("[aria-current=step]"), moving.locator("dd").first
        expect(step).to_have_text("reach it")
        move(phase="checking")
        expect(step).to_have_text("check")
        move(phase="memory", text="sending the memory")
        expect(step).to_have_text("pass 1")
        move(bytes=42_000_000)
        expect(sent).to_have_text("42.0 MB")
        move(bytes=43_000_000)
        expect(sent).to_have_text("43.0 MB")
        move(rounds=1)
        expect(step).to_have_text("pass 2")
        move(phase="catching_up", text="letting the destination catch up")
        expect(step).to_have_text("catch up")
        source.put({**source.guest(name), "migration": None})
        expect(moving).to_be_hidden()


def test_what_is_refused_says_why(address: str, visit: Opens) -> None:
    page = visit(acting(address)).page
    expect(page.locator(".row").first).to_be_visible()
    page.goto(f"{address}#/guests/ledger-01")
    protect = page.get_by_role("button", name="Protect", exact=True)
    expect(protect).to_have_attribute("aria-disabled", "true")
    expect(protect).to_have_attribute("title", "Not now: it is protected already")


def test_a_migration_is_checked_before(address: str, visit: Opens) -> None:
    page = visit(acting(address)).page
    expect(page.locator(".row").first).to_be_visible()
    page.goto(f"{address}#/guests/ledger-01")
    page.get_by_role("button", name="Migrate").click()
    dialog = page.get_by_role("dialog", name="Migrate ledger-01")
    go = dialog.get_by_role("button", name="Migrate")
    expect(go).to_have_attribute("aria-disabled", "true")
    dialog.get_by_role("radio", name="host-3").check()
    expect(dialog.locator(".checks")).to_contain_text("its datastore is there")
    expect(go).to_have_attribute("aria-disabled", "false")
    with page.expect_request("**/migrate?host=host-3&role=secondary"):
        dialog.get_by_role("radio", name="the secondary").check()
    expect(go).to_have_attribute("aria-disabled", "false")
    with page.expect_request("**/guests/ledger-01/migrate") as asked:
        go.click()
    assert asked.value.post_data_json == {"host": "host-3", "role": "secondary"}
    expect(page.locator(".task", has_text="ledger-01").first).to_contain_text("migrate")


def test_a_drill_is_asked_about_first(address: str, visit: Opens) -> None:
    page = visit(acting(address)).page
    expect(page.locator(".row").first).to_be_visible()
    page.goto(f"{address}#/guests/ledger-01")
    page.get_by_role("button", name="Test failover").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    page.get_by_role("button", name="Test failover").click()
    page.get_by_role("dialog").get_by_role("button", name="Test failover").click()
    expect(page.locator(".task", has_text="test-failover").first).to_be_visible()


def test_markup_in_names_stays_text(visit: Opens) -> None:
    with simulated(LivelySource(3, 30, wild=True)) as address:
        page = visit(acting(address)).page
        wild = page.locator(".row", has_text="<img src=x")
        expect(wild.first).to_be_visible()
        wild.first.click()
        expect(page.locator(".guest-head h1")).to_contain_text("onerror=alert")
        expect(page.locator(".console .text")).to_contain_text("line 4999")
        assert page.locator("img").count() == 0


def test_it_comes_back_after_the_server_did(visit: Opens) -> None:
    with simulated(LivelySource(3, 30)) as address:
        opened = visit(acting(address))
        expect(opened.page.locator(".row").first).to_be_visible()
    expect(opened.page.locator(".link-state.lost")).to_contain_text("connection lost")
    source = LivelySource(3, 30)
    source.lose("mail-01")
    with simulated(source, int(address.rpartition(":")[2].strip("/"))):
        expect(opened.page.locator(".link-state:not(.lost)")).to_have_text("live")
        opened.page.get_by_role("searchbox", name="Filter guests").fill("mail-01")
        expect(opened.page.locator(".row:not([hidden]) .state")).to_have_text("ALONE")
    assert all("Failed to load" in fault or "ERR_" in fault for fault in opened.faults)
    opened.faults.clear()


def test_real_replicas_swap_roles(tmp_path: Path, visit: Opens, pictures: Path | None) -> None:
    """Their page shows them, their text as it comes, and lets them swap."""
    arguments = ["--lines=1500", "--pause=80"]
    with Pair("ledger", arguments, directory=tmp_path, misses=PATIENT) as pair:
        run = pair.specs["primary"].run_directory
        with dashboard("--run-dir", run) as address:
            page = visit(address).page
            row = page.locator(".row:not([hidden])")
            expect(row.locator(".tie")).to_have_count(1)
            picture(page, pictures, "pair")
            row.locator("a").click()
            text = page.get_by_role("log", name="Console of")
            expect(text).to_contain_text("ledger 0000")
            last = text.locator("div").nth(-2).inner_text()
            expect(text).not_to_contain_text(_next(last))
            expect(text).to_contain_text(_next(last))
            peer = page.get_by_role("region", name="Replicas").get_by_role("link")
            written = (
                page.get_by_role("region", name="Disks, networks, arguments").locator("dd").first
            )
            peer.focus()
            expect(written).not_to_have_text(written.inner_text())
            expect(peer).to_be_focused()
            page.get_by_role("button", name="Switch over").click()
            page.get_by_role("dialog").get_by_role("button", name="Switch over").click()
            pair.wait_live("secondary")
            expect(page.locator(".task", has_text="switchover").first).to_contain_text("done")
            expect(page.locator(".reign")).to_have_count(2)
            expect(page.locator(".reign.last")).to_contain_text("secondary")
            picture(page, pictures, "guest")


def test_a_real_guest_moves(tmp_path: Path, visit: Opens) -> None:
    """How far it is is told; called off it stays, and the next time it goes."""
    arguments, wait = ["--lines=1500", "--pause=80"], ["--wait", 60]
    with Pair(
        "ledger", arguments, directory=tmp_path, misses=6 * PATIENT, primary_options=wait
    ) as pair:
        run = pair.specs["primary"].run_directory
        with dashboard("--run-dir", run) as address:
            opened = visit(address)
            page = opened.page
            page.locator(".row:not([hidden]) a").click()
            expect(page.locator(".guest-head .pill")).to_have_text("protected")
            pair.receive("slow", "--pause-at", "state:loading")
            _migrate(page, pair.endpoint_of("slow"))
            moving = page.get_by_role("region", name="Migration", exact=True)
            # It stands before it has asked for anything, and is told that memory comes.
            expect(moving.locator("[aria-current=step]")).to_have_text(
                re.compile("^(check|pass 1)$")
            )
            page.get_by_role("button", name="Cancel task").click()
            expect(page.locator(".task:not([hidden])").first).to_contain_text("canceled")
            expect(moving).to_be_hidden()
            pair.resume("slow")
            pair.receive("there")
            _migrate(page, pair.endpoint_of("there"))
            expect(page.locator(".task:not([hidden])").first).to_contain_text("done")
            expect(page.locator(".guest-head .pill")).to_have_text("gone")
            page.locator(".guest-head").get_by_role("link", name="there").click()
            expect(page.locator(".guest-head h1")).to_have_text("there")
            expect(page.locator(".guest-head .pill")).to_have_text("protected")
            assert all("404" in fault for fault in opened.faults)  # what has moved away is asked
            opened.faults.clear()


def _migrate(page: Page, endpoint: str) -> None:
    page.get_by_role("button", name="Migrate").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill(endpoint)
    dialog.get_by_role("button", name="Migrate").click()


def _next(line: str) -> str:
    """What a ledger's line some time later begins with."""
    return f"ledger {int(line.split()[1]) + 15:06}"


def test_a_page_that_cannot_read_what_it_is_told_says_so(address: str, visit: Opens) -> None:
    page = visit(acting(address)).page
    expect(page.locator(".row").first).to_be_visible()
    told = 'id: 7\nevent: change\ndata: {"revision": 7, "set": [[["lag"], Infinity]]}\n\n'
    page.route("**/api/stream*", lambda route: route.fulfill(body=told))
    page.goto(f"{address}#/guests/ledger-02")  # which follows its console: the stream begins anew
    lost = page.locator(".link-state.lost")
    expect(lost).to_contain_text("what the server tells cannot be read: tried again in 1.0 s")
    page.unroute("**/api/stream*")
    expect(page.locator(".link-state:not(.lost)")).to_have_text("live")
    expect(page.locator(".guest-head h1")).to_contain_text("ledger-02")
