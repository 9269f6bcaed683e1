/* Services that know what they must receive: every byte is a function of its sequence number. */
#ifndef FUZZ_SERVICES_H
#define FUZZ_SERVICES_H

#include <stdint.h>

#include "tcp.h"

__attribute__((no_sanitize("coverage"))) static inline uint8_t pattern(uint32_t sequence)
{
    return (uint8_t)(sequence * 2654435761u >> 24);
}

enum { SERVICE_PORTS = 5 };
extern const uint16_t service_ports[SERVICE_PORTS];

void services_start(void);
/* The byte with this sequence number in what the connection sends. */
uint8_t services_byte(const struct tcp *connection, uint32_t sequence);
/* Whether the service was told of the connection. */
bool services_has(unsigned index);

#endif
