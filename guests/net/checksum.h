/* The Internet checksum (RFC 1071). */
#ifndef NET_CHECKSUM_H
#define NET_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Adds to a sum that starts at 0. All stretches but the last have an even length. */
uint64_t checksum_add(uint64_t sum, const void *data, size_t length);
/* As it goes into a header; 0 for data that contains its own right checksum. */
uint16_t checksum_end(uint64_t sum);

#endif
