/* Link addresses (RFC 826). Addresses are in host byte order. */
#ifndef NET_ARP_H
#define NET_ARP_H

#include <stddef.h>
#include <stdint.h>

void arp_start(void);
/* Tells all hosts of the network our link address (RFC 5227, section 2.3). */
void arp_announce(void);
void arp_input(const uint8_t *packet, size_t length);

/* A host of this network was seen to have this link address. */
void arp_learn(uint32_t address, const uint8_t mac[6]);
/* What is known of the address may be out of date: asks again. */
void arp_doubt(uint32_t address);

/* Sends the frame with an IPv4 packet in it to a host of this network. If its link address is
 * unknown, asks for that and keeps the frame, instead of an earlier one to the same host. */
void arp_send(uint32_t address, uint8_t *frame, size_t length);

#endif
