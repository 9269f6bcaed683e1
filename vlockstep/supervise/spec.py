"""What a replica is made from, as data.

Plain values that can be compared, written down (see `specfile`) and changed with
`dataclasses.replace`. They are checked when they are made: every error has the `key` of what is
wrong. Nothing is opened yet; `parts` does that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from vlockstep.errors import Key, UsageError
from vlockstep.host.attach import DiskSpec
from vlockstep.machine.cpumodels import check_limit, check_model
from vlockstep.machine.engines import AUTO, check
from vlockstep.net.attach import NicSpec
from vlockstep.protocol.timing import Timing

Role = Literal["primary", "secondary"]
ROLES: tuple[Role, ...] = ("primary", "secondary")
DEFAULT_ENDPOINT = "tcp://127.0.0.1:7700"
HOUR_MS = 3_600_000
YEAR_S = 31_536_000
DAY_S = 86_400
RECORD = "record"
LEAST_LEASE_MS = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def within(default: int, low: int, high: int) -> Any:
    """A field that is a number in these bounds."""
    return field(default=default, metadata={"bounds": (low, high)})


def _check_bounds(spec: Any, *key: str) -> None:
    for each in fields(spec):
        bounds = each.metadata.get("bounds")
        value = getattr(spec, each.name)
        if bounds is not None and not bounds[0] <= value <= bounds[1]:
            raise UsageError(
                f"{value} is not from {bounds[0]} to {bounds[1]}", key=(*key, each.name)
            )


@dataclass(frozen=True)
class TimingSpec:
    """`heartbeat` and `max_lag` in milliseconds, `max_log` in MiB, `wait` in seconds; see
    `protocol.timing.Timing`. For who joins the guest while it runs, `max_pause` in milliseconds and
    `max_bandwidth` in MB a second, 0 without a limit; see `ft.transfer.TransferLimits`."""

    heartbeat: int = within(50, 1, HOUR_MS)
    misses: int = within(5, 2, 1_000_000)
    max_lag: int = within(100, 10, HOUR_MS)
    max_log: int = within(64, 1, 1 << 20)
    wait: int = within(30, 0, YEAR_S)
    max_pause: int = within(5, 1, HOUR_MS)
    max_bandwidth: int = within(0, 0, 1_000_000)

    def __post_init__(self) -> None:
        _check_bounds(self, "timing")


@dataclass(frozen=True)
class TestSpec:
    """What a test has the replica do at places of the execution, see `ft.places.Place`: kill
    itself, stop itself, let its guest stop to be looked at, and flip a bit of the guest's RAM."""

    __test__ = False

    crash: str | None = None
    pause: str | None = None
    stop: tuple[str, ...] = ()
    diverge: str | None = None

    def __post_init__(self) -> None:
        if self.crash is not None and self.pause is not None:
            raise UsageError("a replica crashes or pauses, not both", key=("test", "pause"))


