"""What the master does: look at what shall be and what is, and order what is missing.

view        View, Beliefs: the store's content at the beginning of a round, and what is written
guests      Guests: each guest's replicas, as they shall be
tasks       Tasks: what somebody has asked for
protecting  Protecting: tasks about a guest's secondary
taskround   TaskRound: what all tasks have in common
hosts       HostEvents: what people are told of hosts
reset       Resets: guests that fail or hang
balancing   Balancing: load balancing at work
detours     Detours: what load balancing finds no way to do, asked in the background
manager     Manager: the rounds
"""
