/* A server of the Redis protocol on port 6379 that keeps its keys in memory.
 *
 *   --ipv4=ADDR/LEN      its address
 *   --ipv4-gateway=ADDR  the way to other networks
 *
 * Status: 2 if an option is missing or wrong. */
#include "manifest.h"

GUEST_MANIFEST(NET_DEVICE("net"));
