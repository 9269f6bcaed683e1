"""How processes speak to each other: keys, addresses, the logging channel, messages as bytes.

codec       Codec, MessageError: one codec for all messages
endpoint    bind, connect_to, authenticate: addresses, and CURVE
keys        Keys, Party, create, load: the key pairs of a guest's replicas
channel     Channel, listen, connect: the logging channel
alarm       Alarm: wakes who waits for a channel, when it is to connect again
handshake   who_listens, why_rejected, look_before_connecting: why two ends do not come together
"""
