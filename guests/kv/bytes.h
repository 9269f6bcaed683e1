/* A stretch of bytes somewhere else, and a hash of it. */
#ifndef BYTES_H
#define BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "memory.h"

struct bytes {
    const uint8_t *at;
    size_t length;
};

#define LITERAL(TEXT) ((struct bytes){(const uint8_t *)(TEXT), sizeof(TEXT) - 1})

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.length == b.length && !memcmp(a.at, b.at, a.length);
}

static inline uint8_t upper_case(uint8_t c)
{
    return c >= 'a' && c <= 'z' ? (uint8_t)(c - 'a' + 'A') : c;
}

/* `word` in capitals; letters of `text` in either case. */
static inline bool bytes_spell(struct bytes text, const char *word)
{
    size_t at = 0;
    for (; at < text.length && word[at]; at++)
        if (upper_case(text.at[at]) != (uint8_t)word[at])
            return false;
    return at == text.length && !word[at];
}

/* Eight bytes a step; chain calls by passing the last result as `seed`. */
static inline uint64_t hash_bytes(uint64_t seed, const void *data, size_t length)
{
    const uint8_t *at = data;
    uint64_t hash = mix(seed + length), word;
    for (; length >= sizeof word; length -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        hash = mix(hash ^ word);
    }
    word = 0;
    while (length--)
        word = word << 8 | at[length];
    return mix(hash ^ word);
}

#endif
