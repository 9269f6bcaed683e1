"""High availability: guests of hosts that fail run again on others.

Theory of operation of the monitors. Each host has one, a pure state machine. They elect a *master*:
whoever is connected to most datastores, of those whose id is the greatest as text. The others are
its *slaves*. Master and slaves exchange words with every heartbeat; a word counts as a heartbeat
only if who says it hears this host, so that a link with one direction is none. The master says its
words to all hosts, and thereby finds those that join, and other masters.

A host that its master hears no more for a while may be dead, cut off, or without its monitor. Then
datastores are the second channel: each host writes heartbeats on two of them, and says there
whether it is isolated. The master also pings it. When each of these has been looked at for long
enough, `states.JUDGEMENTS` says what the host is; as long as something is not known, it stays what
it was. A new master knows nothing that it has not seen itself, but for the silence of the master
before it: it lets hosts join before it judges, and one that it never heard has all the time that
detection takes.

A host that hears nobody and elects itself, or a master that hears nobody any more, pings isolation
addresses. If none answers it is *isolated*: it says so on its datastores, gives up those that it
owns, and after a delay carries out the isolation response. One answer, or one word, ends that.
If one answers it is master of a partition of its own. Of masters that hear each other all but the
one that an election would choose resign.

For each datastore one master at most is responsible for the guests at home there: the one that has
locked its protectedlist. A master that was cut off loses its locks when their leases run out.
Whoever slept for longer than hosts wait for each other forgets all, and looks for a master.

timing     Timing, PROFILES, timing: how long hosts wait for each other
states     Availability, TRANSITIONS, JUDGEMENTS, judge: what a host can be, and who decides that
messages   Candidate, Master, Slave, Resigned, Left: what monitors say to each other
actions    what a monitor asks for
monitor    Monitor: who is master, and which hosts live
peer       Peer: what a monitor knows of one other host
datastore  Heartbeat, PowerOn, ProtectedList, PoweredOff: files on datastores; which have heartbeats
restarts   Restarts, RestartTiming: what is started again, in which order, and where
admission  Slots, Percentage, FailoverHosts, refusal: room that is kept for restarts
monitoring  GuestMonitor: a guest that fails, or hangs, is started anew where it is
isolation  Isolation: what a host does with its guests when it has lost all others
"""
