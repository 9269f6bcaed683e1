"""What one processor has executed from boot on is compared with all that it leaves; what engines or
unlike processors have had a part in, but for what they do not have alike."""

from __future__ import annotations

from contextlib import closing
from functools import cache
from itertools import combinations

import pytest
from kvm_guests import ENGINES, prepared, simulated
from support import Console, needs_kvm, sample

from vlockstep.machine.kvm import device
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.registers import NAMES, Registers, agree
from vlockstep.machine.state import MachineState
from vlockstep.machine.world import Outcome
from vlockstep.replay.entry import Checkpoint, Entry
from vlockstep.replay.recorder import Recorder
from vlockstep.replay.replayer import Divergence, Replayer, Sequence

IMAGE = sample("hello")
CONFIG = prepared(IMAGE)
FLAG = 1 << 5
"""In MXCSR: that a result was not exact, which stays set."""


@cache
def recorded() -> tuple[list[Entry], bytes]:
    """By KVM, and the guest's state behind its first exit."""
    entries: list[Entry] = []
    states: list[bytes] = []
    with closing(Machine(IMAGE, CONFIG, engine="kvm")) as machine:
        machine.break_at(Position(1), lambda: states.append(machine.capture().pack()))
        end = machine.run(Recorder(simulated(IMAGE, Console()), machine, entries.append))
    assert isinstance(end, Outcome) and end.registers.kin == device.processor()
    return entries, states[0]


def replay(machine: Machine, entries: list[Entry], flip: int) -> Outcome:
    def change() -> None:
        machine.engine["mxcsr"] ^= flip

    machine.break_at(Position(1), change)
    end = machine.run(Replayer(Sequence(iter(entries)), machine))
    assert isinstance(end, Outcome)
    return end


@needs_kvm
def test_a_bit_that_engines_do_not_have_alike_counts_on_equal_processors() -> None:
    entries, _ = recorded()
    with closing(Machine(IMAGE, CONFIG, engine="kvm")) as machine:
        assert replay(machine, entries, 0).registers.kin
    other = Machine(IMAGE, CONFIG, engine="kvm")
    with closing(other), pytest.raises(Divergence, match="registers"):
        replay(other, entries, FLAG)
    with closing(Machine(IMAGE, CONFIG, engine="unicorn")) as machine:
        assert replay(machine, entries, FLAG).registers.kin == ""


@needs_kvm
def test_processors_are_unlike_that_differ_in_their_stepping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries, _ = recorded()
    monkeypatch.setattr("vlockstep.machine.kvm.engine.processor", lambda: "another")
    with closing(Machine(IMAGE, CONFIG, engine="kvm")) as machine:
        assert replay(machine, entries, FLAG).registers.kin == "another"


@needs_kvm
@pytest.mark.parametrize("between", ENGINES)
def test_a_state_keeps_it_until_another_engine_has_a_part_in_it(between: str) -> None:
    state = MachineState.unpack(recorded()[1])
    with closing(Machine.restore(IMAGE, CONFIG, state, engine=between)) as machine:
        there = MachineState.unpack(machine.capture().pack())
    with closing(Machine.restore(IMAGE, CONFIG, there, engine="kvm")) as machine:
        assert machine.registers().kin == (device.processor() if between == "kvm" else "")


def test_what_is_compared_is_told_by_digests_and_checkpoints_alike() -> None:
    plain = dict.fromkeys(NAMES, 0)
    values = [plain, {**plain, "mxcsr": FLAG}, {**plain, "fip": 1}, {**plain, "rax": 1}]
    found = [Registers(each, kin) for each in values for kin in ("", "one", "two")]
    for ours, theirs in combinations(found, 2):
        equal = ours == theirs
        assert agree(ours.digest(), theirs.digest()) == equal == (not ours.difference(theirs))
        assert Checkpoint.unpack(Checkpoint(ours).pack(), ours).registers == ours
        assert hash(ours) == hash(theirs) or not equal
        masked = ours["rax"] == theirs["rax"]
        exact = ours.kin == theirs.kin != ""
        assert equal == (masked and (not exact or ours["mxcsr"] == theirs["mxcsr"]))
