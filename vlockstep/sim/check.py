"""What must hold after an execution, seen from outside: what the world was shown, and by whom."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

from vlockstep.errors import VlockstepError
from vlockstep.machine.world import Outcome
from vlockstep.protocol.timing import MILLISECOND
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.logfile import LogReader
from vlockstep.replay.replayer import Replayer, Sequence
from vlockstep.sim.client import Client, KvClients
from vlockstep.sim.host import SimulatedHost
from vlockstep.sim.ledger import inspect_ledger, inspect_unfinished_ledger
from vlockstep.sim.linear import inspect_history
from vlockstep.sim.schedule import HARMLESS, Schedule
from vlockstep.sim.scripted import BLOCK, RECORD
from vlockstep.sim.simulation import HOSTS, NEWCOMERS, OUTSIDER, Simulation
from vlockstep.sim.sinks import OwnDisk

_LINE = re.compile(rb"line (\d+) ([0-9a-f]{8}) ([0-9a-f]{8})\n")
_RATES = 50
"""A host's clock may be a fiftieth faster than another's."""
_DRIFT = 100 * MILLISECOND


def violations(
    simulation: Simulation, schedule: Schedule, client: Client | KvClients | None
) -> Iterator[str]:
    """Each in words; none if all is well."""
    yield from simulation.console.complaints
    yield from simulation.losses
    yield from simulation.unheld
    yield from _emitters(simulation)
    yield from _composure(simulation, schedule)
    may_diverge = any(fault.kind == "diverge" for fault in schedule.faults)
    if any(fault.kind == "end" for fault in schedule.faults):
        yield from _ended(simulation, schedule)
    else:
        yield from _survival(simulation, may_diverge)
    for host in simulation.hosts:
        if host.happened("diverged") and not may_diverge:
            yield f"{host.name} diverged: {host.outcome}"
        if isinstance(host.outcome, Outcome):
            yield from _replay(simulation, host, host.outcome)
            yield from _clock(simulation, host)
            yield from _log(simulation, host)
    finished = any(isinstance(host.outcome, Outcome) for host in simulation.hosts)
    if isinstance(client, KvClients):
        report = inspect_history(client.history)
        yield from (*report.problems, *report.undecided)
    elif client is not None:
        yield from client.complaints
        if finished and len(client.replies) < schedule.size:
            yield f"the guest ended after {len(client.replies)} replies, not {schedule.size}"
    elif not schedule.real or schedule.program == "ledger":
        past = simulation.past
        if past is not None:
            text = simulation.transcript[: past.printed]
            yield from _ledger(simulation, schedule, text, past.disks["disk"], False)
        text = simulation.transcript[past.printed if past else 0 :]
        yield from _ledger(simulation, schedule, text, simulation.disk(), finished)


def _emitters(simulation: Simulation) -> Iterator[str]:
    """At most one is live: generations never go back, and each has one owner."""
    owners: dict[int, str] = {}
    last = 0
    for emission in simulation.emissions:
        where = f"{emission.host} at {emission.time} ns"
        if emission.generation is None:
            yield f"an output by {where}, which is no primary"
        elif emission.generation < last:
            yield f"an output of generation {emission.generation} by {where}, after {last}"
        elif emission.time > simulation.arbiter.seals.get(emission.generation, emission.time):
            yield f"an output of generation {emission.generation} by {where}, after it was sealed"
        elif owners.setdefault(emission.generation, emission.host) != emission.host:
            yield f"an output of generation {emission.generation} by {where}, which is another's"
        else:
            last = emission.generation


def _composure(simulation: Simulation, schedule: Schedule) -> Iterator[str]:
    """Who only waits for what it writes, or for the arbiter, does not count as dead; and whoever
    leaves, the other one has the guest."""
    conditions, faults = simulation.conditions, schedule.faults
    lateness = conditions.message[1] + conditions.timer[1]
    calm = all(t.dead - 2 * t.interval > 2 * lateness for t in conditions.timings)
    if not calm or not simulation.primary.happened("started"):
        return
    leaving = {fault.target for fault in faults if fault.kind == "leave"}
    if leaving >= set(HOSTS[: schedule.replicas]) or any(f.kind not in HARMLESS for f in faults):
        return
    changes = sum(fault.kind in ("switchover", "join", "move") for fault in faults)
    if not leaving and simulation.arbiter.generation > 1 + changes:
        yield f"generation {simulation.arbiter.generation}, and nobody was dead"
    began = simulation.arbiter.records[1].members
    for host in simulation.hosts:
        stays = host.name in began and host.name not in leaving
        if stays and not isinstance(host.outcome, Outcome):
            yield f"{host.name} left, and nobody was dead: {host.outcome}"


def _survival(simulation: Simulation, may_diverge: bool) -> Iterator[str]:
    """Who owns the generation goes on, or if that is gone, who was to take over. Who was not asked
    yet does not know that it is a member; nothing is released before. Nor does who became one after
    it had asked the arbiter for as long as it waits."""
    if not simulation.primary.happened("started"):
        return
    outsider = next((host for host in simulation.hosts if host.name == OUTSIDER), None)
    if outsider is not None and simulation.arbiter.generation in simulation.arbiter.seals:
        if not outsider.gone:
            yield "the lease was sealed, and the guest was not started again"
        return
    released = any(e.generation == simulation.arbiter.generation for e in simulation.emissions)
    able = [
        host
        for host in simulation.arbiter.members
        if not host.gone
        and not (may_diverge and host.happened("diverged"))
        and (released or host.followed or host.name not in NEWCOMERS)
        and "before it had taken this replica in" not in str(host.outcome)
    ]
    if able[:1] == simulation.arbiter.members[:1]:
        able = able[:1]  # the owner
    if able and not any(isinstance(host.outcome, Outcome) for host in able):
        names = ", ".join(f"{host.name} ({host.state}, {host.outcome})" for host in able)
        yield f"nobody went on of {names}"


def _ended(simulation: Simulation, schedule: Schedule) -> Iterator[str]:
    """A guest that was to end does not go on anywhere, and the arbiter knows that, unless its
    replicas crashed or could not hear of it."""
    harmless = HARMLESS - {"leave"} | {"end"}
    newest = simulation.arbiter.generation
    if any(fault.kind not in harmless for fault in schedule.faults) or not newest:
        return
    if newest not in simulation.arbiter.ended:
        yield f"the guest was to end, and generation {newest} has not"


def _clock(simulation: Simulation, host: SimulatedHost) -> Iterator[str]:
    """The guest's counter goes neither back nor, by more than clocks drift apart in a while, ahead
    of the time that passes."""
    before = None
    for kind, _, _, value, _ in host.entries:
        if kind != Kind.CYCLES:
            continue
        assert isinstance(value, int)
        if value not in simulation.readings:  # it was read before the guest was started again
            continue
        if before is not None:
            passed = simulation.readings[value] - simulation.readings[before]
            if not 0 < value - before <= passed + passed // _RATES + _DRIFT:
                yield f"the guest's counter went by {value - before} ns when {passed} ns passed"
        before = value


def _log(simulation: Simulation, host: SimulatedHost) -> Iterator[str]:
    """The log file of who finished is whole, or was told to end where it does."""
    if simulation.logs is None or host.name in NEWCOMERS:
        return
    kept: list[Entry] = []
    file = simulation.logs / f"{host.name}.vlog"
    if file.exists():
        with closing(LogReader(file)) as reader:
            kept += reader.entries()
    if kept != host.entries[: len(kept)]:
        yield f"the log file of {host.name} holds other entries than were kept"
    told = any("the log file ends here" in event.get("text", "") for event in host.events)
    if len(kept) < len(host.entries) and not told:
        yield f"the log file of {host.name} ends early, and nobody was told"


def _replay(simulation: Simulation, host: SimulatedHost, outcome: Outcome) -> Iterator[str]:
    """The log of who finished leads a fresh machine to the same end."""
    guest = host.guest
    with closing(simulation.make_machine(guest.image, guest.config, False)) as machine:
        source = Sequence(iter(host.entries))
        own = simulation.own_disks.get(host.name, {})
        disks = {handle: OwnDisk(bytes(disk.capacity)) for handle, disk in own.items()}
        try:
            replayed = machine.run(Replayer(source, machine, local={**disks}))
        except VlockstepError as error:
            yield f"the log of {host.name} does not replay: {error}"
            return
    if replayed != outcome:
        yield f"the log of {host.name} replays to another end"
    for handle, disk in disks.items():
        if disk.content != own[handle].content:
            yield f"the disk of {host.name} holds something else than the guest wrote"


def _ledger(
    simulation: Simulation, schedule: Schedule, text: bytes, disk: bytes, finished: bool
) -> Iterator[str]:
    """Each line once and in order, and on the disk before on the console; if the block is
    rewritten, only the last one is there."""
    size, rewritten = schedule.size, schedule.program == "rewrite"
    if schedule.real:
        yield from _real_ledger(text, disk, size, finished)
        return
    lines = text[: text.rfind(b"\n") + 1].splitlines(keepends=True)
    if finished and (len(lines) != size or not text.endswith(b"\n")):
        yield f"the guest ended with {len(lines)} lines, not {size}"
    chain = 0
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None or int(match[1]) != number:
            yield f"line {number} is {line!r}"
            return
        if int(match[2], 16) != chain:
            yield f"line {number} follows a line that nobody saw"
        chain = int(match[3], 16)
        if rewritten and not (finished and number == size):
            continue
        if simulation.own_disks and not finished:
            continue  # who would go on has yet to execute what it has received
        block = RECORD.unpack_from(disk, 0 if rewritten else (number - 1) * BLOCK)
        if block != (number, chain):
            yield f"line {number} was printed with {chain:08x}, the disk has {block}"


def _real_ledger(text: bytes, disk: bytes, size: int, finished: bool) -> Iterator[str]:
    """The same of the guest that writes each line to its disk after it has printed it."""
    if finished:
        report = inspect_ledger(text, disk, size)
        yield from report.problems
        return
    report = inspect_unfinished_ledger(text, disk)
    if not report.ok:
        yield f"the ledger is damaged: {report}"
