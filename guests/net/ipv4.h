/* Packets to and from this host (RFC 791); what it sends is whole, without options. */
#ifndef NET_IPV4_H
#define NET_IPV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

/* A received packet that the checks of IPv4 have passed. */
struct packet {
    uint32_t from;
    uint8_t protocol;
    const uint8_t *data;
    size_t length;
};

void ipv4_start(const struct config *config, size_t mtu);
uint32_t ipv4_address(void);
/* Whether this can be the address of another host on the link. */
bool ipv4_is_neighbour(uint32_t address);
/* The most bytes in a packet. */
size_t ipv4_room(void);

void ipv4_input(const uint8_t *data, size_t length, const uint8_t source_mac[6]);

/* Where the next packet's payload, of at most ipv4_room() bytes, is put together. */
uint8_t *ipv4_payload(void);
void ipv4_send(uint32_t to, uint8_t protocol, size_t length);
/* Sum of the pseudo header of a packet between this host and the peer. */
uint64_t ipv4_pseudo_sum(uint32_t peer, uint8_t protocol, size_t length);
/* The peer does not answer: its link address, or the gateway's, may have changed. */
void ipv4_doubt(uint32_t peer);

#endif
