"""vlockstep: Solo5 unikernels that run in lockstep on two hosts, recorded and replayed exactly.

The public API. A guest is a function of its inputs, which all come from a `World`:

    image = open_image("hello")
    machine = Machine(image, GuestConfig(image.digest))
    outcome = machine.run(LiveWorld(ConsoleStream()))

`Machine.run` returns an `Outcome`, or a `Stop` if somebody asked for one or the World had no
answer; then it may be called again. `Machine.capture` takes the guest's state as a value, and
`Machine.restore` makes a machine of one, in any process.

A recording is debugged by `vlockstep debug`, or a program, forwards and backwards:

    with open_recording("clock.vlog") as timeline:
        timeline.to_end()
        timeline.run_back([Watchpoint(timeline.image.find("line_used").address, 8)])

Names are imported when they are first used: `vlockstep --help` needs no CPU.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vlockstep.debug.mark import Mark as Mark
    from vlockstep.debug.stops import Access as Access
    from vlockstep.debug.stops import Breakpoint as Breakpoint
    from vlockstep.debug.stops import Watchpoint as Watchpoint
    from vlockstep.debug.timeline import Timeline as Timeline
    from vlockstep.debug.timeline import open_recording as open_recording
    from vlockstep.errors import HostError as HostError
    from vlockstep.errors import ImageError as ImageError
    from vlockstep.errors import LogError as LogError
    from vlockstep.errors import UsageError as UsageError
    from vlockstep.errors import VlockstepError as VlockstepError
    from vlockstep.host.attach import Devices as Devices
    from vlockstep.host.attach import DiskSpec as DiskSpec
    from vlockstep.host.attach import attach as attach
    from vlockstep.host.devices import ConsoleFile as ConsoleFile
    from vlockstep.host.devices import ConsoleStream as ConsoleStream
    from vlockstep.host.devices import Disk as Disk
    from vlockstep.host.live import LiveWorld as LiveWorld
    from vlockstep.host.simulated import SimulatedWorld as SimulatedWorld
    from vlockstep.machine.bundled import open_image as open_image
    from vlockstep.machine.config import BlockConfig as BlockConfig
    from vlockstep.machine.config import GuestConfig as GuestConfig
    from vlockstep.machine.config import NetConfig as NetConfig
    from vlockstep.machine.image import Image as Image
    from vlockstep.machine.machine import Machine as Machine
    from vlockstep.machine.position import Position as Position
    from vlockstep.machine.registers import Registers as Registers
    from vlockstep.machine.report import GuestError as GuestError
    from vlockstep.machine.state import MachineState as MachineState
    from vlockstep.machine.world import Outcome as Outcome
    from vlockstep.machine.world import Stop as Stop
    from vlockstep.machine.world import World as World
    from vlockstep.replay.entry import Entry as Entry
    from vlockstep.replay.entry import Kind as Kind
    from vlockstep.replay.logfile import LogReader as LogReader
    from vlockstep.replay.logfile import LogWriter as LogWriter
    from vlockstep.replay.recorder import Recorder as Recorder
    from vlockstep.replay.replayer import Divergence as Divergence
    from vlockstep.replay.replayer import Replayer as Replayer
    from vlockstep.replay.replayer import Sequence as Sequence
else:
    _HOMES = {
        "debug.mark": "Mark",
        "debug.stops": "Access Breakpoint Watchpoint",
        "debug.timeline": "Timeline open_recording",
        "errors": "HostError ImageError LogError UsageError VlockstepError",
        "machine.bundled": "open_image",
        "machine.config": "BlockConfig GuestConfig NetConfig",
        "machine.image": "Image",
        "machine.machine": "Machine",
        "machine.position": "Position",
        "machine.registers": "Registers",
        "machine.report": "GuestError",
        "machine.state": "MachineState",
        "machine.world": "Outcome Stop World",
        "host.attach": "Devices DiskSpec attach",
        "host.devices": "ConsoleFile ConsoleStream Disk",
        "replay.entry": "Entry Kind",
        "host.live": "LiveWorld",
        "replay.logfile": "LogReader LogWriter",
        "replay.recorder": "Recorder",
        "replay.replayer": "Divergence Replayer Sequence",
        "host.simulated": "SimulatedWorld",
    }
    _MODULES = {name: module for module, names in _HOMES.items() for name in names.split()}
    __all__ = sorted(_MODULES)

    def __getattr__(name: str) -> object:
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULES})
