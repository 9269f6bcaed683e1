"""A real cluster in browsers: hosts are processes, its store is a directory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs the extra test")

from playwright.sync_api import Locator, Page, expect

from tests.web.browsing import Visit, dashboard
from vlockstep.cluster.model import Automation
from vlockstep.cluster.records import RuleRecord
from vlockstep.testing import HostCluster

pytestmark = pytest.mark.external("chromium")
HOSTS = {"a", "b", "c"}
LEDGER = ["--lines=100000", "--pause=100", "--work=500"]
DISK = {"disk": 64 << 20}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[HostCluster]:
    """`books` is to be protected; nothing runs."""
    with HostCluster(tmp_path, sorted(HOSTS)) as cluster:
        cluster.create("books", "ledger", LEDGER, DISK, ft=True)
        yield cluster


def test_all_that_is_done_with_a_guest(cluster: HostCluster, visit: Callable[..., Visit]) -> None:
    """One browser acts, the other one sees it; then a host dies."""
    with dashboard("--cluster", cluster.store) as address:
        one, other = visit(address).page, visit(address).page
        sees_the_cluster(one, cluster.master)
        one.get_by_role("link", name="books").click()
        starts(one)
        expect(row(other).locator(".block.primary")).to_be_visible()
        expect(row(other).locator(".tie")).to_have_count(1)
        moves(one, spare(cluster))
        expect(task(other, "migrate books")).to_contain_text("done")
        leaves_and_comes_back(other, cluster)
        host_dies(one, other, cluster)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_every_other_action(cluster: HostCluster, visit: Callable[..., Visit]) -> None:
    """Each by the page alone, and each is true of the real guest."""
    with dashboard("--cluster", cluster.store) as address:
        page = visit(address).page
        page.get_by_role("link", name="books").first.click()
        starts(page)
        replicas_change(page, cluster)
        loses_its_secondary(page, cluster)
        is_recommended_to_move(page, cluster)
        is_called_off(page, cluster)
        gets_a_secondary_and_stops(page, cluster)


def asks(page: Page, label: str, *, confirmed: bool = True) -> None:
    page.get_by_role("button", name=label, exact=True).click()
    if confirmed:
        page.get_by_role("dialog").get_by_role("button", name=label).click()


def replicas_change(page: Page, cluster: HostCluster) -> None:
    """They swap roles; a primary and a secondary are made to fail; a secondary moves."""
    first, second = roles(cluster)
    asks(page, "Switch over")
    expect(task(page, "switchover books")).to_contain_text("done")
    assert roles(cluster) == (second, first)
    is_protected_by(page, cluster, second)
    asks(page, "Test failover")
    expect(task(page, "test-failover books")).to_contain_text("done")
    is_protected_by(page, cluster, first)
    asks(page, "Test restart of the secondary")
    expect(task(page, "test-restart-secondary books")).to_contain_text("done")
    is_protected_by(page, cluster, first)
    where = spare(cluster)
    page.get_by_role("button", name="Migrate").click()
    dialog = page.get_by_role("dialog", name="Migrate books")
    dialog.get_by_role("radio", name="the secondary").check()
    dialog.locator(f"input[value={where}]").check()
    go = dialog.get_by_role("button", name="Migrate")
    expect(go).to_have_attribute("aria-disabled", "false")
    go.click()
    expect(task(page, "migrate books")).to_contain_text(f"to {where}")
    expect(task(page, "migrate books")).to_contain_text("done")
    assert roles(cluster) == (first, where)


def roles(cluster: HostCluster) -> tuple[str, str]:
    """Where the primary is, and the secondary."""
    found = {str(each.role): host for host, each in cluster.replicas("books").items()}
    return found["primary"], found["secondary"]


def is_protected_by(page: Page, cluster: HostCluster, primary: str) -> None:
    expect(page.locator(".guest-head")).to_contain_text(f"on{primary}")
    expect(page.locator(".guest-head .pill")).to_have_text("protected")
    cluster.wait(lambda: len(cluster.replicas("books")) == 2, "a secondary")
    assert cluster.primary("books") == primary


def loses_its_secondary(page: Page, cluster: HostCluster) -> None:
    asks(page, "Unprotect")
    expect(task(page, "unprotect books")).to_contain_text("done")
    expect(page.locator(".replica")).to_have_count(1)
    cluster.wait(lambda: cluster.members("books") == 1, "a guest alone")


def is_recommended_to_move(page: Page, cluster: HostCluster) -> None:
    """By a rule; nobody but a person lets it."""
    cluster.operator.set_config(automation=Automation.MANUAL)
    here = cluster.primary("books")
    where = min(HOSTS - {here})
    cluster.operator.add_rule(RuleRecord("place", "hosts", 0, ("books",), (where,)))
    page.keyboard.press("Escape")
    page.get_by_role("button", name=f"Apply books to {where}").click()
    page.get_by_role("dialog").get_by_role("button", name="Apply").click()
    expect(task(page, "migrate books")).to_contain_text(f"moved from {here} to {where}")
    assert cluster.primary("books") == where
    cluster.operator.remove_rule("place")


def is_called_off(page: Page, cluster: HostCluster) -> None:
    """A host's maintenance, for which its guest would have to move."""
    name = cluster.primary("books")
    host(page, name).get_by_role("button").click()
    page.get_by_role("dialog").get_by_role("button", name="Begin maintenance").click()
    expect(task(page, f"maintenance {name}")).to_contain_text("running")
    page.get_by_role("button", name="Cancel task").click()
    expect(task(page, f"maintenance {name}")).to_contain_text("canceled")
    assert cluster.primary("books") == name


