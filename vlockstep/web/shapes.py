"""What the server and the page say to each other: the shapes of JSON, and nothing else.

Names are those of `--json` on the command line: a host is `HostRecord`, a task `Task`, an event of
a cluster `ClusterEvent` (`vlockstep.cluster.records`), a status `vlockstep.ft.events.Status`.

**The view** (`GET /api/view`) is the whole picture of one revision. **The stream** (`GET
/api/stream`, server-sent events) has it as `event: view`, and then each `event: change`: `set` the
values at paths into the view, `unset` paths, put `events` behind those that are there (the newest
1,000 stay). Both bear `id:`, the revision. Who comes back with `Last-Event-ID` (or `?after=`) gets
the changes since, or the view if they are no longer kept. With `?console=GUEST&from=BYTES` the
stream has `event: console`, too, each a `Console`, without an id. Comments (`: alive`) come every
few seconds.

**Rights**: `Authorization: Bearer TOKEN` with every request to `/api` and `/metrics`, never in an
address. The token stands in the page's fragment (`/#token=...`). `GET /api/session` tells what it
allows. Acting takes `Content-Type: application/json` and the server's own Origin.

**Errors** are a `Failure`: 400 the request is wrong, 401 no such token, 403 not this right, or
another site's request, 404 nothing there, 408 the body does not come, 409 refused (`error` is the
reason), 413 too large, 415 no JSON, 503 what is asked does not answer, or too many ask.

**Actions** are POST with an object (`{}` unless told otherwise) and answer with a `Done`:

| path | object |
| --- | --- |
| `/api/guests/NAME/` `switchover`, `unprotect`, `stop`, `test-failover`, | |
| `test-restart-secondary` | |
| `/api/guests/NAME/protect` | `{}`, or outside a cluster `{"arbiter": DIR, "listen": ENDPOINT}`, |
| | of which the second may be missing, and besides `"misses"` and |
| | `"heartbeat"` in milliseconds |
| `/api/guests/NAME/start` | `{"host": HOST}` or `{}` |
| `/api/guests/NAME/migrate` | `{"host": HOST, "role": ROLE}`, or outside `{"to": ENDPOINT}` |
| `/api/recommendations/apply` | `{"keys": [KEY, ...]}` |
| `/api/tasks/NUMBER/cancel` | |
| `/api/hosts/NAME/maintenance` | `{"on": true or false}` |
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

Kind = Literal["cluster", "guests", "story"]
Level = Literal["good", "plain", "warn", "bad"]
"""How something stands, for signs and colours."""
Path = list[str]
"""Keys from the view inwards, such as `["guests", "books", "protection"]`."""


class Replica(TypedDict):
    """A replica of a guest on a host. Of a cluster it has all fields of `ReplicaReport`; of a run
    directory those of a status that have the same meaning. `lag_ms` is what only a primary
    knows."""

    host: str
    life: Literal["starting", "running", "ended"]
    role: Literal["primary", "secondary", "unprotected"] | None
    state: str
    """For machines: `vlockstep.protocol.states.State`."""
    state_text: str
    generation: int
    members: int
    endpoint: str
    lag_ms: float | None
    lag_entries: int | None
    log_bytes_per_s: float
    """On the logging channel."""
    disk_bytes_per_s: float
    network_frames_per_s: float
    channel_bytes: NotRequired[int]
    """So far, on the logging channel, of a cluster."""
    cpu: NotRequired[float]
    """MIPS, of a cluster."""
    memory: NotRequired[float]
    """MiB, of a cluster."""
    host_state: NotRequired[str]
    """What the master says of its host, of a cluster; "" if nothing."""


class Migration(TypedDict):
    """How far a guest's migration is."""

    phase: str
    text: str
    bytes: int
    bytes_per_s: float
    rounds: int
    lag_entries: int
    throttle: int
    pause_ms: float | None
    """For how long the guest would be held now, by what is left; None if that is not known."""
    to: str
    """A host or an endpoint; "" if it is not known."""


