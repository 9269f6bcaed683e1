"""How the demonstration of a cluster looks: alive in a terminal, lines elsewhere."""

from __future__ import annotations

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vlockstep.cluster.model import Role
from vlockstep.demo.hosts.plan import HostsPlan
from vlockstep.demo.hosts.story import HostsStory
from vlockstep.demo.network import Network
from vlockstep.demo.proof import Check
from vlockstep.demo.story import Moment

_FRAME = 0.25
_SETTLED = 0.5
_MOMENTS = 10
_MARKS = {"": "  ", "good": ">>", "bad": "!!"}
_COLOURS = {"": "", "good": "green", "bad": "bold red"}


class Quiet:
    """Shows nothing."""

    def start(self, plan: HostsPlan) -> None: ...

    def note(self, text: str) -> None: ...

    def update(self, story: HostsStory, network: Network) -> None: ...

    def stop(self) -> None: ...

    def check(self, check: Check) -> None: ...

    def verdict(self, text: str) -> None: ...


class Plain(Quiet):
    """Lines of text."""

    def __init__(self) -> None:
        self._story: HostsStory | None = None
        self._told: set[Moment] = set()

    def start(self, plan: HostsPlan) -> None:
        for line in title(plan):
            print(line, flush=True)

    def note(self, text: str) -> None:
        print(text, flush=True)

    def update(self, story: HostsStory, network: Network) -> None:
        self._story = story
        self._tell(time.time() - story.began - _SETTLED)

    def stop(self) -> None:
        self._tell(float("inf"))

    def check(self, check: Check) -> None:
        print(f"{'ok' if check.ok else 'FAILED':<7} {check.name:<12} {check.text}", flush=True)

    def verdict(self, text: str) -> None:
        print(text, flush=True)

    def _tell(self, until: float) -> None:
        for moment in self._story.moments if self._story is not None else []:
            if moment.seconds <= until and moment not in self._told:
                self._told.add(moment)
                print(_line(moment), flush=True)


class Terminal(Plain):
    """A table of hosts that changes, the clients, and the newest events."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._due = 0.0
        self._last: tuple[HostsStory, Network] | None = None

    def start(self, plan: HostsPlan) -> None:
        super().start(plan)
        self._live.start()

    def note(self, text: str) -> None:
        self._console.print(Text(text))

    def update(self, story: HostsStory, network: Network) -> None:
        self._last = story, network
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _FRAME
            self._live.update(_picture(story, network), refresh=True)

    def stop(self) -> None:
        if self._last is not None:
            self._live.update(_picture(*self._last), refresh=True)
        self._live.stop()


def choose() -> Plain:
    console = Console()
    return Terminal(console) if console.is_terminal else Plain()


def title(plan: HostsPlan) -> list[str]:
    return [
        f"{len(plan.hosts)} hosts, {plan.hosts[0]} to {plan.hosts[-1]}, each an agent, a switch "
        "and its guests: processes of this machine",
        f"A1 serves clients and is protected; A2 and A3 are not; host {plan.host} will be "
        f"{plan.deed}",
    ]


def _line(moment: Moment) -> str:
    return f"{_MARKS[moment.tone]} {moment.seconds:6.2f} s  {moment.text}"


def _picture(story: HostsStory, network: Network) -> RenderableType:
    table = Table("host", "state", "guests", expand=True)
    for host in story.plan.hosts:
        names = Text()
        for span in sorted(story.running(host=host), key=lambda span: span.guest):
            primary = span.role is Role.PRIMARY
            names.append(f"{span.guest} ", "bold" if primary else "dim")
            if not primary:
                names.append("(secondary) ", "dim")
        table.add_row(host, story.states.get(host, ""), names)
    lines = [Text(line) for line in network.lines()]
    moments = [Text(_line(moment), _COLOURS[moment.tone]) for moment in story.moments[-_MOMENTS:]]
    return Group(table, *lines, *moments)
