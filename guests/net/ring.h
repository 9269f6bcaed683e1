/* Copies in and out of a ring whose size is a power of two, at an offset counted modulo 2^32. */
#ifndef NET_RING_H
#define NET_RING_H

#include <stddef.h>
#include <stdint.h>

#include "memory.h"

static inline void ring_put(uint8_t *ring, size_t size, uint32_t offset, const void *data,
                            size_t length)
{
    size_t start = offset % size;
    size_t first = length < size - start ? length : size - start;
    memcpy(ring + start, data, first);
    memcpy(ring, (const uint8_t *)data + first, length - first);
}

static inline void ring_get(const uint8_t *ring, size_t size, uint32_t offset, void *data,
                            size_t length)
{
    size_t start = offset % size;
    size_t first = length < size - start ? length : size - start;
    memcpy(data, ring + start, first);
    memcpy((uint8_t *)data + first, ring, length - first);
}

#endif
