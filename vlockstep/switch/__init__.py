"""The virtual Ethernet switch.

fabric      Fabric, Port: where frames go, without any I/O
tree        Tree: how switches with trunks stay a tree, without any I/O
ports       Ports: who connects to a switch: guests, and switches below
trunk       Trunk: the connection to the switch above
uplinks     Uplinks, Uplink: networks outside
switch      Switch: the process that has all of them
"""
