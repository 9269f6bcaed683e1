"""What a guest's NIC is connected to.

nic             Nic, Counters: what every back end can do
attach          NicSpec, connect: from a NIC's name and back end to a NIC
station         Station: a NIC with an address, deaf to what is for others
tap             Tap: a tap device of the host
passt           Passt: the host's own sockets, without privileges
port            SwitchPort: a port of the virtual switch
portmessages    Frame, Hello, Welcome: what the switch and its ports say to each other
pcap            Capture: a NIC's frames as a file for Wireshark
"""
