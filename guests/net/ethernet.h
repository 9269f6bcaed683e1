/* Frames in and out. */
#ifndef NET_ETHERNET_H
#define NET_ETHERNET_H

#include <stddef.h>
#include <stdint.h>

void ethernet_start(const uint8_t mac[6]);
const uint8_t *ethernet_mac(void);

void ethernet_input(const uint8_t *frame, size_t length);
/* Fills in the header in front of the payload that is there already. */
void ethernet_send(uint8_t *frame, size_t length, const uint8_t to[6], uint16_t type);

#endif
