#ifndef HASH_H
#define HASH_H

#include <stddef.h>
#include <stdint.h>

#define FNV1A_START 0xcbf29ce484222325u

/* FNV-1a, 64 bits; chain calls by passing the last result as `hash`. */
static inline uint64_t fnv1a(uint64_t hash, const void *data, size_t length)
{
    const uint8_t *at = data;
    while (length--)
        hash = (hash ^ *at++) * 0x100000001b3u;
    return hash;
}

static inline uint64_t rotate(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

/* A bijection that spreads every bit of the input over the result. */
static inline uint64_t mix(uint64_t value)
{
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
    value = (value ^ value >> 27) * 0x94d049bb133111ebu;
    return value ^ value >> 31;
}

#endif
