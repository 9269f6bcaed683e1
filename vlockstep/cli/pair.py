"""`vlockstep primary`, `vlockstep secondary` and `vlockstep switchover`."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer

from vlockstep.cli import options, output, pairoptions
from vlockstep.cli.command import OTHER, PAIR
from vlockstep.errors import UsageError, VlockstepError
from vlockstep.program import PATIENCE

if TYPE_CHECKING:
    from vlockstep.arbiter import DirectoryArbiter
    from vlockstep.files.locks import FileLock
    from vlockstep.ft.channels import Channels
    from vlockstep.ft.events import Event
    from vlockstep.ft.places import Fault, Place
    from vlockstep.ft.process import Process
    from vlockstep.ft.runtime import Setting
    from vlockstep.host.attach import Devices
    from vlockstep.host.devices import ConsoleFile
    from vlockstep.host.eventwriter import EventWriter
    from vlockstep.machine.image import Image
    from vlockstep.machine.world import Outcome
    from vlockstep.protocol.timing import Timing
    from vlockstep.wire.channel import Channel

MAX_SECONDARIES = 7
DEFAULT_ENDPOINT = "tcp://127.0.0.1:7700"

_EVENTS = {
    "waiting": "waiting for a secondary at {endpoint}",
    "joining": "joining the primary at {endpoint}",
    "started": "the guest runs, protected",
    "live": "live as generation {generation}",
    "following": "following the new primary, generation {generation}",
    "reached": "the guest stops at {place}, at {position}\n\n{registers}\n\n"
    "press Enter to go on, or write: memory ADDRESS LENGTH",
    "memory": "{shown}",
    "diverged": "{report}",
    "alone": "going on alone as generation {generation}",
    "unprotected": "the guest is no longer protected",
    "protected": "the guest is protected again",
    "network_lost": "network lost",
    "network_back": "network back",
    "finished": "the guest has ended with status {status}",
    "notice": "{text}",
    "rejected": "rejected: {reason}",
}
"""For people."""


def primary(
    image: options.ImageArgument,
    arbiter: pairoptions.ArbiterOption,
    arguments: options.GuestArguments = None,
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="ENDPOINT",
            rich_help_panel=PAIR,
            help="tcp://HOST:PORT or ipc://PATH.",
        ),
    ] = DEFAULT_ENDPOINT,
    secondaries: Annotated[
        int,
        typer.Option(
            "--secondaries",
            min=1,
            max=MAX_SECONDARIES,
            metavar="N",
            rich_help_panel=PAIR,
            help="How many secondaries to wait for.",
        ),
    ] = 1,
    keys: pairoptions.KeysOption = None,
    memory: options.MemoryOption = options.DEFAULT_MEMORY_MB,
    blocks: options.BlockOptions = None,
    nets: options.NetOptions = None,
    macs: options.MacOptions = None,
    console: pairoptions.SharedConsoleOption = options.STDOUT,
    log: pairoptions.LogOption = None,
    cpu: options.CpuOption = options.DEFAULT_CPU,
    heartbeat: pairoptions.HeartbeatOption = 50,
    misses: pairoptions.MissesOption = 5,
    max_lag: pairoptions.LagOption = 100,
    max_log: pairoptions.LogLimitOption = 64,
    wait: pairoptions.WaitOption = 30,
    crash_at: pairoptions.CrashOption = None,
    pause_at: pairoptions.PauseOption = None,
    stop_at: pairoptions.StopOption = None,
    diverge_at: pairoptions.DivergeOption = None,
    dumpcore: options.DumpcoreOption = None,
    as_json: pairoptions.JsonOption = False,
) -> None:
    """Run a guest protected by a secondary: it goes on if this process or its machine dies.

    Waits for the secondary first. The exit status is the guest's.
    """
    from vlockstep.arbiter import DirectoryArbiter
    from vlockstep.wire.endpoint import check_endpoint
    from vlockstep.wire.keys import Party

    own = _load(keys, Party.PRIMARY)
    check_endpoint(listen, own is not None)
    timing = _timing(heartbeat, misses, max_lag, max_log, wait)
    judge = DirectoryArbiter(arbiter, _name("primary"))
    network = options.Network(nets, macs, own, judge.guest)
    guest = options.open_guest(image, arguments, memory, cpu, blocks, network)

    def start(process: Callable[..., Process]) -> Outcome:
        from vlockstep.ft.channels import Channels
        from vlockstep.protocol.messages import forbidden
        from vlockstep.wire import channel

        generation = judge.start()
        channels = Channels(
            channel.listen(listen, own, forbidden), party=Party.PRIMARY, connect=_connector(own)
        )
        made = process(channels=channels, arbiter=judge)
        return made.run_primary(guest.config, generation, secondaries)

    files = _Files(judge.guest(), guest.files, console, log, dumpcore)
    places = _Places(crash_at, pause_at, stop_at, diverge_at)
    _replicate(start, guest.image, guest.attached, files, timing, places, as_json)


def secondary(
    image: options.ImageArgument,
    arbiter: pairoptions.ArbiterOption,
    connect: Annotated[
        str,
        typer.Option(
            "--connect", metavar="ENDPOINT", rich_help_panel=PAIR, help="Where the primary listens."
        ),
    ] = DEFAULT_ENDPOINT,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="ENDPOINT",
            rich_help_panel=PAIR,
            help="Where other secondaries reach this one, if there are any.",
        ),
    ] = None,
    keys: pairoptions.KeysOption = None,
    blocks: options.BlockOptions = None,
    nets: options.NetOptions = None,
    macs: options.MacOptions = None,
    console: pairoptions.SharedConsoleOption = options.STDOUT,
    log: pairoptions.LogOption = None,
    heartbeat: pairoptions.HeartbeatOption = 50,
    misses: pairoptions.MissesOption = 5,
    max_lag: pairoptions.LagOption = 100,
    max_log: pairoptions.LogLimitOption = 64,
    wait: pairoptions.WaitOption = 30,
    crash_at: pairoptions.CrashOption = None,
    pause_at: pairoptions.PauseOption = None,
    stop_at: pairoptions.StopOption = None,
    diverge_at: pairoptions.DivergeOption = None,
    dumpcore: options.DumpcoreOption = None,
    as_json: pairoptions.JsonOption = False,
) -> None:
    """Follow a primary in lockstep, and take its place when it dies.

    Memory, CPU and the guest's command line are the primary's. The exit status is the guest's.
    """
    from vlockstep.arbiter import DirectoryArbiter
    from vlockstep.host.attach import BlockOption
    from vlockstep.machine.bundled import open_image
    from vlockstep.wire.endpoint import check_endpoint
    from vlockstep.wire.keys import Party

    opened = open_image(image)
    disks = [BlockOption.parse(text) for text in blocks or []]
    own = _load(keys, Party.SECONDARY)
    check_endpoint(connect, own is not None)
    if listen is not None:
        check_endpoint(listen, own is not None)
    timing = _timing(heartbeat, misses, max_lag, max_log, wait)
    judge = DirectoryArbiter(arbiter, _name("secondary"))
    devices = options.attach_disks(opened, disks, judge.guest())
    attached = options.Network(nets, macs, own, judge.guest).connect(opened, devices)

    def start(process: Callable[..., Process]) -> Outcome:
        from vlockstep.ft.channels import Channels
        from vlockstep.protocol.messages import forbidden
        from vlockstep.wire import channel

        first = channel.connect(connect, own)
        others = None if listen is None else channel.listen(listen, own, forbidden)
        channels = Channels(first, others, party=Party.SECONDARY, connect=_connector(own))
        return process(channels=channels, arbiter=judge).run_secondary()

    files = _Files(judge.guest(), options.files_of(image, disks), console, log, dumpcore)
    places = _Places(crash_at, pause_at, stop_at, diverge_at)
    _replicate(start, opened, attached, files, timing, places, as_json)


def switchover(
    endpoint: Annotated[
        str, typer.Argument(metavar="ENDPOINT", help="Where the pair's first primary listens.")
    ] = DEFAULT_ENDPOINT,
    keys: pairoptions.KeysOption = None,
    wait: Annotated[
        int,
        typer.Option(
            "--wait",
            metavar="S",
            min=0,
            max=pairoptions.YEAR,
            rich_help_panel=PAIR,
            help="Seconds to wait for it to happen.",
        ),
    ] = 10,
    as_json: Annotated[
        bool, typer.Option("--json", rich_help_panel=OTHER, help="The result as JSON.")
    ] = False,
) -> None:
    """Ask a healthy pair to swap roles. The guest notices nothing."""
    from vlockstep.program.progress import Progress
    from vlockstep.supervise.operator import request_switchover
    from vlockstep.wire.keys import Party

    progress = Progress()
    try:
        generation = request_switchover(endpoint, _load(keys, Party.OPERATOR), wait, progress.tell)
    finally:
        progress.clear()
    if as_json:
        print(json.dumps({"generation": generation}))
    else:
        print(f"the roles are swapped; the new primary rules as generation {generation}")


def _timing(heartbeat: int, misses: int, max_lag: int, max_log: int, wait: int) -> Timing:
    from vlockstep.protocol.timing import MILLISECOND, SECOND, Timing

    return Timing(
        heartbeat * MILLISECOND, misses, max_lag * MILLISECOND, max_log << 20, wait * SECOND
    )


def _connector(keys: Any) -> Callable[[str, Any], Channel]:
    """Connects to other members, by where they are reached and whose key they have."""
    from vlockstep.wire import channel

    return lambda endpoint, party: channel.connect(endpoint, keys, party, look=False)


def _load(directory: Path | None, party: Any) -> Any:
    from vlockstep.wire import keys

    return None if directory is None else keys.load(directory, party)


def _name(role: str) -> str:
    return f"{role}-{uuid.uuid4().hex[:8]}"


class _Places(NamedTuple):
    """Where a replica crashes, pauses, stops and diverges."""

    crash: str | None
    pause: str | None
    stops: list[str] | None
    diverges: str | None

    def fault(self, events: EventWriter) -> Fault | None:
        """A signal to this process, after what it has already told."""
        from vlockstep.ft.places import Fault, Place

        if self.crash is not None and self.pause is not None:
            raise UsageError("give --crash-at or --pause-at, not both")
        place, number = self.crash, signal.SIGKILL
        if place is None:
            place, number = self.pause, signal.SIGSTOP

        def strike() -> None:
            events.settle(PATIENCE)
            os.kill(os.getpid(), number)

        return None if place is None else Fault(Place.parse(place), strike)

    def stop_places(self) -> list[Place]:
        return [_of_guest(text, "stops") for text in self.stops or []]

    def divergence(self) -> Place | None:
        return None if self.diverges is None else _of_guest(self.diverges, "diverges")


def _of_guest(text: str, does: str) -> Place:
    """A place that a guest comes to in either role."""
    from vlockstep.ft.places import Place, Stage

    place = Place.parse(text)
    if place.position is None and place.stage is not Stage.ENTRY:
        raise UsageError(f"a guest {does} at entry:N or exits:N, not at {text}")
    return place


class _Files(NamedTuple):
    """What a replica writes, and what it has otherwise. `guest` is the arbiter's name for its
    guest."""

    guest: str
    used: Sequence[Path]
    console: str
    log: Path | None
    cores: Path | None

    def prepare(self) -> ConsoleFile | None:
        """Lock the log and the console file, which is returned if there is one. Nothing is
        overwritten yet."""
        from vlockstep.host.devices import ConsoleFile

        used = self.used
        if self.log is not None:
            options.reserve_log(self.log, used)
            used = (*used, self.log)
        if self.console == options.STDOUT:
            return None
        options.refuse_overwriting(Path(self.console), "console file", used)
        return ConsoleFile(Path(self.console), f"{self.guest} console")


def _replicate(
    start: Callable[[Callable[..., Process]], Outcome],
    image: Image,
    attached: options.Attached,
    files: _Files,
    timing: Timing,
    places: _Places,
    as_json: bool,
) -> NoReturn:
    """Run a replica, and leave with the guest's status."""
    from vlockstep.ft.runtime import Setting
    from vlockstep.host.devices import ConsoleStream
    from vlockstep.machine.report import GuestError

    console = files.prepare()
    events = output.observer(_EVENTS, as_json)
    setting = Setting(
        image=image,
        console=console or ConsoleStream(),
        disks=attached.devices.disks,
        blocks=attached.devices.blocks,
        local=attached.devices.local,
        nics=attached.nics,
        nets=attached.nets,
        timing=timing,
        log=files.log,
        core_directory=files.cores,
        fault=places.fault(events),
        stops=places.stop_places(),
        diverge=places.divergence(),
        begin=console.truncate if console else lambda: None,
        guest=files.guest,
        shared=_shared(attached.devices, console),
    )
    observe = partial(_observe, events, as_json)
    try:
        status = start(partial(_process, setting, observe, as_json)).status
    except GuestError as error:
        output.note(error.report())
        status = error.exit_status
    except VlockstepError as error:
        if as_json:
            raise
        output.note(f"{output.clock(time.time())} {error}")
        status = error.exit_status
    raise typer.Exit(output.exit_status(status))


