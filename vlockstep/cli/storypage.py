"""The page of a demonstration: served as long as somebody looks."""

from __future__ import annotations

import html
import os
import sys
import tempfile
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vlockstep.cli import output
from vlockstep.errors import UsageError

if TYPE_CHECKING:
    from vlockstep.web.serving import Aside

COMES_SECONDS = 60.0
"""In which a browser comes; then the demonstration begins without one."""
LEAVES_SECONDS = 3.0
"""Without a browser: one that was reloaded is back by then."""
_POLL = 0.1
_LOOPBACK = "127.0.0.1"


Screen = TypeVar("Screen")
Tell = Callable[[Any], None]


@contextmanager
def on_page(web: bool, beside: Screen, told: Callable[[Tell, Screen], Screen]) -> Iterator[Screen]:
    """A screen, and if it is wanted that of a browser, too: `told` of what tells it there."""
    if not web:
        yield beside
        return
    with story_page() as tell:
        yield told(tell, beside)


@contextmanager
def story_page() -> Iterator[Tell]:
    """What is to be called with the story; begins when a browser follows it, and ends when none
    does any more."""
    try:
        from vlockstep.web.auth import Tokens
        from vlockstep.web.serving import Aside, listen
        from vlockstep.web.story import STORY_SECONDS, StorySource
    except ModuleNotFoundError as error:
        raise UsageError(f"the page needs {error.name}: pip install 'vlockstep[web]'") from error

    source, tokens, listener = StorySource(), Tokens.random(), listen(_LOOPBACK, 0)
    address = f"http://{_LOOPBACK}:{listener.getsockname()[1]}/#token={tokens.read}"
    with Aside(source, tokens, listener, STORY_SECONDS) as aside, _opened(address):
        output.note(
            f"the demonstration is at {address} and begins when that is open, "
            f"or in {COMES_SECONDS:g} s"
        )
        _wait(lambda: aside.followers > 0, COMES_SECONDS)
        yield source.tell
        with suppress(KeyboardInterrupt):
            _wait_left(aside)


def _wait_left(aside: Aside) -> None:
    seen = time.monotonic()
    if aside.followers:
        output.note("the page stays until it is closed, or Ctrl-C")
    while time.monotonic() < seen + LEAVES_SECONDS:
        if aside.followers:
            seen = time.monotonic()
        time.sleep(_POLL)


def _wait(met: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not met() and time.monotonic() < deadline:
        time.sleep(_POLL)


@contextmanager
def _opened(address: str) -> Iterator[None]:
    """In a browser, where there is a screen for one. It gets the address by a file that only this
    user can read: command lines can be read by all."""
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & {*os.environ}:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="vlockstep-page-") as directory:
        page = Path(directory, "demo.html")
        page.touch(0o600)
        page.write_text(
            '<!doctype html><meta http-equiv="refresh" content="0; url='
            f'{html.escape(address, quote=True)}">\n'
        )
        with suppress(webbrowser.Error):
            webbrowser.open(page.as_uri())
        yield
