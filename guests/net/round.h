/* For who drives the stack in place of net_serve. */
#ifndef NET_ROUND_H
#define NET_ROUND_H

#include <stdint.h>

/* Takes in what frames wait, runs the services and sends. Returns in how many nanoseconds the next
 * round is due even if no frame comes. */
uint64_t net_round(void);

#endif
