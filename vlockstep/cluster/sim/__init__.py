"""Clusters in virtual time: computers that crash and freeze, a management network that parts and
loses, datastores that go away, and the monitors that ship.

Everything is one process, and is chosen by one seed. What a test wants to break it breaks with the
methods of the part that breaks.

clock       VirtualTime: what happens next
network     Network: messages and pings between hosts
datastore   SimulatedDatastore, Unreachable: files and locks that hosts share
host        SimulatedHost, Process: a computer, and what runs on it
agent       Agent: a monitor at work
simulation  Simulation: a cluster of all of these

With all that agents do, of which there are scenarios, and random executions:

thread      begin, sleep: parts of a process that wait in their midst
store       SimulatedStore: a handle on the store, whose operations take a while
register    SimulatedRegister: the records of a guest, on a datastore
replica     SimulatedReplica: a guest on a host, by the arbiter's own rule
guests      SimulatedGuests: a host's replicas as its agent has them
hostagent   HostAgent: monitor, keeper and master
managed     ManagedCluster, Conditions: a cluster of all of these
witness     Witness: what must hold at any time, and what happens
settled     settle, unsettled: what must come to be when faults are over
commands    Command, perform: what is done to a cluster, in words
scenario    read, run: folders with commands and what is to come of them
schedule    Schedule, execute, shrink: random clusters and faults
"""
