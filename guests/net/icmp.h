#ifndef NET_ICMP_H
#define NET_ICMP_H

#include "ipv4.h"

/* Answers echo requests (RFC 792); drops all else. */
void icmp_input(const struct packet *packet);

#endif
