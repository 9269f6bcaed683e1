"""The roles as pure state machines: no I/O, no clock, no thread.

role        Role, State, and the actions: theory of operation, and what both roles share
primary     Primary: who touches the world
secondary   Secondary: who replays, and goes live when the primary is dead
messages    Hello, Batch, Answer: what replicas say to each other
timing      Timing: how long they wait for each other, and how much they let pile up
"""
