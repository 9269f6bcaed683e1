"""The end of gdb's remote protocol that is the guest: bytes in, bytes out.

It is a pure state machine over a `Timeline`. gdb resumes the guest and waits for a stop reply;
there are `bs` and `bc`, too, one step and on and on backwards. History is read-only: what would
change registers or memory is refused. `monitor` commands go to `Commands`.
"""

from __future__ import annotations

import re
from binascii import Error as BadHex
from binascii import unhexlify
from collections.abc import Callable

from vlockstep.debug import agent, target
from vlockstep.debug.commands import Commands
from vlockstep.debug.packets import LONGEST, Deframer, Signal, framed
from vlockstep.debug.stops import Access, Breakpoint, Stop, Watchpoint, Why
from vlockstep.debug.timeline import Run, Timeline
from vlockstep.errors import VlockstepError

_FEATURES = (
    f"PacketSize={LONGEST // 2:x};QStartNoAckMode+;qXfer:features:read+;swbreak+;hwbreak+;"
    "ConditionalBreakpoints+;ReverseStep+;ReverseContinue+;vContSupported+"
)
_ACCESS = {2: Access.WRITE, 3: Access.READ, 4: Access.EITHER}
_TOLD = {Access.WRITE: "watch", Access.READ: "rwatch", Access.EITHER: "awatch"}
_MOST_STOPS, _LONGEST_WATCH, _LONGEST_READ = 1000, 4096, LONGEST // 4
_TRAP, _INTERRUPT = "T05thread:1;", "T02thread:1;"
_REFUSED, _BAD, _NO_MEMORY = "E01", "E22", "E14"
_READ_ONLY = "E.a recording cannot be changed"
_HEX = r"([0-9a-fA-F]{1,16})"
_READ = re.compile(rf"{_HEX},{_HEX}")
_STOP = re.compile(rf"([0-4]),{_HEX},{_HEX}")
_CONDITION = re.compile(r"X([0-9a-f]{1,4}),([0-9a-f]*)")
_STEPPED = re.compile(rf"r{_HEX},{_HEX}(?::.*)?", re.S)
_RANGE = re.compile(rf"target\.xml:{_HEX},{_HEX}")


