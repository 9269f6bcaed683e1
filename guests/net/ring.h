/* What a connection buffers of one direction, in pages of a pool that all connections share: byte
 * `sequence` of the stream lies at `sequence` modulo RING_SIZE. At most RING_ROOM bytes lie in a
 * ring at a time, so that no page holds two stretches of the stream.
 *
 * Two pages are always to be had for every ring. Of those that are to spare, a ring may hold an
 * eighth of what is left: who holds many leaves most of them to the others. */
#ifndef NET_RING_H
#define NET_RING_H

#include <stddef.h>
#include <stdint.h>

enum {
    RING_PAGE = 2048,
    RING_SLOTS = 64,
    RING_SIZE = RING_SLOTS * RING_PAGE,
    RING_ROOM = RING_SIZE - RING_PAGE,
};

struct ring {
    uint32_t start; /* no page of what lies before is held */
    uint16_t held;
    uint16_t pages[RING_SLOTS]; /* 0: none */
};

/* Takes back all pages. */
void ring_start(void);

/* Sees to pages for what lies from `start` to `end`; returns how far there are some. */
uint32_t ring_reserve(struct ring *ring, uint32_t start, uint32_t end);
/* For how many bytes behind `end`, before which all is buffered, ring_reserve would find pages. */
size_t ring_room(const struct ring *ring, uint32_t end);

/* In and out of pages that are there. */
void ring_put(struct ring *ring, uint32_t sequence, const void *data, size_t length);
void ring_get(const struct ring *ring, uint32_t sequence, void *data, size_t length);
/* The bytes at `sequence`, and in *length how many follow one another there at most. */
const uint8_t *ring_at(const struct ring *ring, uint32_t sequence, uint32_t *length);

/* What lies before is of no use any more. */
void ring_drop(struct ring *ring, uint32_t sequence);
/* Nor is anything else; the next byte will be this one. */
void ring_clear(struct ring *ring, uint32_t sequence);

#endif
