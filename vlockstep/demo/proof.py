"""Whether the fault can be seen in what the guest has left behind. Every check is computed from
the files and events of the demonstration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGSTOP

from vlockstep.demo.ping import PingVisitor
from vlockstep.demo.plan import Plan, disk_sizes
from vlockstep.demo.redis import RedisVisitor
from vlockstep.demo.stage import Continued
from vlockstep.demo.story import Story
from vlockstep.demo.visits import Visitor
from vlockstep.errors import VlockstepError
from vlockstep.machine.image import Image
from vlockstep.testing import Pair, Replayed, inspect_ledger, replay


@dataclass(frozen=True)
class Check:
    """`text` says what was found, in a line."""

    name: str
    ok: bool
    text: str


def _check(name: str, faults: Sequence[str], text: str) -> Check:
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return Check(name, not faults, f"{faults[0]}{more}" if faults else text)


def prove(plan: Plan, pair: Pair, story: Story, continued: Continued | None) -> Iterator[Check]:
    """All checks, each as soon as it is made."""
    yield failover(story)
    if story.network is not None:
        if found := story.network.clients:
            yield clients(found, story)
            yield counters(found)
        if pings := story.network.pings:
            yield answers(pings[0], story)
    log = rerun(pair.log("secondary"), plan.image)
    yield console(pair.transcript, log, plan.lines)
    if plan.lines is not None:
        for name in disk_sizes(plan):
            yield ledger_disk(pair.transcript, pair.disk(name), plan.lines)
    yield execution(log) if plan.networked else end_state(story, log)
    if plan.signal is SIGSTOP:
        yield old_primary(continued)


def rerun(log: Path, image: Image) -> Replayed | str:
    """A fresh replay, which verifies every digest in the log; or why there is none."""
    try:
        return replay(log, image=image)
    except VlockstepError as error:
        return str(error)


def failover(story: Story) -> Check:
    """Time from the fault to live."""
    name, plan = "failover", story.plan
    if story.fault is None:
        return Check(name, False, f"A was not {plan.deed}: it never came to {plan.place}")
    if story.live is None or story.failover is None:
        return Check(name, False, f"B never went live after A was {plan.deed}")
    if story.failover < 0:
        return Check(name, False, f"B went live {-story.failover:.0f} ms before A was {plan.deed}")
    fault = "stop" if plan.signal is SIGSTOP else "death"
    return Check(name, True, f"{story.failover:.0f} ms from A's {fault} to B live")


def clients(visitors: Sequence[RedisVisitor], story: Story) -> Check:
    """Nobody's only connection ended, or brought an error."""
    faults = [fault for visitor in visitors for fault in _absences(visitor, story)]
    what = f"{len(visitors)} clients, one TCP connection each: no error, reset or reconnect"
    return _check("clients", faults, what)


def _absences(visitor: Visitor, story: Story) -> Iterator[str]:
    """Why a client was not there from before the fault to the end."""
    if visitor.trouble:
        yield f"{visitor.name}: {visitor.trouble}"
    struck, live = story.struck, story.live
    if struck is None or not any(time < struck for time in visitor.answered):
        yield f"{visitor.name} had no answer before the fault"
    if live is None or not any(time > live["time"] for time in visitor.answered):
        yield f"{visitor.name} had no answer from B"


def counters(visitors: Sequence[RedisVisitor]) -> Check:
    """Every INCR that was answered happened, and happened once. Each client has its own key."""
    faults = [fault for visitor in visitors for fault in _miscounts(visitor)]
    total = sum(len(visitor.replies) for visitor in visitors)
    what = f"{total} INCR, each counted once: the replies are 1, 2, 3 …, GET agrees"
    return _check("counters", faults, what)


def _miscounts(visitor: RedisVisitor) -> Iterator[str]:
    for number, reply in enumerate(visitor.replies, 1):
        if reply != number:
            yield f"{visitor.name}: the answer to INCR number {number} was {reply!r}"
            break
    count = len(visitor.replies)
    if visitor.value != b"%d" % count:
        yield f"{visitor.name}: GET says {visitor.value!r} after {count} answers to INCR"


