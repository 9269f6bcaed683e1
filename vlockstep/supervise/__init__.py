"""Replicas of guests as components that others start, watch and command. See README.md.

spec             ReplicaSpec, TimingSpec: what a replica is made from, as data
specfile         read_fields: specifications in TOML files
parts            open_guest, load_keys: from a specification to open parts
files            open_console, reserve_log: the files that a replica writes
places           fault, stops, divergence: what a test has it do
replica          Replica, setting_of, channels_of: a replica of this process, from a specification
respawn          Respawner: starts another replica by a command
origin           boot, Origin, LiveGuest: a guest that nobody protects, from its start on
restoring        restore: such a start from a snapshot
visits           Visit: holding a guest that runs, to look at it
snapshotfiles    SnapshotFiles, take: the file of a snapshot of a guest that goes on
snapshots        SnapshotCommand: snapshots of a guest that nobody protects
followed         FollowedSnapshots: snapshots of a protected one, at its secondary
liverecording    LiveRecordings: copies of the log of its last minutes
unprotected      UnprotectedCommands: what can be asked of a guest that nobody protects
protection       Protection: such a guest gets replicas
companion        secondary_words: the command that starts one
replicacommands  ReplicaCommands: what can be asked of a replica
agreement        Agreement: a primary and the thread that moves a disk which replicas share
diskmoves        DiskMoves: moves disks of a guest of this process
running          ControlSocket: a running guest, its name and its commands
control          ControlServer, EventRing: serves the clients of a control socket
rundir           RunDirectory: names and sockets of the guests that run here
texts            text_of: what events say to people
board            Board, Line: guests as somebody sees them who looks again and again
client           GuestClient, Watch: who asks one of them, or all
operator         request_switchover: what an operator asks of a running pair
"""
