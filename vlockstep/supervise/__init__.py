"""Replicas of guests as components that others start, watch and command.

spec        ReplicaSpec, TimingSpec: what a replica is made from, as data
specfile    read_fields: specifications in TOML files
parts       open_guest, load_keys: from a specification to open parts
files       open_console, reserve_log: the files that a replica writes
places      fault, stops, divergence: what a test has it do
replica     Replica: a replica of this process, made from a specification
rundir      RunDirectory: where a user's guests are found by their names
running     ControlSocket, control_socket: a running guest in its run directory
control     ControlServer, EventRing: who asks is answered, who follows is told every event
replicacommands  ReplicaCommands: what can be asked of a replica
unprotected  UnprotectedCommands: the same of a guest that nobody protects
client      GuestClient, Watch: who asks one guest, or all
operator    request_switchover: what an operator asks of a running pair
"""
