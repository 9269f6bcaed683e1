"""A browser, and the servers whose pages it opens."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, Playwright, expect

from tests.web.page_source import LivelySource
from tests.web.simulated import TOKENS
from vlockstep.testing.process import command, environment
from vlockstep.web.serving import Aside, listen
from vlockstep.web.source import Source

CHROMIUM = "chromium"
FLAGS = (
    "--no-sandbox",  # of root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDE = {"width": 1440, "height": 900}
LOOK_SECONDS = 0.2
_MOST_STOPS = 60
"""From one end of a page to the other."""
_STOP = """() => {
    const style = getComputedStyle(document.activeElement);
    const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
    return [document.activeElement.outerHTML.slice(0, 100), seen];
}"""
"""The control that has the focus, and whether one sees that."""
PATIENCE = 30_000
"""Milliseconds, of a browser on a busy machine."""
expect.set_options(timeout=PATIENCE)


def launch(playwright: Playwright, path: str) -> Browser:
    return playwright.chromium.launch(executable_path=path, args=[*FLAGS])


class Visit:
    """A page in a browser of its own; `faults` is what it complained of, and every address
    elsewhere that it asked for."""

    def __init__(self, browser: Browser, address: str, **context: Any) -> None:
        self.faults: list[str] = []
        self._context = browser.new_context(**({"viewport": WIDE} | context))
        self._context.set_default_timeout(PATIENCE)
        self.page: Page = self._context.new_page()
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", self._dialog)
        self._site = address.partition("#")[0]
        self.page.on("request", self._asked)
        self.page.goto(address)

    def close(self) -> None:
        self._context.close()

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(message.text)

    def _dialog(self, dialog: Any) -> None:
        self.faults.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(self._site):
            self.faults.append(f"asked for {request.url}")


@contextmanager
def simulated(source: Source | None = None, port: int = 0) -> Iterator[str]:
    """The address of a server in this process, without the token."""
    listener = listen("127.0.0.1", port)
    with Aside(source or LivelySource(), TOKENS, listener, LOOK_SECONDS):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def acting(address: str) -> str:
    return f"{address}#token={TOKENS.act}"


@contextmanager
def dashboard(*arguments: object) -> Iterator[str]:
    """The address, with the token that may act, of a real one."""
    process = subprocess.Popen(
        command("dashboard", "--port", 0, "--json", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.search(r'"act": "([^"]+)"', said)
        assert found, said
        yield found[1]
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


def go(page: Page, where: Locator) -> None:
    """To a control, by Tab alone. All stops on the way are seen."""
    expect(where).to_be_visible()
    for _ in range(_MOST_STOPS):
        page.keyboard.press("Tab")
        stop, seen = page.evaluate(_STOP)
        if stop.startswith("<body"):
            continue  # the browser's own controls
        assert seen, stop
        if where.evaluate("(node) => node === document.activeElement"):
            return
    raise AssertionError(f"Tab does not come to {where}")


def heard(page: Page, grid: str) -> list[str]:
    """The names of a grid's rows in the order of a screen reader, by the browser's accessibility
    tree."""
    session = page.context.new_cdp_session(page)
    nodes = {each["nodeId"]: each for each in session.send("Accessibility.getFullAXTree")["nodes"]}
    session.detach()
    (root,) = (each for each in nodes.values() if _is(each, "grid", grid))

    def rows(node: dict[str, Any]) -> Iterator[str]:
        if _is(node, "row"):
            yield node["name"]["value"]
        else:
            for child in node.get("childIds", ()):
                yield from rows(nodes[child])

    return list(rows(root))


def _is(node: dict[str, Any], role: str, name: str | None = None) -> bool:
    if node["ignored"] or node["role"]["value"] != role:
        return False
    return name is None or node["name"]["value"] == name


def picture(page: Page, directory: Path | None, name: str) -> None:
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=directory / f"{name}.png")
