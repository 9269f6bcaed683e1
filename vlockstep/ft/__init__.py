"""A replica at work: its role, its guest's thread, its outputs, and what it runs on.

replica      Replica: a guest's machine, a role that may change, and what lies between them
runtime      Setting, Runtime: what a replica is made of, and what it runs on
process      Process: a replica as a process, with its channel, clock, arbiter and threads
channels     Channels: all the channels of a replica
roles        Roles: the roles of a replica, and what becomes of them
writesample  WriteSample: how much of its RAM a guest writes
watch        ProtectionWatch, NetworkWatch: what people are told of both
links        Links: which replica is at the other end of which connection
events       Event: what happens to a replica, for programs and for people
guest        Guest: the machine, its World, and its thread
gueststate   GuestState: what a guest's state is made of besides its RAM
diskpaths    SharedDisks: files of disks that all replicas share, when one of them moves
diskcopies   DiskCopies, DiskLoading: disks on their way to who joins
rounds       Precopy, CopiedRest, SentRest: when the rounds of its RAM are over, and a throttle
transfer     Transfer: a running guest's state on its way to a replica that joins
loading      Loading: the same where it arrives
migration    Migration, Phase, Report: a guest on its way to another host
handoff      EntryOutbox, Received: entries between the guest's thread and the protocol's
outputs      OutputQueue, ProtectedWorld: outputs, held back until they may leave
keptlog      KeptLog: a replica's log file
keyframing   Keyframing: keyframes for that, made while the replica follows
ownreads     OwnReads: what was read from disks of a replica's own, which entries do not hold
lastminutes  LastMinutes, LastMinutesAlone: a log of the end, kept in case the guest fails
resumelog    ResumeLog, History: a log from which the guest can be resumed, which outputs wait for
resumedir    ResumeDirectory: such logs in a directory, one for each owner
resumepoint  ResumePoints: keyframes for those, made while the guest runs as a primary's
standby      StandbyNics: what a secondary's NIC has heard and the log has not shown
lead         ClockLead: how far the guest's clock is ahead of the host's
rejections   Rejections: what was rejected, counted, and told if anybody reads it
places       Place, Fault: where in an execution a test does what
stop         look_around: a guest that stands still to be looked at
"""