class Guest(TypedDict):
    """A guest of a cluster, with all fields of `GuestRecord`; or a process of a run directory, with
    those of `vlockstep status --json` (its greeting, and `status`)."""

    name: str
    image: str
    power: Literal["on", "off"]
    host: str | None
    """Where it is or was last: the primary's."""
    ft: bool
    """Whether it shall have a secondary."""
    protection: str
    """In a word, as `vlockstep top` has it: protected, ALONE, unprotected, off, no answer, ..."""
    level: Level
    replicas: dict[str, Replica]
    """By host; of a run directory just its own."""
    peers: list[str]
    """Of a run directory: processes here with other replicas of the same guest."""
    pending: str
    """Why it does not run though it shall; "" if nothing is in its way."""
    migration: Migration | None
    status: NotRequired[dict[str, Any] | None]
    """Of a run directory; None if it does not answer."""


class HostLoad(TypedDict):
    """What a host's agent reported last."""

    time: float
    cpu: float
    """MIPS."""
    memory: float
    """MiB."""


class Host(TypedDict):
    """All fields of `HostRecord`; a run directory has one host, this one."""

    name: str
    cpu: float
    """MIPS; 0 if it is not known."""
    memory: float
    """MiB; 0 if it is not known."""
    maintenance: bool
    state: str
    """As the master says: connectedToMaster, hostDown, ... ; "here" without a cluster."""
    explanation: str
    """Of the state, for people; "" if it needs none."""
    master: bool
    level: Level
    report: HostLoad | None


class Cluster(TypedDict):
    """`vlockstep cluster status --json`, and more."""

    name: str
    ha: bool
    ft: bool
    drs: bool
    automation: str
    threshold: int
    admission: dict[str, Any]
    status: dict[str, Any] | None
    """`MasterStatus`: master, since, time, hosts, pending, faults, imbalance."""
    target: float | None
    """The imbalance that load balancing aims at; None if it aims at none."""
    datastores: dict[str, list[str]]
    """Which hosts have each; heartbeats go there."""


class Event(TypedDict):
    """`number` rises by one, and begins with 1 when the server starts."""

    number: int
    time: float
    kind: str
    text: str
    host: str | None
    guest: str | None
    details: NotRequired[dict[str, Any]]
    """What its kind has besides."""


class Recommendation(TypedDict):
    """`vlockstep cluster recommendations --json`: priority 1 is the most urgent; gain, cost and
    risk are of the imbalance. Each of `moves` has guest, role, from and to."""

    key: str
    priority: int
    reason: str
    code: str
    gain: float
    cost: float
    risk: float
    prerequisites: list[str]
    """Keys of those that are applied before it."""
    moves: list[dict[str, str]]


class Problem(TypedDict):
    """Something is wrong: what, why, with which guest or host (as `guests/books`), and what a
    person can do. The worst come first."""

    what: str
    cause: str
    target: str
    do: str


class Player(TypedDict):
    """A replica of a demonstration."""

    pid: int
    role: str
    state: str
    generation: int
    position: str
    entries: int
    log_bytes_per_s: float | None
    gone: bool
    """It was killed or paused, or has ended."""


class Moment(TypedDict):
    """`seconds` are since the guest started."""

    seconds: float
    text: str
    tone: Literal["", "good", "bad"]


class StoryCheck(TypedDict):
    name: str
    ok: bool
    text: str


class Answers(TypedDict):
    """What somebody saw of the guest: `times` in seconds since it started, the newest 500 of
    `count`."""

    name: str
    count: int
    times: list[float]
    trouble: str


class Verdict(TypedDict):
    ok: bool
    text: str
    notes: list[str]


class Story(TypedDict):
    """A demonstration as it is now; times are in seconds since its guest started."""

    title: list[str]
    deed: str
    """What is done to the primary: killed or paused."""
    seconds: float
    ahead: str
    """How far it is to that."""
    over: bool
    players: dict[str, Player]
    lag_entries: int | None
    lag_ms: float | None
    struck: float | None
    live: float | None
    """When the secondary took over."""
    failover_ms: float | None
    moments: list[Moment]
    answers: list[Answers]
    lines: list[str]
    """What the guest said last."""
    checks: list[StoryCheck]
    verdict: Verdict | None


class View(TypedDict):
    revision: int
    kind: Kind
    cluster: Cluster | None
    hosts: dict[str, Host]
    guests: dict[str, Guest]
    tasks: dict[str, dict[str, Any]]
    """By number, as `vlockstep cluster tasks` has them: number, kind, target, by, created, details,
    state (queued, running, done, failed, canceled), progress, reason, result, cancel, begun,
    ended."""
    events: list[Event]
    recommendations: dict[str, Recommendation]
    problems: list[Problem]
    story: Story | None
    """Of a demonstration alone."""


