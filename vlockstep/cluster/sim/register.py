"""The records of guests on simulated datastores, where arbiters keep them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from vlockstep.arbiter.rule import ArbiterError, Record
from vlockstep.cluster.sim.clock import Call
from vlockstep.cluster.sim.datastore import SimulatedDatastore

_T = TypeVar("_T")


@dataclass
class Records:
    """Of one guest."""

    records: dict[int, Record] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    tokens: dict[str, int] = field(default_factory=dict)


class SimulatedRegister:
    """A guest's `records` as seen from a host, a `Register`. `pause` is called before an operation
    happens, and before its answer arrives: there is none if the datastore is away by then."""

    def __init__(
        self, records: Records, datastore: SimulatedDatastore, host: str, pause: Call
    ) -> None:
        self._records = records
        self._datastore = datastore
        self._host = host
        self._pause = pause

    def newest(self) -> Record | None:
        self._reach()
        records = self._records.records
        return self._answer(records[max(records)] if records else None)

    def read(self, generation: int) -> Record | None:
        self._reach()
        return self._answer(self._records.records.get(generation))

    def create(self, record: Record) -> bool:
        self._reach()
        free = record.generation not in self._records.records
        if free:
            self._records.records[record.generation] = record
            self._records.tokens[record.token] = 0
        return self._answer(free)

    def ended(self, generation: int) -> bool:
        self._reach()
        return self._answer(generation in self._records.ended)

    def end(self, generation: int) -> None:
        self._reach()
        self._records.ended.add(generation)
        self._answer(None)

    def token(self, record: Record) -> int | None:
        self._reach()
        return self._answer(self._records.tokens.get(record.token))

    def move_token(self, record: Record, before: int, after: int) -> bool:
        self._reach()
        moves = self._records.tokens.get(record.token) == before
        if moves:
            self._records.tokens[record.token] = after
        return self._answer(moves)

    def _reach(self) -> None:
        self._pause()
        self._expect_there()

    def _answer(self, value: _T) -> _T:
        self._pause()
        self._expect_there()
        return value

    def _expect_there(self) -> None:
        if self._host in self._datastore.away:
            raise ArbiterError(f"{self._host} does not reach {self._datastore.name}")
