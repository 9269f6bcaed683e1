/* The address of this host, from the command line. */
#ifndef NET_CONFIG_H
#define NET_CONFIG_H

#include <stdint.h>

struct config {
    uint32_t address, mask;
    uint32_t gateway; /* 0: none */
};

/* Reads --ipv4 and --ipv4-gateway; halts with status 2 and a message if they are wrong. */
struct config config_read(void);

#endif
