"""The demonstration: a protected guest, a fault in mid-write, and proof that nothing shows of it.

`plan` says what is to happen, `story` is what was heard of the two replicas, `stage` lets it
happen, `screens` show it, `proof` judges what came of it, and `facts` sum it up. `guard` leaves no
process behind. A guest with a network has a `network` around it: a switch, and `visits` of clients
over TCP (`redis`) or of a host that pings (`ping`).
"""
