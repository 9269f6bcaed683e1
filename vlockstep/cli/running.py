"""`vlockstep ps`, `status`, `events` and `stop`: guests that run on this host."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlockstep.cli import output
from vlockstep.errors import HostError, UsageError, VlockstepError
from vlockstep.program.progress import Progress

if TYPE_CHECKING:
    from vlockstep.supervise.client import GuestClient
    from vlockstep.supervise.rundir import RunDirectory


def _names(ctx: typer.Context, incomplete: str) -> list[str]:
    """What a shell offers where a guest is named."""
    from vlockstep.errors import VlockstepError

    try:
        found = run_directory(ctx.params.get("directory")).names()
    except VlockstepError:
        return []
    return [name for name in found if name.startswith(incomplete)]


NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        autocompletion=_names,
        help="What the guest is called: see `vlockstep ps`.",
        show_default=False,
    ),
]
DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--run-dir",
        metavar="DIR",
        help="Where running guests are found; by default a directory of your own.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print lines of JSON.")]


def ps(directory: DirectoryOption = None, as_json: JsonOption = False) -> None:
    """List the guests that run here."""
    from vlockstep.supervise.client import Watch

    with closing(Watch(run_directory(directory))) as watch:
        sights = watch.look()
    if as_json:
        for sight in sights:
            output.emit(sight.to_dict())
        return
    headers = ("name", "process", "image", "role", "state", "generation", "since")
    rows = []
    for sight in sights:
        about, status = sight.about, sight.status or {}
        since = time.strftime("%F %T", time.localtime(about["since"])) if about else ""
        rows.append(
            (
                sight.name,
                str(about.get("pid", "")),
                str(about.get("image", "")),
                str(status.get("role", about.get("started_as", ""))),
                sight.state,
                str(status.get("generation", "")),
                since,
            )
        )
    output.table(headers, rows)


def status(
    name: NameArgument, directory: DirectoryOption = None, as_json: JsonOption = False
) -> None:
    """Show how a guest stands."""
    from vlockstep.supervise.client import facts

    with closing(connect(directory, name)) as guest:
        told = facts(guest.ask("status"))
        about = facts(guest.hello)
    if as_json:
        output.emit(about | told)
        return
    output.fields([("name", name), *_rows(about, told)])


def _rows(about: Mapping[str, Any], told: Mapping[str, Any]) -> list[tuple[str, object]]:
    """For people."""
    image = " ".join([about["image"], *about["arguments"]])
    rows: list[tuple[str, object]] = [
        ("process", about["pid"]),
        ("image", image),
        ("role", told["role"]),
        ("state", told["state_text"]),
        ("generation", told["generation"]),
        ("exits", told["exits"]),
    ]
    if told["role"] != "unprotected":
        lag = f"{told['lag_entries']} entries"
        if told["lag_ms"] is not None:
            lag += f", {told['lag_ms']:.1f} ms"
        rows += [
            ("entries", told["entries"]),
            ("lag", lag),
            ("members", str(told["members"])),
            ("held", _held(told)),
            ("channel", f"{told['channel_bytes']} bytes"),
            ("log file", f"{told['log_bytes']} bytes"),
        ]
    if told["endpoint"]:
        rows.append(("reached at", told["endpoint"]))
    for disk, counters in told["disks"].items():
        rows.append((f"disk {disk}", f"{counters['read']} read, {counters['written']} written"))
    for nic, counters in told["nics"].items():
        rows.append(
            (f"NIC {nic}", f"{counters['received']} frames received, {counters['sent']} sent")
        )
    rows += [("moving", move) for move in told["moves"]]
    if told["network"] is not None:
        rows.append(("network", "up" if told["network"] else "down"))
    return rows


def _held(told: Mapping[str, Any]) -> str:
    waits = ", until another replica has joined" if told["holding"] else ""
    return f"{told['outputs_held']} outputs{waits}"


def events(
    name: NameArgument,
    after: Annotated[
        int | None,
        typer.Option(
            "--after",
            metavar="REVISION",
            min=0,
            help="Begin behind this one; 0 is the first of all. By default with the next one.",
            show_default=False,
        ),
    ] = None,
    directory: DirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow what happens to a guest, until it ends.

    Each event has a number, its revision. Who comes back with the last one it saw misses nothing,
    or is told how many events are gone.
    """
    with closing(connect(directory, name)) as guest:
        for event in guest.events(after):
            if as_json:
                output.emit(event, flush=True)
            else:
                print(_line(event, guest.hello.get("started_as")), flush=True)


def _line(event: Mapping[str, Any], started_as: object) -> str:
    from vlockstep.supervise.texts import text_of

    text = text_of(event, started_as)
    if event["event"] == "dropped":
        return f"{'':8} {'':>6} {text}"
    return f"{output.clock(event['time'])} {event['revision']:>6} {text}".rstrip()


