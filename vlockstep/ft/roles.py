"""The roles of a replica, each made from what it is and, if it had one, the role before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlockstep.arbiter.rule import Record
from vlockstep.errors import LogError
from vlockstep.ft.resumelog import History
from vlockstep.ft.runtime import Runtime, Setting
from vlockstep.machine.config import GuestConfig
from vlockstep.protocol.actions import Follow, GoLive
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.tenure import Tenure

Role = Primary | Secondary
_PRINTED = "printed"


class Roles:
    """Makes those of the replica `instance`."""

    def __init__(self, setting: Setting, host: Runtime, instance: str) -> None:
        self._setting = setting
        self._host = host
        self._instance = instance
        self.hold = setting.hold
        """That of a primary."""
        self.basis = setting.first_basis

    def waiting(
        self, config: GuestConfig, generation: int, secondaries: int, printed: int
    ) -> Primary:
        """A primary whose guest has not begun, where so much is `printed` already."""
        primary = Primary(
            self._instance,
            self._setting.timing,
            generation,
            self._setting.image.digest,
            self.offer(config) | {_PRINTED: printed},
            self._host.now(),
            guest=self._setting.guest,
            secondaries=secondaries,
            endpoint=self._host.endpoint,
            basis=self.basis,
            kept=None if self._setting.resume is None else 0,
        )
        primary.hold = self.hold
        return primary

    def alone(self, config: GuestConfig, record: Record) -> Primary:
        """A primary that nobody follows, the owner of `record`, of a guest that runs: as if a
        secondary had gone live that has received nothing."""
        secondary = self.joining(awaits=False)
        secondary.tenure = Tenure(record, self._host.now())
        return self.live(GoLive(record.generation, frozenset()), secondary, config)

    def joining(self, awaits: bool) -> Secondary:
        """A secondary that looks for its primary, or `awaits` one."""
        return Secondary(
            self._instance,
            self._setting.timing,
            self._setting.image.digest,
            self._host.now(),
            guest=self._setting.guest,
            endpoint=self._host.endpoint,
            basis=self.basis,
            awaits=awaits,
        )

    def resuming(self, generation: int, history: History) -> Secondary:
        """Who resumes a guest after `generation`."""
        return Secondary.resuming(
            self._instance,
            self._setting.timing,
            self._setting.image.digest,
            self._host.now(),
            guest=self._setting.guest,
            endpoint=self._host.endpoint,
            basis=self.basis,
            generation=generation,
            next=history.next,
            released=history.released,
            outputs=history.outputs,
            ended=history.ended,
        )

    def live(
        self,
        action: GoLive,
        secondary: Secondary,
        config: GuestConfig,
        kept: int | None = None,
    ) -> Primary:
        """What becomes of a secondary that has gone live, and has `kept` so many entries."""
        primary = Primary.live(
            self._instance,
            self._setting.timing,
            action.generation,
            self._setting.image.digest,
            self.offer(config),
            self._host.now(),
            guest=self._setting.guest,
            endpoint=self._host.endpoint,
            basis=self.basis,
            members={member: secondary.members.get(member, "") for member in action.members},
            former=secondary.former,
            left=secondary.left,
            next=secondary.received_entries,
            stable=secondary.stable,
            journal=secondary.journal,
            outputs=secondary.outputs,
            ended=secondary.ended,
            disks=action.disks,
            tenure=secondary.tenure,
            kept=kept,
        )
        primary.hold = self.hold
        return primary

    def following(self, action: Follow, primary: Primary) -> Secondary:
        """What becomes of a primary that another one has replaced."""
        return Secondary(
            self._instance,
            self._setting.timing,
            self._setting.image.digest,
            self._host.now(),
            guest=self._setting.guest,
            endpoint=self._host.endpoint,
            basis=self.basis,
            generation=action.generation,
            owner=action.owner,
            members=primary.ruling().members,
            next=action.next,
            stands=action.stands,
            stable=primary.stable,
            journal=primary.journal,
            disks=primary.disks,
        )

    def offer(self, config: GuestConfig) -> dict[str, Any]:
        """What a secondary has to know of the guest, and of the files that it is to share."""
        return config.to_dict() | {"tokens": self._setting.tokens()}


def printed_before(offer: Mapping[str, Any]) -> int:
    """So many bytes were on the console before a guest that is to start."""
    printed = offer.get(_PRINTED, 0)
    if type(printed) is not int or printed < 0:
        raise LogError("the primary does not say where the guest's text begins")
    return printed
