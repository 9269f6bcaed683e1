"""Hosts, and the guests that they run together: restarted when a host fails, kept without a gap,
moved where there is room.

Theory of operation. Every host has an *agent*, which runs guests as replicas of `supervise`. The
agents elect a *master*. What shall be (the inventory, tasks, which host is to run what) stands in
a *store*, what is (which replicas run, and how loaded) in the reports of the agents there; the
master looks at both and decides, the agents carry out. Whether a host lives is told by heartbeats
on the management network and on datastores, without the store. That no guest ever runs twice
depends on none of that: it is the guest's arbiter that decides who may emit, and the lease in its
record by which a host that is cut off falls silent before another one may begin.

All that decides is pure, and touches the world through what it is given alone.

model       Host, Guest, Replica, Allocation, Rule: the cluster as decisions see it
rules       check_rules, in_force: which rules cannot hold together
placement   fits, ranked, why_not, Placement: where a replica can run, and why not elsewhere
entitlement  divide, Claim: what a guest is entitled to
drs         what is recommended to move, in which order
guestfile   GuestFile: what a guest is, in a file in its folder
plain       to_plain, from_plain: records as JSON
records     what stands in the store, and under which keys
settings    parse_settings, timing_of: how a cluster is set
store       where that is kept: a shared directory, etcd, memory
ha          who is master, which hosts live, and what is restarted
master      what the master does, in rounds
keeper      Keeper, Local: what every host does
agent       a host's agent as a process
operator    Operator: what a person asks
standing    look: how guests and hosts stand, for people
sim         clusters in virtual time
"""
