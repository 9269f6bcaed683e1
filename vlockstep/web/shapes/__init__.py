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

guests      what guests are, have done, and can be asked
cluster     hosts, and what is set, told and recommended
view        View, Change, Event, Problem, and what else is answered
story       a demonstration while it happens
recordings  logs in the page
words       Kind, Level, Path
"""

from __future__ import annotations

from vlockstep.web.shapes.cluster import Cluster, Host, HostLoad, Recommendation
from vlockstep.web.shapes.guests import (
    Compatibility,
    Console,
    Generation,
    Guest,
    GuestDetails,
    Migration,
    Replica,
    Sample,
)
from vlockstep.web.shapes.recordings import Bin, Bins, Look, Mark, Marks, Recording
from vlockstep.web.shapes.story import (
    Answers,
    Moment,
    Player,
    Story,
    StoryCheck,
    StoryHost,
    StoryReplica,
    StorySpan,
    Verdict,
)
from vlockstep.web.shapes.view import Change, Done, Event, Failure, Problem, Session, View
from vlockstep.web.shapes.words import Kind, Level, Path

__all__ = [
    "Answers",
    "Bin",
    "Bins",
    "Change",
    "Cluster",
    "Compatibility",
    "Console",
    "Done",
    "Event",
    "Failure",
    "Generation",
    "Guest",
    "GuestDetails",
    "Host",
    "HostLoad",
    "Kind",
    "Level",
    "Look",
    "Mark",
    "Marks",
    "Migration",
    "Moment",
    "Path",
    "Player",
    "Problem",
    "Recommendation",
    "Recording",
    "Replica",
    "Sample",
    "Session",
    "Story",
    "StoryCheck",
    "StoryHost",
    "StoryReplica",
    "StorySpan",
    "Verdict",
    "View",
]
