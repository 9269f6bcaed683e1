#ifndef NET_UDP_H
#define NET_UDP_H

#include "ipv4.h"

void udp_start(void);
/* Hands a datagram (RFC 768) to the receiver of its port. */
void udp_input(const struct packet *packet);

#endif
