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

static inline struct bytes bytes_of(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

#define LITERAL(TEXT) ((struct bytes){(const uint8_t *)(TEXT), sizeof(TEXT) - 1})

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.length == b.length && !memcmp(a.at, b.at, a.length);
}

static inline uint8_t upper_case(uint8_t c)
{
    return c >= 'a' && c <= 'z' ? (uint8_t)(c - 'a' + 'A') : c;
}

/* As a C string: up to a NUL, or what there is room for. Returns the length. */
static inline size_t bytes_copy(char *to, size_t room, struct bytes text)
{
    size_t length = 0;
    for (; length < text.length && length + 1 < room && text.at[length]; length++)
        to[length] = (char)text.at[length];
    to[length] = '\0';
    return length;
}

/* Letters of both in either case. */
static inline bool bytes_spell(struct bytes text, const char *word)
{
    size_t at = 0;
    for (; at < text.length && word[at]; at++)
        if (upper_case(text.at[at]) != upper_case((uint8_t)word[at]))
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