def stop(
    name: NameArgument,
    wait: Annotated[
        int,
        typer.Option("--wait", metavar="S", min=0, help="Seconds to wait until it has ended."),
    ] = 10,
    directory: DirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a guest, on all its replicas."""
    with closing(connect(directory, name)) as guest:
        guest.ask("stop", reason="stopped by `vlockstep stop`")
        if guest.wait_end(wait):
            if as_json:
                output.emit({"name": name, "ended": True})
            else:
                print(f"{name} has ended")
            return
    raise HostError(f"{name} is to end, and has not within {wait} s")


def run_directory(path: Path | None) -> RunDirectory:
    from vlockstep.supervise.rundir import RunDirectory

    return RunDirectory(path)


def connect(directory: Path | None, name: str) -> GuestClient:
    """Raises `UsageError` if there is none of that name, and tells which might be meant."""
    from vlockstep.supervise.client import GuestClient

    found = run_directory(directory)
    try:
        return GuestClient(found, name)
    except UsageError as error:
        meant = [] if name in found.names() else _replicas(found, name)
        if not meant:
            raise
        raise UsageError(f"{error}: did you mean {' or '.join(meant)}?") from error


def _replicas(directory: RunDirectory, name: str) -> list[str]:
    """Those that were given a number behind that name, each with its role."""
    from vlockstep.supervise.client import Watch

    numbered = re.compile(re.escape(name) + r"-[0-9]+")
    with closing(Watch(directory)) as watch:
        sights = [sight for sight in watch.look() if numbered.fullmatch(sight.name)]
    return [
        f"{each.name} ({each.status['role'] if each.status else each.state})" for each in sights
    ]


@dataclass(frozen=True)
class Move:
    """A command that moves something of a guest, takes long, and can be called off: `command` is
    what the guest is asked, `event` tells how far it is, and `cancel` calls it off."""

    command: str
    event: str
    cancel: str

    def follow(
        self,
        directory: Path | None,
        name: str,
        as_json: bool,
        text_of: Callable[[dict[str, Any]], str | None],
        **details: Any,
    ) -> dict[str, Any]:
        """What it took. How far it is, and its failure, are told as JSON, or each event by its text
        if that has one. Ctrl-C calls it off, and where that comes too late a second one waits no
        longer for its end."""
        progress = Progress()

        def tell(event: dict[str, Any]) -> None:
            text = None if as_json else text_of(event)
            if as_json:
                output.emit(event, flush=True)
            elif text is not None:
                progress.tell(text)

        try:
            return self._follow(directory, name, tell, details)
        except VlockstepError as error:
            if as_json:
                output.emit({"event": "failed", "reason": str(error)})
            raise
        finally:
            progress.clear()

    def _follow(
        self,
        directory: Path | None,
        name: str,
        tell: Callable[[dict[str, Any]], None],
        details: Mapping[str, Any],
    ) -> dict[str, Any]:
        from vlockstep.supervise.client import facts

        with (
            closing(connect(directory, name)) as guest,
            closing(connect(directory, name)) as watcher,
        ):
            watcher.ask("events")
            guest.send(self.command, **details)
            answer: Mapping[str, Any] | None = None
            interrupted = False
            while answer is None:
                try:
                    answer = self._next(guest, watcher, tell)
                except KeyboardInterrupt:
                    if interrupted:
                        raise
                    interrupted = True
                    self._call_off_in_time(directory, name)
            return facts(answer)

    def _call_off_in_time(self, directory: Path | None, name: str) -> None:
        try:
            self._ask_to_cancel(directory, name)
        except VlockstepError as error:
            output.note(str(error))

    def _next(
        self, guest: GuestClient, watcher: GuestClient, tell: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any] | None:
        """What the guest answers, if it does next. One look may find several lines there."""
        from vlockstep.supervise.client import Gone

        select.select([guest, watcher], [], [])
        try:
            while (said := watcher.read(0)) is not None:
                if said.get("event") == self.event:
                    tell(said)
        except Gone:
            if (answer := self._answer(guest)) is not None:
                return answer
            raise
        return self._answer(guest)

    def _answer(self, guest: GuestClient) -> dict[str, Any] | None:
        """If the guest has answered by now."""
        while (said := guest.read(0)) is not None:
            if said.get("answer") == self.command:
                return said
        return None

    def call_off(self, directory: Path | None, name: str, as_json: bool) -> None:
        """From another terminal. Raises `UsageError` if nothing moves, or it is too late."""
        self._ask_to_cancel(directory, name)
        if as_json:
            output.emit({"name": name, "cancelled": True})
        else:
            print(f"what moved of {name} is called off")

    def _ask_to_cancel(self, directory: Path | None, name: str) -> None:
        with closing(connect(directory, name)) as guest:
            if not guest.ask(self.cancel)["cancelled"]:
                raise UsageError(f"nothing of {name} moves that could still be called off")
