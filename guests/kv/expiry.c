#include "expiry.h"

#include "store.h"

enum { BUCKETS_PER_SWEEP = 64 };

static size_t expiring;
static uint64_t first = UINT64_MAX;      /* no key expires before this */
static uint64_t next_first = UINT64_MAX; /* of those the sweep has passed */
static uint64_t position;

void expiry_change(uint64_t from, uint64_t to)
{
    expiring += (to != 0) - (from != 0);
    if (to && to < first)
        first = to;
    if (to && to < next_first)
        next_first = to;
}

size_t store_expiring_count(void)
{
    return expiring;
}

static void visit(struct entry *entry, void *context)
{
    (void)context;
    if (store_expired(entry))
        store_remove(entry);
    else if (entry->expires && entry->expires < next_first)
        next_first = entry->expires;
}

bool store_sweep(void)
{
    if (first > store_time())
        return false;
    for (unsigned i = 0; i < BUCKETS_PER_SWEEP; i++) {
        position = store_walk(position, visit, NULL);
        if (position == STORE_END) {
            first = next_first;
            next_first = UINT64_MAX;
            return false;
        }
    }
    return true;
}