class Stub:
    """One gdb's. `over` once it has left."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._commands = Commands(timeline)
        self._deframer = Deframer()
        self._acknowledges = True
        self._last = b""
        self._stops: dict[tuple[int, int, int], Stop] = {}
        self._stopped = _TRAP
        self._queued = False
        """An interrupt came while the guest stood; it ends what resumes it next."""
        self._spent = False
        """One that comes before the next packet was for what has ended."""
        self._by_letter: dict[str, Callable[[str], str | None]] = {
            "?": self._why_stopped,
            "g": lambda _: target.encode_all(self._timeline.registers()).hex(),
            "p": self._register,
            "m": self._read,
            "c": lambda _: self._resume(self._continue),
            "C": lambda _: self._resume(self._continue),
            "s": lambda _: self._resume(self._step),
            "S": lambda _: self._resume(self._step),
            "b": self._backwards,
            "Z": self._insert,
            "z": self._remove,
            "q": self._query,
            "v": self._verbose,
            "G": lambda _: _READ_ONLY,
            "P": lambda _: _READ_ONLY,
            "M": lambda _: _READ_ONLY,
            "X": lambda _: _READ_ONLY,
            "H": lambda _: "OK",
            "T": lambda _: "OK",
            "D": self._leave,
            "k": self._kill,
        }
        self.over = False
        self._commanded = False

    def interrupt(self) -> None:
        """End what a `monitor` command does; during which gdb says nothing. From any thread."""
        if self._commanded:
            self._timeline.interrupt()

    def feed(self, data: bytes) -> bytes:
        """What is to be sent after `data` has come. While this takes time, gdb waits for the guest;
        whoever finds an interrupt meanwhile lets the timeline stop."""
        answer = bytearray()
        for part in self._deframer.feed(data):
            if self.over:
                break
            if isinstance(part, bytes):
                if self._acknowledges:
                    answer += b"+"
                self._spent = False
                told = self._answer(part)
                if told is not None:
                    self._last = framed(told.encode("latin-1"))
                    answer += self._last
            elif part is Signal.DAMAGED and self._acknowledges:
                answer += b"-"
            elif part is Signal.INTERRUPT:
                self._timeline.forget_interrupt()
                self._queued = not self._spent
            elif part is Signal.RESEND:
                answer += self._last
        return bytes(answer)

    def _answer(self, packet: bytes) -> str | None:
        text = packet.decode("latin-1")
        if text == "QStartNoAckMode":
            self._acknowledges = False
            return "OK"
        handler = self._by_letter.get(text[:1])
        if handler is None:
            return ""
        try:
            return handler(text[1:])
        except VlockstepError:
            return _REFUSED

    # Looking

    def _register(self, text: str) -> str:
        number = int(text, 16) if re.fullmatch(_HEX, text) else -1
        if not 0 <= number < len(target.REGISTERS):
            return _BAD
        return target.encode(number, self._timeline.registers()).hex()

    def _read(self, text: str) -> str:
        found = _READ.fullmatch(text)
        if found is None:
            return _BAD
        address, length = (int(each, 16) for each in found.groups())
        content = self._timeline.read(address, min(length, _LONGEST_READ))
        return content.hex() if content or not length else _NO_MEMORY

    # Going

    def _resume(self, go: Callable[[], Run]) -> str:
        if self._queued:
            self._queued = False
            return self._tell(Run(Why.INTERRUPTED))
        run = go()
        self._spent = run.why is Why.INTERRUPTED
        return self._tell(run)

    def _continue(self) -> Run:
        return self._timeline.run(self._stops.values())

    def _step(self) -> Run:
        return Run(Why.GOAL if self._timeline.step() else Why.END)

    def _step_through(self, start: int, end: int) -> Run:
        """One step, and on as long as the guest is in a range of addresses."""
        if start >= end:
            return self._step()
        return self._timeline.step_through(start, end, self._stops.values())

    def _step_back(self) -> Run:
        return Run(Why.GOAL if self._timeline.step_back() else Why.BEGIN)

    def _continue_back(self) -> Run:
        return self._timeline.run_back(self._stops.values())

    def _backwards(self, text: str) -> str:
        go = {"s": self._step_back, "c": self._continue_back}.get(text)
        return "" if go is None else self._resume(go)

    def _tell(self, run: Run) -> str:
        self._stopped = _TRAP
        if run.why is Why.INTERRUPTED:
            self._stopped = _INTERRUPT
        elif run.why in (Why.BEGIN, Why.END):
            self._stopped += f"replaylog:{run.why.value};"
        elif isinstance(run.stop, Watchpoint):
            self._stopped += f"{_TOLD[run.stop.access]}:{run.stop.address:x};"
        elif isinstance(run.stop, Breakpoint):
            hardware = next(key[0] for key, stop in self._stops.items() if stop is run.stop)
            self._stopped += "hwbreak:;" if hardware else "swbreak:;"
        return self._stopped

    # Stops

    def _insert(self, text: str) -> str:
        place, *rest = text.split(";", 1)
        found = _STOP.fullmatch(place)
        if found is None or len(self._stops) >= _MOST_STOPS:
            return _BAD
        kind, address, length = (int(each, 16) for each in found.groups())
        if kind < 2:
            codes = _codes(rest[0]) if rest else []
            if codes is None:
                return _BAD
            condition = agent.condition(codes) if codes else None
            self._stops[kind, address, 0] = Breakpoint(address, condition)
        elif 0 < length <= _LONGEST_WATCH:
            self._stops[kind, address, length] = Watchpoint(address, length, _ACCESS[kind])
        else:
            return _BAD
        return "OK"

    def _remove(self, text: str) -> str:
        found = _STOP.fullmatch(text.split(";")[0])
        if found is None:
            return _BAD
        kind, address, length = (int(each, 16) for each in found.groups())
        self._stops.pop((kind, address, length if kind >= 2 else 0), None)
        return "OK"

    # Asking

    def _why_stopped(self, _text: str) -> str:
        self._queued = False
        return self._stopped

    def _query(self, text: str) -> str:
        name, _, rest = text.partition(":")
        if name == "Supported":
            return _FEATURES
        if name == "Xfer" and rest.startswith("features:read:"):
            return _part(rest.removeprefix("features:read:"))
        if name.startswith("Rcmd,"):
            return self._command(text.removeprefix("Rcmd,"))
        return {
            "fThreadInfo": "m1", "sThreadInfo": "l", "C": "QC1", "Attached": "1",
        }.get(name, "")  # fmt: skip

    def _command(self, text: str) -> str:
        try:
            line = unhexlify(text).decode()
        except (BadHex, ValueError):
            return _BAD
        self._commanded = True
        try:
            told = self._commands.carry_out(line)
        except VlockstepError as error:
            told = f"error: {error}\n"
        finally:
            self._commanded = self._queued = False
            self._spent = True
            self._timeline.forget_interrupt()
        content = told.encode(errors="replace").hex()
        return content[: LONGEST // 2] or "OK"

    def _verbose(self, text: str) -> str:
        if text == "Cont?":
            return "vCont;c;C;s;S;r"
        if text.startswith("Cont;"):
            return self._act(text.removeprefix("Cont;").split(";")[0])
        if text.startswith("Kill"):
            self.over = True
            return "OK"
        return ""

    def _act(self, action: str) -> str:
        if action[:1] in ("c", "C"):
            return self._resume(self._continue)
        if action[:1] in ("s", "S"):
            return self._resume(self._step)
        found = _STEPPED.fullmatch(action)
        if found is None:
            return _BAD
        start, end = (int(each, 16) for each in found.groups())
        return self._resume(lambda: self._step_through(start, end))

    def _leave(self, _text: str) -> str:
        self.over = True
        return "OK"

    def _kill(self, _text: str) -> None:
        """Which gdb expects no answer to."""
        self.over = True


def _codes(text: str) -> list[bytes] | None:
    """The conditions behind a breakpoint; None if they are none."""
    codes: list[bytes] = []
    while text:
        found = _CONDITION.match(text)
        if found is None:
            return codes if text.startswith("cmds:") else None
        size = int(found[1], 16)
        code = found[2][: 2 * size]
        if len(code) != 2 * size or size > agent.LONGEST:
            return None
        codes.append(bytes.fromhex(code))
        text = text[found.start(2) + 2 * size :].removeprefix(";")
    return codes


def _part(text: str) -> str:
    found = _RANGE.fullmatch(text)
    if found is None:
        return _BAD
    start, length = (int(each, 16) for each in found.groups())
    whole = target.description()
    part = whole[start : start + min(length, LONGEST // 4)]
    return ("l" if start + len(part) >= len(whole) else "m") + part
