"""The demonstration: a protected guest, a fault in mid-write, and proof that nothing shows of it.

plan        Plan, make_plan: what is to happen
stage       perform: lets it happen
story       Story: what was heard of the two replicas
screens     Terminal, Plain, Quiet: show it
onpage      Page, Told: tells it to a page
proof       prove, Check: judges what came of it
facts       Facts: sums it up
guard       Guard: leaves no process behind
network     Network: the network around the replicas
visits      Visitor, Gap: clients of the guest
redis       RedisVisitor: one over TCP
ping        PingVisitor: a host that pings
hosts       a cluster, of which a host fails
"""