def answers(visitor: PingVisitor, story: Story) -> Check:
    """Pings may be lost, or answered twice, as in any network; a wrong answer may not be."""
    faults = [*_absences(visitor, story)]
    if visitor.wrong:
        faults.append(f"{visitor.wrong} answers to what was never said")
    twice = sum(count > 1 for count in visitor.counts.values())
    what = f"{len(visitor.counts)} of {visitor.sent} pings answered, {twice} of them twice"
    return _check("answers", faults, f"{what}, none wrongly")


def console(text: bytes, log: Replayed | str, lines: int | None) -> Check:
    """No line lost, repeated or changed. `lines` is that of a ledger."""
    faults = _against_log(text, log)
    if lines is not None:
        faults += _numbering(text, lines)
    found = text.count(b"\n")
    what = f"{found} line{'s' * (found != 1)}, none lost, repeated or changed"
    return _check("console", faults, f"{what} ({len(text)} bytes)")


def _against_log(text: bytes, log: Replayed | str) -> list[str]:
    if isinstance(log, str):
        return [log]
    if text == log.console:
        return []
    both = zip(text, log.console, strict=False)
    at = next((i for i, (ours, logged) in enumerate(both) if ours != logged), None)
    if at is None:
        return [f"{len(text)} bytes on the console, {len(log.console)} by the log"]
    row = text[:at].count(b"\n") + 1
    return [f"line {row} on the console is not the one in the log, from byte {at} on"]


def _numbering(text: bytes, lines: int) -> list[str]:
    rows = [row for row in text.splitlines() if not row.startswith(b"ledger done")]
    wanted = [b"ledger %06d" % number for number in range(1, lines + 1)]
    found = [b" ".join(row.split(b" ")[:2]) for row in rows]
    if found == wanted:
        return []
    return [f"the numbers of the lines are not 1 to {lines}, each once"]


def ledger_disk(text: bytes, content: bytes, lines: int) -> Check:
    """The chain of checksums is whole, and every block equals its line on the console."""
    report = inspect_ledger(text, content, lines)
    return _check(
        "disk", report.problems, f"{lines} blocks in an unbroken chain, each equal to its line"
    )


def end_state(story: Story, log: Replayed | str) -> Check:
    """The guest ended exactly as it does in a fresh replay of the log."""
    name, finished = "end state", story.finished
    if finished is None:
        return Check(name, False, "B did not see the guest to its end")
    if isinstance(log, str):
        return Check(name, False, log)
    if log.status is None:
        return Check(name, False, "the log ends before the guest")
    registers = log.registers.to_dict()
    claimed = finished.get("registers", {})
    differing = [key for key in registers if claimed.get(key) != registers[key]]
    faults = [f"other registers than in the replay: {', '.join(differing)}"] if differing else []
    if finished.get("memory_digest") != log.memory_digest.hex():
        faults.append("another digest of the RAM than in the replay")
    if finished["status"] != log.status:
        faults.append(f"status {finished['status']}, {log.status} in the replay")
    what = f"{len(registers)} registers and the RAM equal a fresh replay's"
    return _check(name, faults, f"{what} ({log.entries} entries)")


def execution(log: Replayed | str) -> Check:
    """What both replicas did is one execution: the log carries digests of all output, and of
    registers and RAM."""
    if isinstance(log, str):
        return Check("execution", False, log)
    what = f"a fresh replay of the log matches every digest ({log.entries} entries)"
    return Check("execution", True, what)


def old_primary(continued: Continued | None) -> Check:
    """A primary that comes back finds itself replaced."""
    name = "old primary"
    if continued is None:
        return Check(name, False, "A was never continued")
    faults = [f"it wrote to {file}" for file in continued.written]
    if continued.exit_status is None:
        faults.append("it did not stop")
    elif continued.exit_status <= 0 or not continued.reason:
        faults.append(f"it left with status {continued.exit_status}")
    return _check(name, faults, f"emitted nothing, stopped: {continued.reason}")