def _observe(events: EventWriter, as_json: bool, event: Event) -> None:
    """Tell it; and what is seen of a guest that was stopped as people read it, unless they do not
    read it."""
    from vlockstep.ft.events import Memory, Reached

    told = event.to_dict()
    match event:
        case Reached() if not as_json:
            told["registers"] = str(event.registers)
        case Memory(address, content, problem) if not as_json:
            shown = output.hexdump(address, content)
            told["shown"] = problem or f"memory at {address:#x}:\n{shown}"
    events.observe(told)


def _shared(devices: Devices, console: ConsoleFile | None) -> dict[str, FileLock]:
    from vlockstep.ft.runtime import CONSOLE

    locks = {f"disk {name!r}": lock for name, lock in devices.shared.items()}
    if console is not None and console.lock.lockable:
        locks[CONSOLE] = console.lock
    return locks


def _process(
    setting: Setting,
    observe: Callable[[Event], None],
    status: bool,
    channels: Channels,
    arbiter: DirectoryArbiter,
) -> Process:
    """One that signals stop, the second one at once: it may be stuck in a write."""
    from vlockstep.ft.process import Process

    made = Process(setting, channels, arbiter, observe, status)

    def leave(number: int, _frame: object) -> None:
        if not made.stop(f"stopped by {signal.Signals(number).name}"):
            os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)
    return made
