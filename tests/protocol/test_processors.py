"""Replicas whose guests run on processors themselves have like ones, whoever rules."""

from __future__ import annotations

from dataclasses import replace

import pytest
from protocol.roles import START, TIMING, hello, sent, waiting

from vlockstep.machine.basis import Basis, alike, processor_of, running_on, undecided
from vlockstep.protocol.messages import Hello, Refuse, Welcome
from vlockstep.protocol.primary import Primary

OURS, STEP, OTHER = "V family 6 model 1", "V family 6 model 2", "V family 7 model 1"
HOST: Basis = {"unicorn": "2"}


def says(processor: str, *, candidate: bool = False) -> Hello:
    basis = running_on(HOST, processor)
    return replace(hello(), basis=dict(undecided(basis) if candidate else basis))


def primary(processor: str = "", secondaries: int = 2) -> Primary:
    basis = running_on(HOST, processor)
    return Primary("a", TIMING, 0, "image", {}, START, secondaries=secondaries, basis=basis)


def test_models_of_a_family_are_alike() -> None:
    assert alike(OURS, STEP) and not alike(OURS, OTHER)
    assert processor_of(HOST, undecided(running_on(HOST, OURS))) == OURS


@pytest.mark.parametrize("candidate", [False, True])
def test_secondaries_have_like_ones_under_a_primary_that_emulates(candidate: bool) -> None:
    one = primary()
    assert sent(one.received(START, "b", says(OURS, candidate=candidate)), Welcome)
    [refused] = sent(one.received(START, "c", says(OTHER)), Refuse)
    assert refused.reason == (
        f"another secondary runs the guest on a processor {OURS}, this one on {OTHER}: take hosts "
        "with like processors, or the engine unicorn on one of them"
    )
    assert sent(one.received(START, "d", says(STEP)), Welcome)


def test_who_may_have_either_is_told_what_others_have() -> None:
    one = primary()
    [alone] = sent(one.received(START, "b", says(OURS, candidate=True)), Welcome)
    assert alone.config == {}
    [welcome] = sent(one.received(START, "c", says(OTHER, candidate=True)), Welcome)
    assert welcome.config == {"processor": OURS}
    [welcome] = sent(primary(STEP).received(START, "b", says(OURS, candidate=True)), Welcome)
    assert welcome.config == {"processor": STEP}


def test_who_has_left_it_to_others_counts_no_more() -> None:
    """What it says last counts."""
    one = primary(secondaries=3)
    one.received(START, "b", says(OURS, candidate=True))
    one.received(START, "b", says(""))
    assert sent(one.received(START, "c", says(OTHER)), Welcome)


def test_a_primary_without_any_tells_of_none() -> None:
    [welcome] = sent(waiting().received(START, "b", hello()), Welcome)
    assert welcome.config == {}
