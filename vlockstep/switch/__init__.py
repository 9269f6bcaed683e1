"""The virtual Ethernet switch.

fabric      Fabric, Port: its decisions, without any I/O
switch      Switch, Uplink: the process, with the ports of guests and uplinks
"""
