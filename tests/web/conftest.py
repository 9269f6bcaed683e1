"""The browser is started once, and a server of a simulated cluster for the tests of a module."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.web.browsing import Visit


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    from tests.web.browsing import CHROMIUM, launch

    path = shutil.which(CHROMIUM)
    assert path is not None
    with sync_playwright() as playwright:
        browser = launch(playwright, path)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens an address. In the end no page may have complained."""
    from tests.web.browsing import Visit

    made: list[Visit] = []

    def open_page(address: str, **context: Any) -> Visit:
        made.append(Visit(browser, address, **context))
        return made[-1]

    yield open_page
    faults = [fault for each in made for fault in each.faults]
    for each in made:
        each.close()
    assert not faults


@pytest.fixture(scope="session")
def pictures(request: pytest.FixtureRequest) -> Path | None:
    """Where screenshots are to be put."""
    found = request.config.getoption("--pictures")
    return None if found is None else Path(found).absolute()
