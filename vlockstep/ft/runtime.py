"""What a replica runs on, and what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from vlockstep.errors import HostError, UsageError
from vlockstep.files.locks import FileLock
from vlockstep.ft.events import Event
from vlockstep.ft.handoff import Condition
from vlockstep.ft.outputs import Inputs, Output
from vlockstep.ft.places import Fault, Place, Stage
from vlockstep.ft.resumelog import ResumeStore
from vlockstep.ft.transfer import TransferLimits
from vlockstep.host.background import Background
from vlockstep.host.devices import DiskCounters
from vlockstep.host.live import BlockDevice, Console, Continuation, NetDevice
from vlockstep.host.mirror import MirroredDisk, Storage
from vlockstep.machine.basis import PROCESSOR, Basis, alike, basis, undecided
from vlockstep.machine.config import BlockConfig, GuestConfig, NetConfig
from vlockstep.machine.cpumodels import check_limit
from vlockstep.machine.engines import AUTO, UNICORN
from vlockstep.machine.image import Image
from vlockstep.machine.interface import GuestMachine, Probe
from vlockstep.net.attach import check_room
from vlockstep.net.station import Station
from vlockstep.protocol.actions import Claim, Renew
from vlockstep.protocol.timing import SECOND, Timing
from vlockstep.replay.entry import Kind


class Runtime(Protocol):
    """What a replica runs on."""

    def now(self) -> int:
        """A monotonic clock, in nanoseconds."""

    @property
    def endpoint(self) -> str:
        """Where other replicas reach this one; "" if nowhere."""

    def dial(self, endpoint: str) -> bytes | None:
        """Connect to a replica that is reached there, if it is not tried already; what its peer is
        called. None if that cannot be tried."""

    def hang_up(self, peer: bytes) -> None:
        """Connect no more to a peer that was dialed; what is still on its way there may be lost.
        Said in a `turn`, and nothing is told of that peer any more."""

    def send(self, data: bytes, peer: bytes) -> bool:
        """False if there is no connection to `peer`."""

    def claim(self, claim: Claim) -> None:
        """Ask the arbiter, and call `arbiter_answered` some time later."""

    def renew(self, asked: Renew) -> None:
        """Ask the arbiter, and call `lease_answered` some time later."""

    def inputs(
        self,
        nics: Mapping[int, NetDevice],
        pause: Callable[[], None],
        start: Continuation,
    ) -> Inputs:
        """The host's clocks and timers, and these NICs."""

    def launch(self, run: Callable[[], None]) -> None:
        """Start the guest's thread."""

    def background(self, name: str) -> Background:
        """A new one, for what would make the protocol wait."""

    def machine(
        self, image: Image, config: GuestConfig, count_blocks: bool, engine: str
    ) -> GuestMachine:
        """What runs the guest; `count_blocks` and `engine` as for a `Machine`."""

    def condition(self) -> Condition:
        """What the guest's thread waits on."""

    def wake(self) -> None:
        """From the guest's thread: there is something to do. `turn` is called soon."""

    def hurry(self) -> None:
        """From the guest's thread, as `wake`, but sooner: `send_off` may be called before this
        returns. If another thread is in a turn, that looks before it sleeps whether the replica is
        `urgent`."""

    def look_around(self, place: str, machine: Probe) -> None:
        """From the guest's thread: it is at a place where it was to stop. May wait."""

    def observe(self, event: Event) -> None:
        """Something happened."""


def _no_copies(disk: str, path: Path, token: int) -> Storage:
    raise HostError("no disk of this replica can move")


class DiskMover(Protocol):
    """Who moves a disk that replicas share, of a primary. It is told one of these in a turn: waits
    for nothing."""

    def agreed(self) -> None:
        """All others have the new file. Let no write be made but to both, then `decide_disk`."""

    def moved(self) -> None:
        """The new file is the disk: use that alone, then `disk_moved`."""

    def kept(self, reason: str) -> None:
        """The old file is the disk, and nobody uses the new one any more."""

    def undecided(self, reason: str) -> None:
        """Only the arbiter knows."""


