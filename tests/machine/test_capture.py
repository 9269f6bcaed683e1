"""A machine's state is a value: whoever restores it, in whatever process, goes on as the original.

Every guest is left at random places and followed from there in another process, beside the
original: equal registers and RAM at random later positions, equal entries with equal checkpoints,
and an equal end.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from functools import cache

import msgpack
import pytest
from continuation import Guest, Left, difference, filled, go_on, go_on_all, leave, rest_of
from elsewhere import Elsewhere
from fuzz import guest as hostile
from fuzz.bounded import bound
from small_guests import KERNELS, kernel, noise, program
from support import (
    MIB,
    Console,
    MemoryDisk,
    config_for,
    disk_config,
    halt,
    machine_of,
    make_image,
    net_config,
    record,
    sample,
)

from guests import lan
from vlockstep.errors import StateError, UsageError
from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import BOOT, Position
from vlockstep.machine.report import GuestError
from vlockstep.machine.state import CONTEXT_SIZE, MachineState, Where
from vlockstep.machine.world import Stop
from vlockstep.replay.entry import Entry
from vlockstep.replay.recorder import Recorder

LOOKS = 20
PER_GUEST = 20
MANY = 16
_BLOCKS = (1, 40, 3000)
_ARGUMENTS = {
    "sort": ("--n=1500", "--rounds=2"),
    "preempt": ("--work=4000", "--tsc=1"),
    "abi": ("--timer=1",),
}
NOISES = 8


def _bundled(name: str, count_blocks: bool) -> Guest:
    image = sample(name)
    blocks = disk_config(4096) if name == "abi" else {}
    config = config_for(image, *_ARGUMENTS[name], blocks=blocks, memory=16 * MIB)
    world = SimulatedWorld(3, Console(), {1: MemoryDisk(4096)})
    return Guest(image, config, record(image, config, world).entries, count_blocks)


def _kv(count_blocks: bool) -> Guest:
    """While a client stores, counts and reads. Its log ends before it does."""
    image = sample("kv")
    arguments = (f"--ipv4={lan.GUEST}/24", "--ipv4-gateway=10.0.0.1")
    config = config_for(image, *arguments, memory=32 * MIB, nets=net_config("net"))
    entries: list[Entry] = []
    with machine_of(image, config) as machine, suppress(lan.ScriptEnd):
        machine.run(Recorder(lan.Lan(_client()), machine, entries.append))
    return Guest(image, config, entries, count_blocks)


def _client() -> lan.Script:
    client = lan.Client(6379)
    yield from client.open()
    for number in range(40):
        lines = (
            f"SET key{number % 7} {'value' * number}",
            f"INCR count{number % 3}",
            f"GET key{number % 5}",
        )
        request = "".join(f"{line}\r\n" for line in lines).encode()
        frames = yield [client.segment(lan.ACK | lan.PSH, request)]
        assert client.receive(frames).count(b"\r\n") >= 3


def _small(image: Image) -> Guest:
    """Interrupted every few blocks."""
    config = config_for(image, memory=hostile.MEMORY)
    recording = record(image, config, hostile.NoisyWorld(5))
    assert recording.outcome.status == 0
    return Guest(image, config, recording.entries)


def _random(seed: int) -> Guest:
    image = noise(seed)
    config = hostile.config_of(image, "westmere")
    entries: list[Entry] = []
    with machine_of(image, config, count_blocks=True) as machine:
        bound(machine)
        with suppress(GuestError):
            if isinstance(machine.run(_recorder(machine, seed, entries)), Stop):
                entries.append(hostile.NOTHING)
    return Guest(image, config, entries, endless=True)


def _recorder(machine: Machine, seed: int, entries: list[Entry]) -> Recorder:
    return Recorder(hostile.NoisyWorld(seed), machine, entries.append)


GUESTS: dict[str, Callable[[], Guest]] = {
    **{
        f"{name}, {'blocks' if count else 'exits'}": lambda name=name, count=count: (
            _kv(count) if name == "kv" else _bundled(name, count)
        )
        for name in ("sort", "preempt", "abi", "kv")
        for count in (False, True)
    },
    **{name: lambda name=name: _small(kernel(name)) for name in KERNELS},
    "ring 3": lambda: _small(program()),
    **{f"noise {seed}": lambda seed=seed: _random(seed) for seed in range(NOISES)},
}


@cache
def guest_of(name: str) -> Guest:
    return GUESTS[name]()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    with closing(Elsewhere()) as other:
        yield other


def follow_elsewhere(elsewhere: Elsewhere, guest: Guest, seed: int, count: int) -> Counter[Where]:
    """Leave it at `count` random places; of which kinds they were."""
    chosen = random.Random(seed)
    last = max((entry[1] for entry in guest.entries if entry[1] < 1 << 60), default=0)

    def positions(number: int, blocks: bool) -> list[Position]:
        return [
            Position(chosen.randint(0, last), chosen.randrange(chosen.choice(_BLOCKS)))
            if blocks and guest.count_blocks
            else Position(chosen.randint(0, last))
            for _ in range(number)
        ]

    looks = positions(LOOKS, blocks=True)
    within = [chosen.randint(0, last) for _ in range(count // 3)]
    at = positions(count // 3, blocks=False) + positions(count - 2 * (count // 3), blocks=True)
    course, places, refused = leave(guest, within, at, looks)
    for place, found in zip(places, elsewhere.call(go_on_all, guest, places, looks), strict=True):
        where = MachineState.unpack(place.state).where
        wrong = difference(rest_of(course, place), found)
        left_at = f"{place.position} ({where.name}), entry {place.sequence}"
        assert not wrong, f"seed {seed}, {count} places, left at {left_at}: {wrong}"
    assert len(places) + len(refused) <= count
    return Counter(MachineState.unpack(place.state).where for place in places)


@pytest.mark.parametrize("name", GUESTS)
def test_who_goes_on_elsewhere_sees_the_same(
    name: str, elsewhere: Elsewhere, any_seed: int
) -> None:
    guest = guest_of(name)
    for seed in (1, any_seed):
        found = follow_elsewhere(elsewhere, guest, seed, PER_GUEST // 2)
        assert found.total() > 0


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", GUESTS)
def test_at_many_places(name: str, elsewhere: Elsewhere, any_seed: int) -> None:
    found = follow_elsewhere(elsewhere, guest_of(name), any_seed, MANY)
    assert found.total() >= MANY // 5, "hardly a place can be left"


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_many_random_guests(elsewhere: Elsewhere, any_seed: int) -> None:
    total, chosen = 0, random.Random(any_seed)
    for _ in range(16):
        seed = chosen.getrandbits(32)
        total += follow_elsewhere(elsewhere, _random(seed), seed, PER_GUEST).total()
    assert total >= 160


@pytest.mark.parametrize("name", ["kv, exits", "preempt, blocks", "abi, exits", "msrs", "ring 3"])
def test_who_is_filled_piece_by_piece_goes_on_the_same(name: str) -> None:
    guest = guest_of(name)
    looks = [Position(3), Position(6, 40), Position(9)]
    if not guest.count_blocks:
        looks = [Position(exits) for exits, _ in looks]
    course, places, _ = leave(guest, [1, 4], [BOOT, Position(2), Position(5)], looks)
    assert len(places) > 1
    for place in places:
        wrong = difference(rest_of(course, place), go_on(guest, place, looks, filled))
        assert not wrong, f"left at {place.position}: {wrong}"


def test_equal_executions_have_equal_states(elsewhere: Elsewhere) -> None:
    """To the byte, in processes whose addresses differ."""
    guest = guest_of("preempt, blocks")
    places = [Position(1, 7), Position(3), Position(5, 300)]
    states = [place.state for place in leave(guest, [4], places, [])[1]]
    again = elsewhere.call(leave, guest, [4], places, [])[1]
    assert states == [place.state for place in again] and len(set(states)) == 4


def again(guest: Guest, state: MachineState) -> MachineState:
    """The state of a machine that was restored from it: flags that the CPU computes lazily have
    been computed."""
    with closing(
        Machine.restore(guest.image, guest.config, state, count_blocks=guest.count_blocks)
    ) as machine:
        assert machine.position == state.position
        return machine.capture()


def test_a_stop_and_a_look_have_the_same_state() -> None:
    guest = guest_of("preempt, blocks")
    chosen = random.Random(4)
    positions = [Position(1, 5), Position(3), Position(4, 20), Position(9)]
    positions += [Position(5, chosen.randrange(3000)) for _ in range(20)]
    seen = {place.position: place.state for place in leave(guest, [], positions, [])[1]}
    world = SimulatedWorld(3, Console())
    with machine_of(guest.image, guest.config, count_blocks=True) as machine:
        for position in positions:
            machine.break_at(position, machine.stop, exact=False)
        while isinstance(stop := machine.run(world), Stop):
            looked = MachineState.unpack(seen.pop(stop.position))
            assert again(guest, machine.capture()) == again(guest, looked)
    assert not seen


def test_a_machine_that_was_restored_can_be_left_again() -> None:
    for name in ("preempt, blocks", "abi, exits", "x87"):
        guest = guest_of(name)
        for place in leave(guest, [2, 5], [BOOT, Position(3)], [])[1]:
            state = again(guest, MachineState.unpack(place.state))
            assert again(guest, state) == state


def test_a_state_without_memory() -> None:
    image = sample("hello")
    config = config_for(image)
    with machine_of(image, config) as machine:
        state = machine.capture(memory=False)
        assert state == replace(machine.capture(), memory=())
        assert MachineState.unpack(state.pack()) == state and len(state.pack()) < 10_000
    with pytest.raises(StateError, match="without memory"):
        Machine.restore(image, config, state)
    with machine_of(image, config_for(image, "other")) as machine:
        with pytest.raises(StateError, match="another guest than hello"):
            machine.load(state)
        assert machine.run(SimulatedWorld(1, Console())).status == 0


def test_a_guest_that_has_ended_has_no_state() -> None:
    with machine_of(make_image(halt())) as machine:
        machine.run(SimulatedWorld(1, Console()))
        with pytest.raises(StateError, match="at its end"):
            machine.capture()


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("b803000000 0f23f8", "DR7"),  # mov eax, 3; mov dr7, rax
        ("b9800000c0 0f32 80e4f7 0f30", "NXE"),  # mov ecx, EFER; rdmsr; and ah, ~8; wrmsr
    ],
)
def test_a_guest_that_uses_what_no_state_holds_is_refused(code: str, what: str) -> None:
    image = make_image(bytes.fromhex(code) + b"\xeb\x00" + halt())
    refused = []

    def take() -> None:
        try:
            machine.capture()
        except StateError as error:
            refused.append(str(error))

    with machine_of(image, count_blocks=True) as machine:
        for blocks in (0, 1):
            machine.break_at(Position(0, blocks), take)
        machine.run(SimulatedWorld(1, Console()))
    assert len(refused) == 1 and what in refused[0]


@pytest.fixture(scope="module")
def left() -> Left:
    return leave(guest_of("preempt, blocks"), [], [Position(2)], [])[1][0]


def restored(state: MachineState, config: GuestConfig | None = None) -> None:
    guest = guest_of("preempt, blocks")
    Machine.restore(guest.image, config or guest.config, state).close()


def test_the_state_of_another_guest_is_refused(left: Left) -> None:
    state = MachineState.unpack(left.state)
    restored(state)
    guest = guest_of("preempt, blocks")
    for other in (
        config_for(guest.image, "--work=5000", memory=16 * MIB),
        config_for(guest.image, *guest.config.arguments, memory=8 * MIB),
        config_for(guest.image, *guest.config.arguments, memory=16 * MIB, cpu="nehalem"),
    ):
        with pytest.raises(StateError, match=r"another guest than preempt"):
            restored(state, other)


def test_what_is_no_state_is_refused(left: Left) -> None:
    fields = list(msgpack.unpackb(left.state, use_list=False))
    memory = fields[-1]
    wrong: dict[int, list[object]] = {
        0: [2, "1", None],
        1: ["2.0.0", b"2.1.4", 7],
        2: ["text", 3],
        3: [4, -1, True, "0"],
        4: [(1,), (1, -1), (1, 1 << 64), 5, ("1", 2), (True, 2)],
        5: [0, None],
        6: [(1, 256), (1, -1), (1,)],
        7: [-1, "x"],
        8: [None, -1, 1.5],
        9: [b"", bytes(CONTEXT_SIZE + 1), "x" * CONTEXT_SIZE],
        10: [None, 1 << 64],
        11: [-1],
        12: [(), fields[12][:-1], "x"],
        13: [
            None,
            ((0, b""),),
            ((0, bytes(1 << 17)),),
            (*memory, memory[0]),
            ((-1, b"x"),),
            ((0,),),
        ],
    }
    for index, values in wrong.items():
        for value in values:
            data = msgpack.packb([*fields[:index], value, *fields[index + 1 :]], default=str)
            with pytest.raises(StateError, match=r"version|Unicorn|malformed"):
                MachineState.unpack(data)
    for data in (
        b"",
        b"\xc1",
        b"\x01",
        left.state[:-1],
        left.state + b"\0",
        msgpack.packb(fields[:5]),
    ):
        with pytest.raises(StateError):
            MachineState.unpack(data)
    with pytest.raises(StateError, match="more memory"):
        far = (*fields[:-1], (*memory, (1 << 40, b"x")))
        restored(MachineState.unpack(msgpack.packb(far)))


def test_only_what_was_touched_is_kept() -> None:
    image = sample("hello")
    config = config_for(image, memory=512 * MIB)
    with machine_of(image, config) as machine:
        machine.memory.write(300 * MIB, b"x")
        state = machine.capture()
    assert len(state.pack()) < MIB
    assert state.memory[-1][0] == 300 * MIB and state.where is Where.BOUNDARY
    machine = Machine.restore(image, config, state)
    assert machine.memory.digest() and machine.memory.peek(300 * MIB, 2) == b"x\0"
    assert sum(end - start for start, end in machine.memory.extents()) < MIB
    machine.close()


def test_going_on_here_is_the_same(left: Left) -> None:
    guest = guest_of("preempt, blocks")
    course, places, _ = leave(guest, [], [Position(2)], [Position(4, 9)])
    assert not difference(rest_of(course, places[0]), go_on(guest, left, [Position(4, 9)]))


def test_an_exit_comes_before_the_boundary_that_its_position_names() -> None:
    """There is none: who asked for it is told behind the exit, by whoever executes it."""
    image = make_image(b"\x0f\x31\xeb\x00" + halt())  # rdtsc, in the first block
    config = config_for(image)
    guest = Guest(image, config, record(image, config, SimulatedWorld(1, Console())).entries)
    course, (place,), _ = leave(guest, [0], [], looks := [Position(0, 1)])
    state = MachineState.unpack(place.state)
    assert (state.where, place.position) == (Where.EXIT, Position(0, 1))
    assert list(course.seen) == list(go_on(guest, place, looks).seen) == [Position(1)]
    with closing(Machine.restore(image, config, state, count_blocks=True)) as machine:
        machine.break_at(Position(0, 1), lambda: None)
        with pytest.raises(UsageError, match=r"exits:0\+1 does not exist: .* to exits:1"):
            machine.run(SimulatedWorld(1, Console()))
