/* A server of the Redis protocol on port 6379 that keeps its keys in memory.
 *
 *   --ipv4=ADDR/LEN      its address
 *   --ipv4-gateway=ADDR  the way to other networks
 *   --tcp-keepalive=S    seconds of silence until a client is asked whether it is there (300)
 *   --tcp-timeout=S      seconds without data until a connection is closed (0: never)
 *   --requirepass=TEXT   the password that clients must give
 *
 * Status: 2 if an option is missing or wrong. */
#include "manifest.h"

GUEST_MANIFEST(NET_DEVICE("net"));