class Change(TypedDict):
    revision: int
    set: list[tuple[Path, Any]]
    unset: list[Path]
    events: list[Event]


class Session(TypedDict):
    """What the token allows."""

    rights: list[Literal["read", "act"]]
    version: str
    kind: Kind
    source: str
    """What is looked at, for people: a store or a run directory."""


class Failure(TypedDict):
    error: str


class Generation(TypedDict):
    """Who ruled from `since` (seconds since the epoch) on, and why that changed."""

    generation: int
    since: float
    ruler: str
    """A host, or a process of a run directory."""
    members: int
    cause: str
    """For machines, an `arbiter.ReignCause`; "" if it is not known."""
    reason: str
    """The same for people."""


class Sample(TypedDict):
    """At `time`, once a second."""

    time: float
    lag_ms: float | None
    lag_entries: int | None
    log_bytes_per_s: float
    disk_bytes_per_s: float
    network_frames_per_s: float


class GuestDetails(TypedDict):
    """`GET /api/guests/NAME`."""

    name: str
    generations: list[Generation]
    """The oldest first; what is known since the server looks."""
    samples: list[Sample]
    """The newest 300."""
    disks: dict[str, dict[str, Any]]
    """By name: path, block_size; read and written in bytes where that is known."""
    nics: dict[str, dict[str, Any]]
    """By name: group or frames received and sent, where that is known."""
    arguments: list[str]
    console: str
    """Why its console cannot be shown; "" if it can."""
    actions: dict[str, str]
    """By the last word of their path: why it is refused now, "" if it can be asked for."""
    secondary: str
    """The command that starts a secondary of it, once it was protected here; "" elsewhere."""
    hosts: list[str]
    """Where it could be asked to migrate."""


class Console(TypedDict):
    """`GET /api/guests/NAME/console?after=BYTES`, at most 64 KiB of it. Without `after` the end."""

    guest: str
    after: int
    """Where `text` begins, in bytes."""
    next: int
    """Where it ends: ask from there."""
    size: int
    text: str


class Compatibility(TypedDict):
    """`GET /api/guests/NAME/migrate?host=HOST`: whether the guest could run there."""

    host: str
    possible: bool
    checks: list[tuple[str, str]]
    """What was looked at, and what is in the way; "" if nothing."""


class Done(TypedDict):
    """What an action has begun: a task, to be followed in the view, where it may have ended by now.
    A failure has its `reason`."""

    task: dict[str, Any]


class Recording(TypedDict):
    """`GET /api/recordings` is a list of these, `GET /api/recordings/ID` one. Only logs that were
    named when the server was started."""

    id: int
    name: str
    image: str
    entries: int
    bytes: int
    exits: int
    """Of the last entry's position."""
    complete: bool
    """Whether the execution ends there."""
    problem: str
    """Why it could not be read to its end."""
    reading: bool
    """Whether it is still to be read: then the others but `id` and `name` say nothing yet."""


class Bin(TypedDict):
    """Entries `first` up to `first + count`, without that."""

    first: int
    count: int
    kinds: dict[str, int]
    """How many of each kind."""
    bytes: int
    exits: int
    """Where it begins."""


class Bins(TypedDict):
    """`GET /api/recordings/ID/bins?first=N&last=N&bins=N` (500 at most)."""

    first: int
    last: int
    bins: list[Bin]


class Mark(TypedDict):
    """Something at an entry: `kind` is console, disk, network, keyframe, interrupt or end."""

    entry: int
    position: str
    kind: str
    text: str
    bytes: int


class Marks(TypedDict):
    """`GET /api/recordings/ID/marks?kind=KIND&first=N&last=N`: 1,000 at most; `more` tells that
    there are others from `next` on."""

    marks: list[Mark]
    more: bool
    next: int
    problem: str
    """Why texts are missing; "" also while they are only not known yet."""


class Look(TypedDict):
    """`GET /api/recordings/ID/at?position=POSITION`: the guest replayed up to there."""

    position: str
    registers: dict[str, Any]
    code: str
    commands: list[str]
    """To look there oneself: to debug it, then in gdb to go there, and to replay it up to there."""
