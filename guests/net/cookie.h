/* SYN cookies (RFC 4987 3.6): initial sequence numbers that say what a handshake has to remember,
 * and that only who has seen them can acknowledge. */
#ifndef NET_COOKIE_H
#define NET_COOKIE_H

#include <stdbool.h>
#include <stdint.h>

#include "tcp.h"

void cookie_start(uint64_t seed);
/* SipHash-2-4 of two words under this host's secret. */
uint64_t cookie_hash(uint64_t first, uint64_t second);
/* For a SYN from which its MSS and window scale shall be known again. */
uint32_t cookie_make(const struct segment *syn);
/* Whether the segment acknowledges a cookie of the last minutes; then sets its MSS and window
 * scale, the MSS perhaps to a little less than it was. */
bool cookie_accept(struct segment *segment);

#endif
