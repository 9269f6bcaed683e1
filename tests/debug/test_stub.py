"""The stub as gdb sees it: bytes in, bytes out."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import write_recording

from vlockstep.debug.agent import evaluate
from vlockstep.debug.commands import Commands
from vlockstep.debug.packets import LONGEST, Deframer, Signal, framed
from vlockstep.debug.recording import Recording
from vlockstep.debug.server import Server
from vlockstep.debug.stub import Stub
from vlockstep.debug.target import REGISTERS
from vlockstep.debug.timeline import Timeline, open_recording
from vlockstep.errors import HostError, UsageError
from vlockstep.machine.registers import NAMES, Registers

SIZE = sum(bits for _, bits, _ in REGISTERS) // 8


@pytest.fixture(scope="module")
def timeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timeline]:
    path = tmp_path_factory.mktemp("logs") / "hello.vlog"
    with open_recording(write_recording(path, "hello")) as opened:
        yield opened


@pytest.fixture
def stub(timeline: Timeline) -> Stub:
    timeline.to_begin()
    stub = Stub(timeline)
    assert ask(stub, b"QStartNoAckMode", acknowledged=True) == "OK"
    return stub


def test_text_that_is_too_much_is_told_to_be_missing(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "clock.vlog", "clock", "--reads=3", "--puts=9")
    with closing(Timeline(Recording(path), most_text=100)) as timeline:
        commands = Commands(timeline)
        timeline.to_end()
        text = commands.carry_out("console")
        assert text.count("\n") == 5 and "from entry" in text.splitlines()[-1]
        with pytest.raises(UsageError, match="too much"):
            timeline.line(8)
        commands.carry_out("seek console:3")
        assert "from entry" not in commands.carry_out("console")


def ask(stub: Stub, packet: bytes, acknowledged: bool = False) -> str:
    answer = stub.feed(framed(packet))
    if acknowledged:
        assert answer[:1] == b"+"
        answer = answer[1:]
    (content,) = Deframer().feed(answer)
    assert isinstance(content, bytes)
    return content.decode("latin-1")


def symbol(timeline: Timeline, name: str) -> int:
    return next(address for address, found in timeline.image.symbols if found == name)


@given(st.binary())
@settings(max_examples=50)
def test_what_is_framed_comes_out_again_piece_by_piece(content: bytes) -> None:
    deframer = Deframer()
    parts = [part for byte in framed(content) for part in deframer.feed(bytes([byte]))]
    assert parts == [content]


def test_signals_between_packets_are_told_and_damage_is() -> None:
    stream = b"+-\x03garbage" + framed(b"g") + b"$g#00" + framed(b"c")
    signals = [Signal.ACK, Signal.RESEND, Signal.INTERRUPT]
    assert Deframer().feed(stream) == [*signals, b"g", Signal.DAMAGED, b"c"]


def test_a_packet_without_end_takes_no_memory_and_is_damaged() -> None:
    deframer = Deframer()
    for _ in range(64):
        assert deframer.feed(b"$" + b"a" * (LONGEST // 16)) == []
        assert len(deframer._waiting) <= LONGEST + LONGEST // 16 + 1
    assert deframer.feed(b"#00" + framed(b"g")) == [Signal.DAMAGED, b"g"]


def test_damage_is_asked_for_again_and_an_answer_is_repeated(timeline: Timeline) -> None:
    stub = Stub(timeline)
    assert stub.feed(b"$g#00") == b"-"
    first = stub.feed(framed(b"qC"))
    assert first == b"+" + framed(b"QC1") and stub.feed(b"-") == framed(b"QC1")


def test_registers_are_as_wide_as_the_description_says(stub: Stub, timeline: Timeline) -> None:
    whole = ask(stub, b"g")
    assert len(whole) == 2 * SIZE
    parts = [ask(stub, b"p%x" % number) for number in range(len(REGISTERS))]
    assert "".join(parts) == whole
    rip = next(n for n, row in enumerate(REGISTERS) if row[0] == "rip")
    assert int.from_bytes(bytes.fromhex(parts[rip]), "little") == timeline.registers().rip
    assert ask(stub, b"p%x" % len(REGISTERS)) == "E22"


def test_the_description_comes_in_parts(stub: Stub) -> None:
    text, part = "", "m"
    while part[0] == "m":
        part = ask(stub, b"qXfer:features:read:target.xml:%x,100" % len(text))
        text += part[1:]
    assert text.endswith("</target>") and "org.gnu.gdb.i386.segments" in text


def test_history_is_read_only(stub: Stub, timeline: Timeline) -> None:
    before = ask(stub, b"g"), ask(stub, b"m100000,10")
    for packet in (b"G" + b"0" * 2 * SIZE, b"P0=00", b"M100000,1:00", b"X100000,1:a"):
        assert ask(stub, packet) == "E.a recording cannot be changed"
    assert (ask(stub, b"g"), ask(stub, b"m100000,10")) == before


def test_breakpoints_and_the_ends_of_history(stub: Stub, timeline: Timeline) -> None:
    address = symbol(timeline, "guest_main")
    assert ask(stub, b"?") == "T05thread:1;"
    assert ask(stub, b"bs") == "T05thread:1;replaylog:begin;"
    assert ask(stub, b"Z0,%x,1" % address) == "OK"
    assert ask(stub, b"vCont;c:1") == "T05thread:1;swbreak:;"
    assert timeline.registers().rip == address
    assert ask(stub, b"c") == "T05thread:1;replaylog:end;"
    assert ask(stub, b"bc") == "T05thread:1;swbreak:;"
    assert ask(stub, b"s") == "T05thread:1;" == ask(stub, b"bs")
    assert ask(stub, b"z0,%x,1" % address) == "OK"
    assert ask(stub, b"bc") == "T05thread:1;replaylog:begin;"


def test_a_condition_is_evaluated_here(stub: Stub, timeline: Timeline) -> None:
    """Whether RDI is a number: the second argument to nothing but one call."""
    address = symbol(timeline, "print")
    rdi = next(n for n, row in enumerate(REGISTERS) if row[0] == "rdi")
    assert ask(stub, b"Z1,%x,1" % address) == "OK"
    assert ask(stub, b"c") == "T05thread:1;hwbreak:;"
    value = timeline.registers().rdi
    ask(stub, b"z1,%x,1" % address)
    timeline.to_begin()
    for wanted, answer in ((value, "hwbreak:;"), (value + 1, "replaylog:end;")):
        code = b"\x26" + rdi.to_bytes(2, "big") + b"\x25" + wanted.to_bytes(8, "big") + b"\x13\x27"
        packet = b"Z1,%x,1;X%x,%s" % (address, len(code), code.hex().encode())
        assert ask(stub, packet) == "OK"
        assert ask(stub, b"c") == "T05thread:1;" + answer


def test_watchpoints_tell_what_was_accessed(stub: Stub, timeline: Timeline) -> None:
    """The return address that a call has stored, which nobody reads before the function returns."""
    function = b"0,%x,1" % symbol(timeline, "guest_main")
    assert ask(stub, b"Z" + function) == "OK" and "swbreak" in ask(stub, b"c")
    assert ask(stub, b"z" + function) == "OK"
    stack = timeline.registers().rsp
    (returning,) = struct.unpack("<Q", timeline.read(stack, 8))
    assert ask(stub, b"Z2,%x,8" % stack) == "OK"
    assert ask(stub, b"bc") == f"T05thread:1;watch:{stack:x};"
    assert timeline.registers().rip == returning - 5
    assert ask(stub, b"z2,%x,8" % stack) == "OK" == ask(stub, b"Z3,%x,8" % stack)
    assert ask(stub, b"c") == f"T05thread:1;rwatch:{stack:x};"
    assert timeline.registers().rip == returning
    assert ask(stub, b"z3,%x,8" % stack) == "OK" == ask(stub, b"Z4,%x,8" % stack)
    assert ask(stub, b"bc") == ask(stub, b"bc") == f"T05thread:1;awatch:{stack:x};"


@pytest.mark.parametrize("length", [1, 8, 64])
def test_who_wrote_tells_what_was_there(stub: Stub, timeline: Timeline, length: int) -> None:
    ask(stub, b"Z0,%x,1" % symbol(timeline, "print"))
    ask(stub, b"c")
    stack, after = timeline.registers().rsp, timeline.mark
    new = timeline.read(stack, length)
    told = Commands(timeline).carry_out(f"who-wrote {stack:#x} {length}")
    assert timeline.mark < after
    old = timeline.read(stack, length)
    if length == 64:
        values = [f"{each[:32].hex(' ')} ..." for each in (old, new)]
    else:
        values = [f"{int.from_bytes(each, 'little'):#x}" for each in (old, new)]
    assert told.endswith(f"Old value = {values[0]}\nNew value = {values[1]}\n")
    assert old != new


def test_monitor_commands_are_answered_in_hex(stub: Stub) -> None:
    def monitor(line: str) -> str:
        answer = ask(stub, b"qRcmd," + line.encode().hex().encode())
        return bytes.fromhex(answer).decode()

    assert monitor("when").startswith("exits:0+0.0, before entry 0")
    assert "status 0" in monitor("why-ended") and "Hello" in monitor("console")
    assert monitor("back").startswith("exits:0+0.0") and monitor("forward") > "exits:1"
    assert monitor("checkpoints").startswith("there are none")
    assert monitor("checkpoint").startswith("checkpoint:1 is exits:")
    assert monitor("checkpoints") == "checkpoint:1 is " + monitor("when").split(",")[0] + "\n"
    assert monitor("seek console:1") < "exits:1" < monitor("seek checkpoint:1")
    assert "=> " in monitor("entries")
    assert "no command 'frobnicate'" in monitor("frobnicate")
    assert "no command 'frobnicate'" in monitor("help frobnicate")
    assert monitor("help seek") in monitor("help") and "console:N" in monitor("help seek")
    assert monitor("seek").startswith("error: a word is missing; seek PLACE: go to exits:N,")
    assert monitor("seek begin now").startswith("error: 'now' is one word too many; seek PLACE: ")
    assert "no checkpoint" in monitor("seek checkpoint:2" + 5000 * "0")
    assert monitor("seek nowhere").startswith(
        "error: 'nowhere' is no place"
    ) and "nothing has" in monitor("who-wrote 0x7000")


HOSTILE = [
    b"", b"Z", b"Z9,0,0", b"Z2,0,0", b"Z0,0,1;X5,00", b"Z0,0,1;Xffff,00", b"zz", b"m", b"m,",
    b"m0,ffffffffffffffff", b"mffffffffffffffff,10", b"p", b"pffffffffffffffff", b"qRcmd,zz",
    b"qRcmd,ff", b"qXfer:features:read:target.xml:0", b"vCont;x", b"vCont", b"vCont;", b"b", b"bx",
    b"H", b"\xff\xff", b"qXfer:features:read:target.xml:ffffff,ffffffffffff", b"Z0,0,1;X1,g0",
    b"vCont;r", b"vCont;r1", b"vCont;r1,", b"vCont;r1,g:1", b"vCont;r9,1:1",
]  # fmt: skip


def test_hostile_packets_get_an_answer_each(stub: Stub) -> None:
    for packet in HOSTILE:
        ask(stub, packet)
    chance = random.Random(7)
    stream = bytearray()
    for _ in range(300):
        packet = bytearray(chance.choice([*HOSTILE, b"g", b"m100000,40", b"Z2,200000,8", b"s"]))
        for _ in range(chance.randrange(3)):
            if packet:
                packet[chance.randrange(len(packet))] = chance.randrange(256)
        if packet[:1] not in (b"D", b"k", b"v", b"c", b"C"):
            stream += framed(bytes(packet))
            stream += bytes(chance.randrange(256) for _ in range(chance.randrange(4)))
    for start in range(0, len(stream), 997):
        stub.feed(bytes(stream[start : start + 997]))
    assert not stub.over


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_no_bytecode_does_more_than_fail(code: bytes) -> None:
    from vlockstep.debug.agent import condition

    registers = Registers(dict.fromkeys(NAMES, 7))
    holds = condition([code])(lambda: registers, lambda _address, length: bytes(length))
    assert holds in (True, False)


def test_bytecode_computes() -> None:
    registers = Registers(dict.fromkeys(NAMES, 0) | {"rdi": 5})
    rdi = next(n for n, row in enumerate(REGISTERS) if row[0] == "rdi")
    code = bytes([0x26, 0, rdi, 0x22, 3, 0x04, 0x22, 0xFF, 0x16, 8, 0x02, 0x27])
    assert evaluate(code, registers, lambda *_: b"") == 14


def test_a_log_is_served_as_long_as_gdb_wants(tmp_path: Path, timeline: Timeline) -> None:
    stub = Stub(timeline)
    assert ask(stub, b"D", acknowledged=True) == "OK" and stub.over
    assert stub.feed(framed(b"g")) == b""


@pytest.mark.parametrize("resumed", [b"vCont;s:1", b"s", b"vCont;c", b"bs", b"bc"])
def test_an_interrupt_that_comes_between_two_steps_ends_the_next(
    stub: Stub, timeline: Timeline, resumed: bytes
) -> None:
    """Once, wherever it goes, and however many there were."""
    assert ask(stub, b"Z0,%x,1" % symbol(timeline, "guest_main")) == "OK"
    assert ask(stub, b"vCont;s:1") == "T05thread:1;"
    stepped = timeline.mark
    assert stub.feed(b"\x03") == stub.feed(b"\x03") == b""
    assert len(ask(stub, b"g")) == 2 * SIZE
    assert ask(stub, resumed) == "T02thread:1;" and timeline.mark == stepped
    assert ask(stub, b"s").startswith("T05") and timeline.mark > stepped


def test_steps_lead_through_a_range(stub: Stub, timeline: Timeline) -> None:
    """To the first instruction that is not in it, or to what else stops."""
    main = symbol(timeline, "guest_main")
    behind = min(address for address, _ in timeline.image.symbols if address > main)
    through = b"vCont;r%x,%x:1;c" % (main, behind)
    assert "r" in ask(stub, b"vCont?").split(";")
    ask(stub, b"Z0,%x,1" % main)
    ask(stub, b"c")
    begun = timeline.mark
    assert ask(stub, through) == "T05thread:1;"  # where the breakpoint is one stands
    left = timeline.mark
    timeline.seek(begun)
    passed = []
    while timeline.mark < left:
        passed.append(timeline.registers().rip)
        timeline.step()
    assert timeline.mark == left and not main <= timeline.registers().rip < behind
    assert all(main <= address < behind for address in passed)
    timeline.seek(begun)
    ask(stub, b"Z0,%x,1" % passed[2])
    assert ask(stub, through) == "T05thread:1;swbreak:;"
    assert ask(stub, b"z0,%x,1" % passed[2]) == "OK"
    stub.feed(b"\x03")
    assert ask(stub, through) == "T02thread:1;"
    assert ask(stub, b"vCont;r0,ffffffffffffffff:1") == "T05thread:1;replaylog:end;"
    timeline.seek(begun)
    for empty in (b"vCont;r0,0:1", b"vCont;r%x,%x:1" % (main, main)):
        assert ask(stub, empty) == "T05thread:1;"
    assert timeline.registers().rip == passed[2]


@pytest.mark.parametrize("asked", [b"?", b"qRcmd," + b"when".hex().encode()])
def test_an_interrupt_is_forgotten_where_somebody_looks(
    stub: Stub, timeline: Timeline, asked: bytes
) -> None:
    assert stub.feed(b"\x03") == b""
    ask(stub, asked)
    assert ask(stub, b"s") == "T05thread:1;"


def test_an_interrupt_of_a_run_is_told_once(stub: Stub, timeline: Timeline) -> None:
    """The byte comes behind the packet, of which the timeline hears before."""
    assert ask(stub, b"Z0,1,1") == "OK"
    timeline.interrupt()
    assert ask(stub, b"c") == "T02thread:1;"
    assert stub.feed(b"\x03") == b""
    assert ask(stub, b"s") == "T05thread:1;"


def test_who_kills_gets_no_answer(timeline: Timeline) -> None:
    stub = Stub(timeline)
    assert stub.feed(framed(b"k")) == b"+" and stub.over
    assert ask(Stub(timeline), b"vKill;1", acknowledged=True) == "OK"


INTERRUPTED = {
    b"c": b"T02thread:1;",
    b"vCont;r0,ffffffff:1": b"T02thread:1;",
    b"bc": b"T02thread:1;",
    b"qRcmd," + b"seek end".hex().encode(): b"error: interrupted\n".hex().encode(),
    b"qRcmd," + b"why-ended".hex().encode(): b"error: interrupted\n".hex().encode(),
}


@pytest.mark.parametrize("asked", INTERRUPTED)
def test_an_interrupt_ends_what_takes_long(asked: bytes, tmp_path: Path) -> None:
    """It comes right behind the packet, before that is carried out or while it is. Who else comes
    to the port is refused."""
    told = bytearray()

    def talk(address: tuple[str, int]) -> None:
        with socket.create_connection(address) as peer:
            peer.sendall(framed(b"Z0,1,1") + framed(asked) + b"\x03")
            while told.count(b"#") < 2:
                told.extend(peer.recv(4096))
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            peer.sendall(framed(b"D"))

    path = write_recording(tmp_path / "hello.vlog", "hello")
    with open_recording(path) as timeline, closing(Server(0)) as server:
        if asked == b"bc":
            timeline.to_end()
        before = timeline.mark
        host, _, port = server.address.partition(":")
        with ThreadPoolExecutor(1) as pool:
            talked = pool.submit(talk, (host, int(port)))
            assert server.serve(timeline)
            talked.result()
        assert INTERRUPTED[asked] in Deframer().feed(bytes(told))
        assert timeline.mark == before or not asked.startswith(b"qRcmd")
        timeline.to_end()
        assert "Hello" in timeline.console().decode()


def test_a_socket_that_cannot_be_made_names_the_cause(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="too long"):
        Server(tmp_path / ("x" * 120))


def test_what_only_prints_is_interrupted_from_outside(tmp_path: Path) -> None:
    """gdb says nothing while a command of ours is carried out, but its terminal does."""
    path = write_recording(tmp_path / "hello.vlog", "hello")
    with open_recording(path) as timeline:
        timeline.interrupt()
        with pytest.raises(UsageError, match="interrupted"):
            timeline.line(1)
        assert timeline.line(1) == 0 and timeline.mark == (0, 0, 0)
        stub = Stub(timeline)
        stub.interrupt()  # nothing is carried out
        told = ask(stub, b"qRcmd," + b"seek end".hex().encode(), acknowledged=True)
        assert bytes.fromhex(told).startswith(b"exits:")
