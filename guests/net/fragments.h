/* Packets that come in pieces (RFC 791, RFC 815). */
#ifndef NET_FRAGMENTS_H
#define NET_FRAGMENTS_H

#include <stdbool.h>

#include "ipv4.h"

void fragments_start(void);

/* Takes a fragment with the given bytes of the packet; true if it completes the packet, which is
 * then in *packet until the next call. Of packets of which nothing comes for long, and of the oldest
 * if there are many, nothing remains; nor of those whose fragments contradict each other. */
bool fragments_add(struct packet *packet, uint16_t id, size_t offset, bool more);

#endif