CONSOLE = "console file"
"""What a console is among the files that replicas share."""


@dataclass(frozen=True)
class Setting:
    """What a replica is made of. `disks` and `nics` are by handle, `blocks` and `nets` by name;
    `local` are the handles of disks of which each replica has its own copy. At `stops` the guest
    calls `Runtime.look_around`, at `diverge` a bit of its RAM is flipped. `begin` is called when a
    guest starts afresh here, before any output. `guest` is the arbiter's name for it. `shared` are
    the locks on the files that both replicas write, by what they are to the guest. `open_copy`
    opens a file that is to be a shared disk's, as `Devices.open_copy`. `disk_counters`
    count, by name, what becomes of the disks. Of more than `cpu_limit`, a CPU model, no guest is
    followed. `engine` is one of `engines.CHOICES`. While this replica follows, its `log` gets a
    keyframe each `keyframes` ns, if that is set. At `last` its last minutes are kept, for the case
    that it fails. `hold` is as of a `Primary`, at the start.

    A guest that starts here can be resumed elsewhere if there is a place for such logs, `resume`,
    until its own has come to `resume_limit` bytes. That gets keyframes: when it has grown by
    `resume_growth` bytes, and `resume_interval` ns after the one before. `settle` lets what was
    released be there whatever befalls this host; it raises `HostError`. All replicas need the same
    `basis`, which has a processor unless `engine` is none that runs guests on it."""

    image: Image
    console: Console
    disks: Mapping[int, BlockDevice]
    blocks: Mapping[str, BlockConfig]
    local: frozenset[int] = frozenset()
    nics: Mapping[int, Station] = field(default_factory=dict)
    nets: Mapping[str, NetConfig] = field(default_factory=dict)
    timing: Timing = field(default_factory=Timing)
    transfer: TransferLimits = field(default_factory=TransferLimits)
    log: Path | None = None
    keyframes: int | None = None
    last: Path | None = None
    core_directory: Path | None = None
    fault: Fault | None = None
    stops: Sequence[Place] = ()
    diverge: Place | None = None
    begin: Callable[[], None] = lambda: None
    guest: str = ""
    shared: Callable[[], Mapping[str, FileLock]] = dict
    open_copy: Callable[[str, Path, int], Storage] = _no_copies
    disk_counters: Mapping[str, DiskCounters] = field(default_factory=dict)
    cpu_limit: str | None = None
    engine: str = AUTO
    hold: bool = False
    resume: ResumeStore | None = None
    resume_limit: int = 1 << 28
    resume_growth: int = 1 << 23
    resume_interval: int = 30 * SECOND
    settle: Callable[[], None] = lambda: None
    basis: Basis = field(default_factory=basis)

    @property
    def first_basis(self) -> Basis:
        """While it is not known whether the guest is to run on the processor itself."""
        return undecided(self.basis) if self.engine == AUTO else self.basis

    def engine_beside(self, processor: object) -> str:
        """What executes a guest that others run on a processor of that name, if it is one."""
        own = self.basis.get(PROCESSOR)
        unlike = own and isinstance(processor, str) and processor and not alike(own, processor)
        return UNICORN if unlike and self.engine == AUTO else self.engine

    def tear(self, output: Output) -> None:
        """An output is about to be made: if the fault's place is in the midst of it, make half of
        it, and inject it."""
        if self.fault is None or not self.fault.due(Stage.WRITE, output.sequence):
            return
        half = output.data[: len(output.data) // 2]
        if output.kind is Kind.CONSOLE:
            self.console.write(output.offset, half)
        elif output.kind is Kind.BLOCK_WRITE:
            self.disks[output.handle].write(output.offset, half)
        self.fault.inject()

    def tokens(self) -> dict[str, int | None]:
        """Those of the locks of shared files, for the other replica."""
        return {name: lock.token for name, lock in self.shared().items()}

    @property
    def shared_disks(self) -> dict[str, MirroredDisk]:
        """Those of which there is one for all replicas, by name, as far as they can move."""
        devices = ((d.name, self.disks.get(d.handle)) for d in self.image.devices)
        found = {name: disk for name, disk in devices if isinstance(disk, MirroredDisk)}
        own = self.copies.values()
        return {name: disk for name, disk in found.items() if disk not in own}

    @property
    def copies(self) -> dict[int, MirroredDisk]:
        """The disks of which this replica has its own copy."""
        found = {handle: self.disks[handle] for handle in sorted(self.local)}
        return {h: disk for h, disk in found.items() if isinstance(disk, MirroredDisk)}

    def check(self, config: GuestConfig, runs: bool = False) -> None:
        """The devices given to this replica must be those that the primary's guest has, and its CPU
        model within the limit of this host. Of a guest that `runs` the disks are what they were at
        its start no more."""
        if self.cpu_limit is not None:
            check_limit(config.cpu, self.cpu_limit, ("cpu_limit",))
        for name, block in config.blocks.items():
            disk = self.blocks.get(name)
            if disk is None:
                raise UsageError(
                    f"the guest has a disk {name!r}: give this replica one, too", key=("disk", name)
                )
            disk = replace(disk, block_size=block.block_size)
            if runs:
                disk, block = replace(disk, content=""), replace(block, content="")
            if disk != block:
                raise UsageError(
                    f"the disk {name!r} is not the primary's: {_difference(disk, block)}",
                    key=("disk", name),
                )
        for name, net in config.nets.items():
            nic = self.nets.get(name)
            if nic is None:
                raise UsageError(
                    f"the guest has a NIC {name!r}: give this replica one, too", key=("nic", name)
                )
            if nic.mac != net.mac:
                raise UsageError(
                    f"the NIC {name!r} is not the primary's: {nic} here, {net} there; "
                    f"give both the address {net.mac}",
                    key=("nic", name, "mac"),
                )
            device = self.image.device(name)
            assert device is not None
            try:
                check_room(net.mtu, self.nics[device.handle].largest_mtu, ("backend",))
            except UsageError as error:
                raise error.about(f"NIC {name!r}", "nic", name) from error

    def verify_shared(self, tokens: object, moved: Mapping[str, str] | None = None) -> list[str]:
        """The files that both replicas write must be the same files: the primary, whose `tokens`
        these are, has locked what is open here; disks that have `moved` are in those files. For
        people, what of it could not be found out."""
        now = {f"disk {name!r}": path for name, path in (moved or {}).items()}
        found, shared = tokens if isinstance(tokens, dict) else {}, self.shared()
        if (CONSOLE in shared) != (CONSOLE in found):
            sides = ("here", "at the primary")[:: 1 if CONSOLE in shared else -1]
            raise UsageError(
                "the guest's console is a file {} and none {}: after a failover its text would be "
                "torn; give both the same file, or neither one".format(*sides),
                key=("console",),
            )
        doubts = []
        for name, lock in shared.items():
            if name not in found:
                continue  # the primary has no such file
            token = found[name]
            if type(token) is int and lock.sees(token):
                continue
            elsewhere = name in now and not lock.is_on(Path(now[name]))
            if elsewhere or (type(token) is int and lock.seen_everywhere):
                where = f", which has moved to {now[name]}" if name in now else ""
                raise UsageError(
                    f"{lock.name} is not the primary's {name}{where}; give both the same file"
                )
            doubts.append(
                f"it cannot be verified that {lock.name} is the primary's {name}: "
                "locks on it are not seen from other hosts"
            )
        return doubts


def _difference(here: BlockConfig, there: BlockConfig) -> str:
    """Between two disks, for people."""
    if here.capacity != there.capacity:
        return f"it has {here.capacity} bytes here and {there.capacity} there"
    if here.local != there.local:
        sides = ("here", "there") if here.local else ("there", "here")
        return "it is a copy of its own {} and shared {}; say the same on both".format(*sides)
    return "the two copies have different contents; begin with identical ones"
