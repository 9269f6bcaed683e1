"""A replica that diverged: what it reported, beside what its log says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from vlockstep.debug.mark import Mark
from vlockstep.debug.timeline import Timeline
from vlockstep.errors import UsageError
from vlockstep.machine.registers import GENERAL
from vlockstep.machine.report import disassemble
from vlockstep.replay.entry import position

_HEAD = re.compile(r"divergence at entry ([0-9]{1,18}), (exits:[0-9+]{1,41}): (.*)")
_VERIFIED = re.compile(r"the registers were still equal at entry ([0-9]{1,18})$", re.M)
_REGISTER = re.compile(r"^ *(\w{2,14}): (0x[0-9a-f]{1,32}) != (0x[0-9a-f]{1,32})  \(xor ", re.M)
_LISTED = re.compile(r"\b([a-z]\w{1,13}) +([0-9a-f]{1,32})(?=\s|$)")
_MOST_STEPS = 2000


@dataclass(frozen=True)
class Report:
    """`registers` are those that differ, each as the replica had it and as it was logged; or, if
    the log has none for this entry, `all_registers` tells what the replica had. Up to entry
    `verified`, they were equal."""

    sequence: int
    position: str
    what: str
    verified: int | None
    registers: dict[str, tuple[int, int]]
    all_registers: dict[str, int]


def parse_report(text: str) -> Report:
    """Out of what a replica told: as text, or as a line of JSON. Raises `UsageError`."""
    for line in text.splitlines():
        if line.startswith("{") and "divergence at entry" in line:
            try:
                told = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(told, dict) and isinstance(told.get("report"), str):
                text = told["report"]
    head = _HEAD.search(text)
    if head is None:
        raise UsageError(
            "no report of a divergence is in there, which begins with `divergence at entry`"
        )
    rest = text[head.end() :]
    verified = _VERIFIED.search(rest)
    registers = {name: (int(a, 16), int(b, 16)) for name, a, b in _REGISTER.findall(rest)}
    _, _, listed = rest.partition("\nregisters here:\n")
    found = {name: int(value, 16) for name, value in _LISTED.findall(listed.partition("\n\n")[0])}
    number = None if verified is None else int(verified[1])
    return Report(int(head[1]), head[2], head[3], number, registers, found)


def examine(timeline: Timeline, report: Report) -> str:
    """Go to where the replica was in another state at the latest, and tell what is known. Raises
    `UsageError` if the log is none that the report is about."""
    recording = timeline.recording
    entry = recording.entry(report.sequence)
    if entry is None:
        raise UsageError(
            f"{recording.path} has {recording.count} entries, and the report is about entry "
            f"{report.sequence}: take the log that the replica followed"
        )
    if report.registers and str(position(entry)) != report.position:
        raise UsageError(
            f"entry {report.sequence} of {recording.path} is at {position(entry)}, and the report "
            f"is about one at {report.position}: take the log that the replica followed"
        )
    told = [f"the replica diverged at entry {report.sequence}: {report.what}"]
    try:
        timeline.seek(report.sequence)
    except UsageError:
        timeline.to_end()
        told.append(f"here its log cannot be replayed to that entry, either: {timeline.ending}")
        return "\n".join([*told, "", _code(timeline)])
    different = _different(timeline, report)
    told.append("here its log is replayed to that entry without a difference: it was the replica")
    if report.verified is not None:
        told.append(f"its registers were right at entry {report.verified}")
    end = timeline.mark
    marks = _origins(timeline, different, _lowest(timeline, report))
    for name, (wrong, right) in different.items():
        mark = marks.get(name)
        where = f"set at {mark}" if mark else f"not set in the {_MOST_STEPS} instructions before"
        told.append(f"{name}: {wrong:#x} in the replica, {right:#x} in the log, {where}")
    if marks:
        told.append(
            f"either the replica was in another state when it came to {min(marks.values())}, or "
            f"what that sets has changed there before {end}"
        )
    timeline.seek(min(marks.values(), default=end))
    return "\n".join([*told, "", _code(timeline)])


def _different(timeline: Timeline, report: Report) -> dict[str, tuple[int, int]]:
    """Registers that differ at the entry: the replica's, and those of the log."""
    here = timeline.registers()
    for name, (_, logged) in report.registers.items():
        if here.get(name) != logged:
            raise UsageError(
                f"{name} is {here.get(name, 0):#x} at entry {report.sequence} of "
                f"{timeline.recording.path}, and was {logged:#x} in the log that the report is "
                "about: take that"
            )
    if report.registers:
        return report.registers
    theirs = report.all_registers
    return {n: (theirs[n], here[n]) for n in GENERAL if n in theirs and theirs[n] != here[n]}


def _lowest(timeline: Timeline, report: Report) -> Mark:
    """Before which all registers were right."""
    end = timeline.mark
    if report.verified is None:
        return Mark(0, 0, 0)
    lowest = timeline.seek(report.verified)
    timeline.seek(end)
    return lowest


def _origins(
    timeline: Timeline, different: dict[str, tuple[int, int]], lowest: Mark
) -> dict[str, Mark]:
    """The instruction that gave each register the value that it has, as far as one looks back."""
    wanted = {name: right for name, (_, right) in different.items()}
    found: dict[str, Mark] = {}
    for _ in range(_MOST_STEPS):
        if not wanted or timeline.mark <= lowest or not timeline.step_back():
            break
        registers = timeline.registers()
        for name in [each for each, value in wanted.items() if registers[each] != value]:
            found[name] = timeline.mark
            del wanted[name]
    return found


def _code(timeline: Timeline) -> str:
    return disassemble(timeline.registers().rip, timeline.read, timeline.image.symbol)