def gets_a_secondary_and_stops(page: Page, cluster: HostCluster) -> None:
    row(page).locator("a").click()
    asks(page, "Protect", confirmed=False)
    expect(task(page, "protect books")).to_contain_text("done")
    expect(page.locator(".guest-head .pill")).to_have_text("protected")
    asks(page, "Stop")
    expect(task(page, "stop books")).to_contain_text("done")
    expect(page.locator(".guest-head .pill")).to_have_text("off")
    assert not cluster.replicas("books")


def row(page: Page) -> Locator:
    return page.locator(".row:not([hidden])", has_text="books")


def task(page: Page, what: str) -> Locator:
    return page.locator(".task:not([hidden])", has_text=what).first


def host(page: Page, name: str) -> Locator:
    return page.locator(".host", has=page.get_by_role("button", name=name, exact=True))


def spare(cluster: HostCluster) -> str:
    """The host where no replica is."""
    return min(HOSTS - cluster.replicas("books").keys())


def sees_the_cluster(page: Page, master: str) -> None:
    expect(page.locator(".host")).to_have_count(len(HOSTS))
    expect(host(page, master)).to_contain_text("master")
    expect(page.get_by_role("region", name="High availability")).to_contain_text("3 of 3 are fine")
    expect(page.get_by_role("region", name="Heartbeat datastores")).to_contain_text("all 3 hosts")
    expect(row(page).locator(".state")).to_have_text("off")
    expect(page.locator(".event", has_text=f"{master} is master")).to_be_visible()


def starts(page: Page) -> None:
    """It is protected, and its text comes as it is written."""
    console = page.get_by_role("region", name="Console")
    expect(console).to_contain_text("it has written nothing yet")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(task(page, "start books")).to_contain_text("done")
    expect(page.locator(".guest-head .pill")).to_have_text("protected")
    expect(page.locator(".replica", has_text="following")).to_be_visible()
    expect(page.get_by_role("log")).to_contain_text("ledger 000001")


def moves(page: Page, where: str) -> None:
    """Where it is already it cannot go, which is said before."""
    expect(page.locator(".guest-head")).to_contain_text(re.compile("on[abc]"))
    here = page.locator(".replica", has=page.locator(".primary")).locator("b").nth(1).inner_text()
    page.get_by_role("button", name="Migrate").click()
    dialog = page.get_by_role("dialog", name="Migrate books")
    go = dialog.get_by_role("button", name="Migrate")
    dialog.locator(f"input[value={here}]").check()
    expect(dialog.locator(".checks")).to_contain_text(f"books runs on {here} already")
    expect(go).to_have_attribute("aria-disabled", "true")
    dialog.locator(f"input[value={where}]").check()
    expect(dialog.locator(".checks .icon.bad")).to_have_count(0)
    expect(go).to_have_attribute("aria-disabled", "false")
    go.click()
    expect(task(page, "migrate books")).to_contain_text(f"moved from {here} to {where}")
    expect(page.locator(".guest-head")).to_contain_text(f"on{where}")
    expect(page.locator(".reign.last")).to_contain_text(where)


def leaves_and_comes_back(page: Page, cluster: HostCluster) -> None:
    """The guest, from a host that is to be in maintenance."""
    name = cluster.primary("books")
    for verb, about in (("Begin", "maintenance"), ("End", "")):
        host(page, name).get_by_role("button").press("Enter")
        dialog = page.get_by_role("dialog", name=f"Host {name}")
        expect(dialog).to_contain_text("shared")
        dialog.get_by_role("button", name=f"{verb} maintenance").click()
        expect(task(page, f"maintenance {name}")).to_contain_text("done")
        expect(host(page, name).locator(".host-about")).to_have_text(
            about or re.compile("^(master)?$")
        )
    assert cluster.primary("books") != name
    expect(row(page).locator(".state")).to_have_text("protected")


def host_dies(one: Page, other: Page, cluster: HostCluster) -> None:
    """Both see which and why, and that its guest goes on."""
    dead = cluster.primary("books")
    cluster.kill(dead)
    problem = other.locator(".problem", has_text=f"{dead} is hostDown")
    expect(problem).to_contain_text("no heartbeats, on the network or on datastores")
    problem.get_by_role("button", name=f"Look at {dead}").click()
    expect(other.get_by_role("dialog", name=f"Host {dead}")).to_contain_text("hostDown")
    expect(one.locator(".event", has_text=f"{dead} has failed")).to_be_visible()
    expect(one.locator(".guest-head .pill")).to_have_text("protected")
    expect(one.locator(".replica", has_text=re.compile(f"^primary{dead}"))).to_have_count(0)
