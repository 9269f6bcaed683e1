"""Trunks close no loop, in whatever order their switches ask, and all but one of a loop stand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.net.portmessages import (
    MAX_DEPTH,
    PROTOCOL,
    Probe,
    TrunkHello,
    Verdict,
    decode,
    encode,
)
from vlockstep.switch.tree import Down, State, Tree, Up


class Network:
    """Switches, each with the number of its parent or none, and what is on its way between them,
    in order. What a switch does with a verdict about a child is as `Ports` does it."""

    def __init__(self, *parents: int | None) -> None:
        self.parents = parents
        self.trees = [Tree(f"{number:02}", f"s{number}") for number in range(len(parents))]
        self.up: dict[int, deque[bytes]] = {}
        """From a switch to its parent, as long as there is a connection."""
        self.down: dict[int, deque[bytes]] = {}
        self.asked: dict[int, int] = {}
        """The attempt that the parent of a switch knows of."""

    def connect(self, switch: int) -> None:
        self.lose(switch)
        if self.parents[switch] is not None:
            self.up[switch], self.down[switch] = deque(), deque()
            self._say(self.up[switch], self.trees[switch].ask())

    def lose(self, switch: int) -> None:
        self.up.pop(switch, None)
        self.down.pop(switch, None)
        self.asked.pop(switch, None)
        self.trees[switch].lost()

    def repeat(self, switch: int) -> None:
        """A second has passed."""
        state = self.trees[switch].state
        if switch in self.up and state in (State.ASKING, State.REFUSED):
            again = state is State.ASKING
            tree = self.trees[switch]
            self._say(self.up[switch], tree.hello() if again else tree.ask())

    def deliver_up(self, switch: int) -> None:
        """What a switch has said first, to its parent."""
        parent = self.parents[switch]
        if parent is None or not self.up.get(switch):
            return
        message = decode(self.up[switch].popleft())
        tree = self.trees[parent]
        if isinstance(message, TrunkHello):
            self.asked[switch] = message.attempt
            self._pass(parent, tree.asked(message))
        else:
            assert isinstance(message, Probe)
            self._pass(parent, tree.probed(f"{switch:02}", message))

    def deliver_down(self, switch: int) -> None:
        """What its parent has said first, to a switch."""
        if self.down.get(switch):
            message = decode(self.down[switch].popleft())
            assert isinstance(message, Verdict)
            self._pass(switch, self.trees[switch].judged(message))

    def settle(self) -> None:
        """Deliver all, and let those ask again who have no answer, until nothing changes."""
        before: list[State] = []
        while before != (states := [tree.state for tree in self.trees]):
            before = states
            for switch, tree in enumerate(self.trees):
                if tree.state is State.ASKING:
                    self.repeat(switch)
            while any(self.up.values()) or any(self.down.values()):
                for switch in range(len(self.trees)):
                    self.deliver_up(switch)
                    self.deliver_down(switch)

    def check(self) -> None:
        """There is no loop of trunks that carry frames."""
        for start in range(len(self.trees)):
            passed: set[int] = set()
            switch: int | None = start
            while switch is not None and self.trees[switch].state is State.CHILD:
                assert switch not in passed, [tree.state for tree in self.trees]
                passed.add(switch)
                switch = self.parents[switch]

    def loops(self) -> Iterator[set[int]]:
        """Those that there would be."""
        found = set()
        for start in range(len(self.parents)):
            way = [start]
            while (parent := self.parents[way[-1]]) is not None and parent not in way:
                way.append(parent)
            if parent is not None:
                found.add(frozenset(way[way.index(parent) :]))
        yield from map(set, found)

    def states(self) -> list[State]:
        return [tree.state for tree in self.trees]

    def _pass(self, switch: int, step: Up | Down | None) -> None:
        if isinstance(step, Up):
            if switch in self.up:
                self._say(self.up[switch], step.message)
        elif isinstance(step, Down):
            *before, last = step.message.path
            child = int(last)
            fits = before or self.asked.get(child) == step.message.attempt
            if self.parents[child] == switch and child in self.down and fits:
                self._say(self.down[child], step.message)

    def _say(self, where: deque[bytes], message: TrunkHello | Probe | Verdict) -> None:
        where.append(encode(message))


def settled(*parents: int | None) -> Network:
    """All have connected at the same moment."""
    network = Network(*parents)
    for switch in range(len(parents)):
        network.connect(switch)
    network.settle()
    network.check()
    return network


ROOT, CHILD, REFUSED = State.ROOT, State.CHILD, State.REFUSED


@pytest.mark.parametrize(
    ("parents", "states"),
    [
        ([None], [ROOT]),
        ([None, 0], [ROOT, CHILD]),
        ([None, 0, 0, 1, 1], [ROOT, CHILD, CHILD, CHILD, CHILD]),
        ([0], [REFUSED]),
        ([1, 0], [CHILD, REFUSED]),
        ([1, 2, 0], [CHILD, CHILD, REFUSED]),
        ([2, 0, 1], [CHILD, CHILD, REFUSED]),
        ([1, 2, 0, 0, 3], [CHILD, CHILD, REFUSED, CHILD, CHILD]),
        ([1, 0, 3, 2], [CHILD, REFUSED, CHILD, REFUSED]),
    ],
)
def test_all_at_once(parents: list[int | None], states: list[State]) -> None:
    assert settled(*parents).states() == states


def test_who_comes_last_is_refused() -> None:
    for last in range(3):
        network = Network(1, 2, 0)
        for switch in {0, 1, 2} - {last}:
            network.connect(switch)
        network.settle()
        network.connect(last)
        network.settle()
        assert [n for n, state in enumerate(network.states()) if state is REFUSED] == [last]
        names = [f"s{(last + step) % 3}" for step in range(4)]
        reason = f"it would close a loop of switches, from {' to '.join(names)}"
        assert network.trees[last].reason == reason


def test_a_refused_trunk_stands_when_another_one_is_lost() -> None:
    network = settled(1, 2, 0)
    network.lose(0)
    network.repeat(2)
    network.settle()
    assert network.states() == [ROOT, CHILD, CHILD]
    network.connect(0)
    network.settle()
    assert network.states() == [REFUSED, CHILD, CHILD]


def test_too_many_in_a_row() -> None:
    parents = [None, *range(MAX_DEPTH)]
    network = Network(*parents)
    for switch in range(MAX_DEPTH + 1):
        network.connect(switch)
        network.settle()
    assert network.states() == [ROOT, *[CHILD] * (MAX_DEPTH - 1), REFUSED]
    assert network.trees[-1].reason == f"there would be more than {MAX_DEPTH} switches in a row"


def test_answers_to_something_else() -> None:
    tree = Tree("a", "a")
    first, second = tree.ask(), tree.ask()
    for verdict in (
        Verdict(first.attempt, {"a": "a"}, ""),
        Verdict(second.attempt, {"b": "a"}, ""),
        Verdict(second.attempt, {}, ""),
    ):
        assert tree.judged(verdict) is None
        assert tree.state is State.ASKING
    for attempt, path in (
        (first.attempt, {"a": "a", "b": "b"}),
        (second.attempt, {"c": "c", "a": "a", "b": "b"}),
    ):
        assert tree.probed("b", Probe(attempt, path, "a")) is None
        assert tree.state is State.ASKING
    tree.judged(Verdict(second.attempt, {"a": "a"}, ""))
    assert tree.state is CHILD
    tree.refused("too late")
    assert tree.state is CHILD


def test_a_probe_that_comes_from_nobody_in_it() -> None:
    tree = Tree("a", "a")
    assert tree.probed("b", Probe(1, {}, "")) is None
    assert tree.probed("b", Probe(1, {"b": "b", "c": "c"}, "")) is None
    assert tree.asked(TrunkHello(PROTOCOL, "b", "b", 1)) == Down(Verdict(1, {"b": "b"}, ""))


@st.composite
def networks(draw: st.DrawFn) -> Network:
    count = draw(st.integers(1, 6))
    anyone = st.none() | st.integers(0, count - 1)
    rings = st.permutations(range(count))
    return Network(*draw(rings | st.lists(anyone, min_size=count, max_size=count)))


STEPS = (
    Network.deliver_up,
    Network.deliver_down,
    Network.deliver_up,
    Network.deliver_down,
    Network.repeat,
    Network.connect,
    Network.lose,
)


@given(networks(), st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), max_size=80))
def test_in_any_order(network: Network, steps: list[tuple[object, int]]) -> None:
    size = len(network.trees)
    for switch in range(size):
        network.connect(switch)
    for step, switch in steps:
        assert callable(step)
        step(network, switch % size)
        network.check()
    for switch, parent in enumerate(network.parents):
        if parent is not None and switch not in network.up:
            network.connect(switch)
    network.settle()
    for switch in range(size):
        network.repeat(switch)
    network.settle()
    network.check()
    refused = {n for n, state in enumerate(network.states()) if state is REFUSED}
    loops = list(network.loops())
    assert all(len(loop & refused) == 1 for loop in loops)
    assert len(refused) == len(loops)
    rest = set(range(size)) - refused
    assert all(network.trees[n].state is CHILD for n in rest if network.parents[n] is not None)