@dataclass(frozen=True)
class ReplicaSpec:
    """A guest, and how it runs here: as the `role` of a replica, or without a role unprotected.

    `image` is the name of a bundled guest, or the path of an image. `memory` is in MiB. `cpu_limit`
    is the CPU model that bounds those of guests on this host, if anything does. `engine` is what
    executes the guest, of `engines.CHOICES`; one that starts on `kvm` is prepared for it. Without a
    `console` file the guest's text goes to standard output. `log`, `cores` (a directory) and `keys`
    (one, too) are None if there are none. A primary listens at its `endpoint`, where a secondary
    connects to it. `arbiter` is the directory of both. `secondaries` is how many a primary waits
    for; if there are several, each listens at `reached_at` for the others. One that `awaits_at` an
    endpoint connects to no primary: it waits there for the guest to be moved to it.

    If a primary gives a `lease`, in milliseconds, whoever owns the guest emits only while it renews
    that at the arbiter: so the guest can be started again, by a primary elsewhere, when its owner
    is gone or cannot reach the arbiter. Secondaries learn it there. 0 is for ever.

    With `hold`, nothing is emitted here while no other replica has the guest: outputs wait until
    one does.

    While a replica follows, its log gets a keyframe every so many seconds, if `keyframes` says so.
    With `on_error` "record" a log of the guest's last minutes is left if it fails, in the working
    directory.

    A primary that waits for nobody and has a lease may keep a log in the directory `resume`, of
    `resume_limit` MiB at the most, from which the guest can be resumed elsewhere: no output leaves
    before all that led to it is there. It gets a keyframe when it has grown by `resume_growth` KiB,
    and `resume_interval` seconds after the one before. One that `resumes` goes on where the last
    owner's log ends, if there is one, instead of at boot.

    `respawn` is a command that starts another replica when the guest has lost its own.

    `name` is what the running guest is called in its `run_directory`; by default it gets one made
    from the image's, in the user's own directory. `source` is the file that it was read from,
    and `elsewhere` are the keys that were not.
    """

    image: str
    role: Role | None = None
    name: str | None = None
    arguments: tuple[str, ...] = ()
    memory: int = 512
    cpu: str = "westmere"
    cpu_limit: str | None = None
    engine: str = AUTO
    disks: tuple[DiskSpec, ...] = ()
    nics: tuple[NicSpec, ...] = ()
    console: Path | None = None
    log: Path | None = None
    keyframes: float | None = None
    on_error: str | None = None
    cores: Path | None = None
    arbiter: Path | None = None
    endpoint: str = DEFAULT_ENDPOINT
    keys: Path | None = None
    secondaries: int = within(1, 0, 7)
    lease: int = within(0, 0, HOUR_MS)
    resume: Path | None = None
    resumes: bool = False
    resume_limit: int = within(256, 1, 1 << 20)
    resume_growth: int = within(8192, 1, 1 << 30)
    resume_interval: int = within(30, 0, 1 << 20)
    reached_at: str | None = None
    awaits_at: str | None = None
    respawn: str | None = None
    hold: bool = False
    timing: TimingSpec = TimingSpec()
    run_directory: Path | None = None
    test: TestSpec = TestSpec()
    source: Path | None = field(default=None, compare=False)
    elsewhere: frozenset[Key] = field(default=frozenset(), compare=False)

    def __post_init__(self) -> None:
        if not self.image:
            raise UsageError("there is no image: name a bundled guest, or a file", key=("image",))
        if self.role is not None and self.role not in ROLES:
            raise UsageError(
                f"{self.role!r} is no role: a replica is {' or '.join(ROLES)}", key=("role",)
            )
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} is no name of a guest: write letters, digits, dots and dashes",
                key=("name",),
            )
        try:
            " ".join(self.arguments).encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                "the guest's command line is not valid UTF-8", key=("arguments",)
            ) from error
        _check_bounds(self)
        check(self.engine)
        if self.cpu_limit is not None:
            check_model(self.cpu_limit, ("cpu_limit",))
            if self.role != "secondary":  # which gets the primary's
                check_limit(self.cpu, self.cpu_limit, ("cpu",))
        if self.role is None:
            self._check_unprotected()
        elif self.arbiter is None:
            raise UsageError(
                f"a {self.role} needs an arbiter: a directory that it shares with the other "
                "replica, and that decides who may be live",
                key=("arbiter",),
            )
        if 0 < self.lease < LEAST_LEASE_MS:
            raise UsageError(
                f"a lease of {self.lease} ms is too short to be renewed in time: "
                f"give {LEAST_LEASE_MS} ms or more, or 0 for none",
                key=("lease",),
            )
        if self.respawn is not None:
            self._check_respawn(self.respawn)
        if self.hold:
            Timing(max_log=self.timing.max_log << 20).check_hold()
        if self.keyframes is not None:
            self._check_keyframes(self.keyframes)
        if self.on_error is not None:
            self._check_on_error(self.on_error)
        self._check_resume()

    def _check_respawn(self, command: str) -> None:
        from vlockstep.supervise.respawn import words

        words(command)
        if self.listens_at is None:
            raise UsageError(
                "nobody can join a replica that listens nowhere, as the command is to let somebody",
                key=("respawn",),
            )

    def _check_keyframes(self, seconds: float) -> None:
        if not 0 < seconds <= DAY_S:
            raise UsageError(
                f"{seconds:g} is not a time between keyframes: give seconds, up to {DAY_S}",
                key=("keyframes",),
            )
        if self.log is None:
            raise UsageError(
                "keyframes are kept in a log, and there is none: name its file", key=("keyframes",)
            )

    def _check_on_error(self, what: str) -> None:
        if what != RECORD:
            raise UsageError(f"on an error there is only {RECORD}, not {what!r}", key=("on_error",))
        if self.keyframes is not None:
            raise UsageError(
                "a log with keyframes tells of the last minutes, too: have one or the other",
                key=("on_error",),
            )

    def _check_resume(self) -> None:
        if self.resume is None:
            if self.resumes:
                raise UsageError(
                    "there is no directory for the log from which it resumes", key=("resumes",)
                )
            return
        if self.role != "primary" or self.secondaries or not self.lease:
            raise UsageError(
                "a guest can be resumed only if it runs without secondaries, with a lease",
                key=("resume",),
            )
        if any(disk.local for disk in self.disks):
            raise UsageError(
                "a guest cannot be resumed elsewhere whose disk is a copy of the replica's own",
                key=("resume",),
            )

    @property
    def listens_at(self) -> str | None:
        """Where others connect to this replica; None if nowhere."""
        return self.endpoint if self.role == "primary" else self.awaits_at or self.reached_at

    def _check_unprotected(self) -> None:
        given = {
            "arbiter": self.arbiter is not None,
            "endpoint": self.endpoint != DEFAULT_ENDPOINT,
            "timing": self.timing != TimingSpec(),
            "test": self.test != TestSpec(),
            "lease": self.lease != 0,
            "respawn": self.respawn is not None,
            "hold": self.hold,
            "keyframes": self.keyframes is not None,
        }
        for key, there in given.items():
            if there:
                raise UsageError(
                    "only a guest that is protected has that: let it run as a replica, or leave "
                    "it out",
                    key=(key,),
                )
        if self.keys is not None and not any(nic.kind == "switch" for nic in self.nics):
            raise UsageError(
                "the keys are for a switch, and no NIC is connected to one", key=("nic",)
            )


def dotted(key: Key) -> str:
    """As a TOML file has it."""
    return ".".join(part if re.fullmatch(r"[\w-]+", part, re.A) else repr(part) for part in key)
