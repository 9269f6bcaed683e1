"""Replicas of guests as components that others start, watch and command.

spec        ReplicaSpec, TimingSpec: what a replica is made from, as data
specfile    read_fields: specifications in TOML files
parts       open_guest, load_keys: from a specification to open parts
files       open_console, reserve_log: the files that a replica writes
places      fault, stops, divergence: what a test has it do
replica     Replica: a replica of this process, made from a specification
operator    request_switchover: what an operator asks of a running pair
"""
