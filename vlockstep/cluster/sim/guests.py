"""The replicas of a simulated host as its agent has them: `keeper.Local`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vlockstep.cluster.records import End, Life, Order, ReplicaReport
from vlockstep.cluster.sim.replica import SimulatedReplica
from vlockstep.errors import HostError

if TYPE_CHECKING:
    from vlockstep.cluster.sim.managed import ManagedCluster


@dataclass
class _Move:
    """What this agent has asked a replica for."""

    mover: int = 0
    moved: str | None = None
    moving: str = ""


class SimulatedGuests:
    """`alive` is whether the agent that has this still lives: else nobody hears what comes of a
    move. What is known of replicas outlives the agent, and the host's power, on its disk."""

    def __init__(self, host: str, world: ManagedCluster, alive: Callable[[], bool]) -> None:
        self._host = host
        self._world = world
        self._alive = alive
        self._replicas = world.disks[host]
        self._moves: dict[str, _Move] = {}
        self._seen: dict[str, ReplicaReport] = {}
        """What a replica said last."""

    def look(self) -> Mapping[str, ReplicaReport]:
        return {guest: self._look(guest, each) for guest, each in self._replicas.items()}

    def _look(self, guest: str, replica: SimulatedReplica) -> ReplicaReport:
        if replica.runs or not replica.alive:
            self._seen[guest] = replica.report()
        report = self._seen.get(guest)
        if report is None or report.attempt != replica.order.attempt:
            report = ReplicaReport(replica.order.attempt, Life.STARTING, pid=replica.number)
        if not replica.alive and not report.problem and not replica.finished:
            report = replace(report, problem="its process has gone")
        move = self._moves.get(guest)
        if move is None:
            return report
        return replace(report, mover=move.mover, moved=move.moved, moving=move.moving)

    def order(self, guest: str) -> Order | None:
        replica = self._replicas.get(guest)
        return None if replica is None else replica.order

    def start(self, order: Order) -> None:
        if not self._world.reaches_datastore(self._host, order.datastore):
            raise HostError(f"the guest's folder {order.folder} is not there")
        self._moves.pop(order.guest, None)
        self._replicas[order.guest] = self._world.start_replica(self._host, order)

    def end(self, guest: str, how: End, reason: str) -> None:
        self._world.witness.ends(self._replicas[guest], how, reason)
        self._replicas[guest].end(how, reason)

    def move(self, guest: str, endpoint: str, mover: int) -> None:
        move = self._moves[guest] = _Move(mover, None, "begins")

        def tell(moved: str | None, moving: str) -> None:
            if self._alive():
                if moved == "" and self._world.answer_lost():
                    moved = "the replica has gone before it answered"
                move.moved, move.moving = moved, moving

        self._replicas[guest].move(endpoint, tell)

    def swap(self, guest: str, mover: int) -> None:
        move = self._moves[guest] = _Move(mover, None, "begins")

        def tell(moved: str | None, moving: str) -> None:
            if self._alive():
                move.moved, move.moving = moved, moving

        self._replicas[guest].swap(tell)

    def call_off(self, guest: str) -> None:
        self._replicas[guest].call_off()

    def hold(self, guest: str, hold: bool) -> None:
        self._replicas[guest].hold = hold
