"""A host's agent at work: its process, the replicas that it has started, and how it speaks with
other agents.

agent       Agent: the process, and its threads
spec        AgentSpec: what it is started from
local       LocalGuests: the replicas of this host, as processes of their own
asks        Asks: what replicas were asked for by tasks, and takes a while
switch      HostSwitch: the switch for their NICs
network     ManagementNetwork, Peer: where agents talk
hostkeys    HostKeys, create_host_keys, load_host_keys: by which they know each other
channelkeys  ChannelKeys: those of the guests' channels
pings       Pings: whether computers answer
storage     Datastore: heartbeats, and what runs where, on a datastore
isolation   Isolated: the isolation response, carried out
ownership   Ownership: which master is responsible for the guests at home there
"""
