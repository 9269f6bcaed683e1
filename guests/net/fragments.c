#include "fragments.h"

#include "counters.h"
#include "memory.h"

enum {
    PARTIALS = 16,
    LONGEST = UINT16_MAX - 20, /* bytes of a packet without its header */
    BLOCK = 8,
    WORD = 64, /* blocks */
};

#define LIFETIME (60 * 1000000000ull) /* ns (RFC 1122 3.3.2) */

static struct partial {
    uint32_t from; /* 0: free */
    uint16_t id;
    uint8_t protocol;
    uint64_t begun, order; /* when, and after how many others */
    size_t end;     /* of the packet; 0: not known yet */
    size_t highest; /* end of what was received */
    size_t received;
    uint64_t blocks[LONGEST / BLOCK / WORD + 1]; /* received */
    uint8_t data[LONGEST + BLOCK];
} partials[PARTIALS];
static uint64_t packets;

void fragments_start(void)
{
    for (struct partial *at = partials; at < partials + PARTIALS; at++)
        at->from = 0;
}

static bool is_live(const struct partial *partial)
{
    return partial->from && net_now() - partial->begun < LIFETIME;
}

static struct partial *partial_of(const struct packet *packet, uint16_t id)
{
    struct partial *unused = partials;
    for (struct partial *at = partials; at < partials + PARTIALS; at++) {
        if (is_live(at) && at->from == packet->from && at->id == id &&
            at->protocol == packet->protocol)
            return at;
        if (!at->from || (unused->from && at->order < unused->order))
            unused = at;
    }
    memset(unused, 0, offsetof(struct partial, data));
    unused->from = packet->from;
    unused->id = id;
    unused->protocol = packet->protocol;
    unused->begun = net_now();
    unused->order = packets++;
    return unused;
}

/* Marks the blocks as received; returns how many were before. */
static size_t mark(struct partial *partial, size_t first, size_t count)
{
    size_t known = 0;
    for (size_t block = first; block < first + count; block++) {
        uint64_t *word = &partial->blocks[block / WORD], bit = 1ull << block % WORD;
        known += !!(*word & bit);
        *word |= bit;
    }
    return known;
}

/* Whether the packet can end where this fragment and those before say. */
static bool agrees(struct partial *partial, size_t end, bool more)
{
    if (end > partial->highest)
        partial->highest = end;
    if (!more && !partial->end)
        partial->end = end;
    return !partial->end || (partial->highest <= partial->end && (more || end == partial->end));
}

bool fragments_add(struct packet *packet, uint16_t id, size_t offset, bool more)
{
    size_t end = offset + packet->length, count = (packet->length + BLOCK - 1) / BLOCK;
    if (!count || end > LONGEST || (more && packet->length % BLOCK)) {
        counters.bad_header++;
        return false;
    }
    struct partial *partial = partial_of(packet, id);
    size_t known = mark(partial, offset / BLOCK, count);
    if ((known && known != count) || !agrees(partial, end, more)) {
        counters.fragment++;
        partial->from = 0;
        return false;
    }
    if (!known) {
        memcpy(partial->data + offset, packet->data, packet->length);
        partial->received += packet->length;
    }
    if (partial->received != partial->end)
        return false;
    partial->from = 0;
    packet->data = partial->data;
    packet->length = partial->end;
    return true;
}
