"""The fault-tolerance protocol: the roles as pure state machines. No I/O, no clock, no thread.

    role        Role, on: keeping to the table, waiting for the arbiter, being asked to leave
    states      State, Event, TABLE: what may happen in which state, and where it may lead
    actions     Send, Claim, Release, Action: what a role asks for
    primary     Primary: who touches the world
    follower    Follower: the primary's side of one secondary
    followers   Followers: all of them
    admission   Admission: who may follow
    joiner      Joiner: the primary's side of who joins a guest that runs
    diskmove    DiskMove: the primary's side of a disk that moves under all of them
    outputs     Outputs: which outputs a primary has still to release
    secondary   Secondary: who replays, and goes live when the primary is dead
    candidacy   Candidacy: when a secondary that suspects its primary is to claim
    tenure      Tenure: how long the owner of a generation may emit by its lease
    journal     Journal, Batch: entries that some member may still lack, and who made them
    hearing     Hearing: when a peer counts as dead
    messages    Hello, Batch, Answer: what replicas say to each other
    timing      Timing: how long they wait for each other, and how much they let pile up

Theory of operation

Several replicas execute one guest. The **primary** touches the world. It numbers every input and
every output of its guest as entries 0, 1, 2, … and sends them to the **secondaries**, which feed
the inputs to their own guests, keep the outputs back, and compare their digests. `Primary` and
`Secondary` decide what happens when. Events go in as method calls with the current time in
nanoseconds, actions come out as a list, and whoever drives them (the ZeroMQ runtime, a test, a
simulator) carries the actions out in order. What becomes of an action is another event, told when
the list is done.

*Members.* The arbiter's record of a generation names its owner, which is the primary, and its
**members**: who may claim the next one. Going live, going on without somebody and taking somebody
in are one compare-and-set. Who claims says whom it leaves out; the owner's claim may take in. The
owner tells all members where the others are reached, and the record does, too: who is taken in when
the owner dies finds the others, and they find it.

*Output rule.* The output of entry n leaves the primary only when every other member has said that
it has received entries 0 … n. So whoever may claim has everything that was ever released. The guest
does not wait: outputs queue. The primary tells how far it has released; what a secondary does not
know to be released it emits again when it goes live. Sinks recognise what they have: console text
and disk blocks have their place, frames may repeat as on any network.

*Suspicion.* A peer that says nothing for `Timing.dead`, or whose connection drops, is suspected.
That proves nothing: it may be alive behind a broken network. So a secondary that wants to go live,
and a primary that wants to go on without it, must both claim, and only one can. Who loses, or gets
no answer, emits nothing.

*Candidates.* With several secondaries, who has received most should claim first: the others ask
each other what they have, and wait a little longer. Whoever claims, the others follow it if what
they have is the beginning of what it has. The generation that made an entry tells that: equal
numbers made by the same generation are equal entries, and so is all before them. One that has more
cannot follow; it stays a member until the new primary leaves it out, and may claim that long, since
nothing was released without it. Every replica keeps the entries that not every member is known to
have, for those who will follow it.

*Isolation.* If replicas live and cannot hear each other, the one that the guest's clients can reach
should go on. So one whose NICs have no network waits longer before it claims.

*Lease.* Between a secondary's last answer and its going live the primary might still release an
output, acknowledged long ago, over what the new primary has written since. So an answer is also a
promise: the secondary will not go live for the lease that was asked for, counted from when it
answers, and the primary releases only for that long counted from when it asked, and while every
member's lease lasts. The primary's span lies inside each secondary's. The lease follows the
measured round trip.

*Tenure.* The record of a generation may have a lease, too, so that the guest can be started again
by an outsider when its owner is gone, or cannot reach the arbiter. The owner renews that there, and
releases only while it lasts, counted from before it asked. Who finds it sealed stops for good,
unless it has claimed the next generation, or handed the guest over: then that answer tells. See
`arbiter.rule`.

*Hold.* A primary that is told so releases nothing while it knows of no other member, as whatever
it showed would be lost with it. A newcomer is none before the arbiter has answered. When the last
one is to be left out the record may say so long before the answer, so what was permitted and is not
begun waits from the claim on. A guest that has ended waits for nobody: nobody can join it.

*Exactness.* A secondary that finds itself in another state than the log says stops, and says so; it
never goes live.

*Loss.* Messages arrive in order or not at all: connections drop, and what has a wrong checksum
counts as lost. So an answer to what was sent after a batch acknowledges the batch too, or the batch
was lost and is sent again. A handover is repeated until it is answered.

*Bounds.* The primary keeps what is not acknowledged, to send it again after a loss. If that, or the
time by which a secondary's execution lags (beyond a round trip), exceeds its limit, the primary's
guest waits.

*Start.* The primary welcomes as many secondaries as it waits for; one that waits for none rules at
once, alone. When all say that they are ready
it claims the first generation with them as members; then it asks each for the first time, and
starts the guest when all have answered within their leases. So a guest that runs has secondaries
that would take over. One that is left before that first question stops, since the primary may be
waiting for another one.

*Join.* A replica may join a guest that runs. It gets the guest's state before some entry, taken
while the guest runs on, and the entries from there. Until its execution is close to the primary's
nobody waits for it but as for a secondary that lags, and the primary gives it up rather than stop
for it. Then outputs need it, too; and when it has every entry whose output may have been made, the
primary claims the next generation with it as a member. Until the arbiter has answered it may be one
or not, so outputs need it and its promise, also those that were permitted before and are not begun.
What it lacks to serve other members, the entries before its state, they must all have, and for a
moment the one behind it is awaited, too.

*Places between entries.* A guest that was held for a switchover, or whose state was taken, stands
somewhere behind the last entry that all have. Who goes live without having been told where may
interrupt its own guest before that. Who stands there then leaves as soon as it gets that interrupt,
and before it acknowledges it: it never counted for anything that it could not execute.

*Standing.* A guest that is to move without a log stands where its state was taken, so there are no
entries from there: the newcomer is taken in, and a switchover hands the guest over to it. If that
takes too long, or anything fails before, the guest goes on where it was.

*Disks that move.* A disk that replicas share may move to another file. The primary makes every
output to both until the others have opened the new one; then its claim of the next generation names
that. So the record that makes somebody primary tells where its disk is. See `diskmove`.

*Switchover.* The primary holds its guest, waits until every output is released and says `Handover`
to a secondary. That one executes to the same entry, claims the next generation with all members and
says so; the others follow it, also the old primary, whose guest is equal. If nothing comes, the
primary claims without it and goes on. If the arbiter says that the other did take over, with this
one as a member, the primary may claim the generation after that: the other needs acknowledgements
of all members for its outputs, had none of this one, and so has released nothing.

*Leaving.* A primary that is asked to leave hands over first, if a secondary can take over, and says
Goodbye when it follows. A secondary says Goodbye. One that is alone ends the guest, and the arbiter
learns that. In doubt whether others live a primary leaves without a word, as if it had crashed: who
is to go on is theirs to claim. So does whoever asked the arbiter and got no answer. To end the
guest itself, its primary tells all others first.
"""
