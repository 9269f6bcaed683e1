#include "ring.h"

#include <stdbool.h>

#include "memory.h"
#include "net.h"

enum {
    OWN = 2, /* pages that each ring may hold: a segment lies in no more */
    SPARE = TCP_CONNECTIONS,
    PAGES = 2 * OWN * TCP_CONNECTIONS + SPARE,
    SHARE = 8, /* a ring may hold one in so many of what is to spare */
};

_Static_assert(PAGES < UINT16_MAX, "pages are numbered from 1 in 16 bits");

static uint8_t pool[PAGES][RING_PAGE];
static uint16_t unused[PAGES]; /* numbers of pages, from 1 */
static uint32_t unused_count, spare;

void ring_start(void)
{
    for (uint16_t i = 0; i < PAGES; i++)
        unused[i] = (uint16_t)(PAGES - i);
    unused_count = PAGES;
    spare = SPARE;
}

static uint32_t slot_of(uint32_t sequence)
{
    return sequence / RING_PAGE % RING_SLOTS;
}

static uint32_t left_in_page(uint32_t sequence)
{
    return RING_PAGE - sequence % RING_PAGE;
}

static uint8_t *place(const struct ring *ring, uint32_t sequence)
{
    return pool[ring->pages[slot_of(sequence)] - 1] + sequence % RING_PAGE;
}

static bool take(struct ring *ring, uint32_t slot)
{
    if (ring->held >= OWN) {
        if (SHARE * (ring->held - OWN + 1u) > spare)
            return false;
        spare--;
    }
    ring->held++;
    ring->pages[slot] = unused[--unused_count];
    return true;
}

static void give_back(struct ring *ring, uint32_t slot)
{
    if (!ring->pages[slot])
        return;
    unused[unused_count++] = ring->pages[slot];
    ring->pages[slot] = 0;
    spare += ring->held > OWN;
    ring->held--;
}

uint32_t ring_reserve(struct ring *ring, uint32_t start, uint32_t end)
{
    uint32_t length = end - start, at = 0;
    while (at < length) {
        uint32_t slot = slot_of(start + at);
        if (!ring->pages[slot] && !take(ring, slot))
            return start + at;
        at += left_in_page(start + at);
    }
    return end;
}

/* How often `take` would succeed, each time with one page more held and one less to spare. */
static uint32_t takes(uint32_t held)
{
    if (held < OWN)
        return OWN - held + takes(OWN);
    uint32_t least = SHARE * (held - OWN + 1);
    return spare < least ? 0 : (spare - least) / (SHARE + 1) + 1;
}

size_t ring_room(const struct ring *ring, uint32_t end)
{
    uint32_t first = left_in_page(end), pages = takes(ring->held);
    if (!ring->pages[slot_of(end)]) {
        if (!pages)
            return 0;
        pages--;
    }
    return first + (size_t)pages * RING_PAGE;
}

void ring_put(struct ring *ring, uint32_t sequence, const void *data, size_t length)
{
    const uint8_t *from = data;
    while (length) {
        size_t part = left_in_page(sequence) < length ? left_in_page(sequence) : length;
        memcpy(place(ring, sequence), from, part);
        sequence += (uint32_t)part;
        from += part;
        length -= part;
    }
}

void ring_get(const struct ring *ring, uint32_t sequence, void *data, size_t length)
{
    uint8_t *to = data;
    while (length) {
        size_t part = left_in_page(sequence) < length ? left_in_page(sequence) : length;
        memcpy(to, place(ring, sequence), part);
        sequence += (uint32_t)part;
        to += part;
        length -= part;
    }
}

const uint8_t *ring_at(const struct ring *ring, uint32_t sequence, uint32_t *length)
{
    *length = left_in_page(sequence);
    return place(ring, sequence);
}

void ring_drop(struct ring *ring, uint32_t sequence)
{
    while (ring->start / RING_PAGE != sequence / RING_PAGE) {
        give_back(ring, slot_of(ring->start));
        ring->start += left_in_page(ring->start);
    }
    ring->start = sequence;
}

void ring_clear(struct ring *ring, uint32_t sequence)
{
    for (uint32_t slot = 0; ring->held && slot < RING_SLOTS; slot++)
        give_back(ring, slot);
    ring->start = sequence;
}
