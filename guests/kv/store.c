#include "store.h"

#include "expiry.h"
#include "heap.h"
#include "watch.h"

/* Linear hashing: bucket `b` of `buckets` holds the hashes whose low bits are b, as many bits as it
 * takes to count to `buckets`, or one bit less where the bucket with the higher bit set does not
 * exist yet. To grow, the first bucket not yet split hands about half of its entries to a new one
 * at the end. The buckets lie in segments, each as large as all before together. */
enum {
    FIRST_BITS = 8,
    FIRST = 1 << FIRST_BITS,
    BITS_MAX = 30,
    RESERVE = 32 << 20,
    SEGMENTS = BITS_MAX - FIRST_BITS + 2,
};

static struct entry *first_segment[FIRST];
static struct entry **segments[SEGMENTS] = {first_segment};
static uint32_t buckets = FIRST;
static unsigned bits = FIRST_BITS; /* 2^bits <= buckets < 2^(bits + 1) */

static size_t count;
static uint64_t bytes_stored;
static uint64_t hash_seed;
static size_t reserve; /* memory left to requests and replies */
static uint64_t limit;  /* of memory in use; 0: none */
static uint64_t time_now;

static struct entry **bucket_at(uint32_t bucket)
{
    if (bucket < FIRST)
        return &first_segment[bucket];
    unsigned top = 31 - (unsigned)__builtin_clz(bucket);
    return &segments[top - FIRST_BITS + 1][bucket - (1u << top)];
}

static uint32_t low_bits(uint32_t hash, unsigned width)
{
    return hash & ((1u << width) - 1);
}

static uint32_t bucket_of(uint32_t hash)
{
    uint32_t bucket = low_bits(hash, bits + 1);
    return bucket < buckets ? bucket : low_bits(hash, bits);
}

static uint64_t weight(const struct entry *entry)
{
    return entry->key_length + entry->value_length;
}

void store_start(uint64_t seed)
{
    hash_seed = seed;
}

void store_keep_reserve(void)
{
    size_t quarter = heap_total() / 4;
    reserve = quarter < RESERVE ? quarter : RESERVE;
}

void store_set_limit(uint64_t bytes)
{
    limit = bytes;
}

uint64_t store_limit(void)
{
    return limit;
}

void store_set_time(uint64_t now)
{
    time_now = now;
}

uint64_t store_time(void)
{
    return time_now;
}

bool store_expired(const struct entry *entry)
{
    return entry->expires && entry->expires <= time_now;
}

uint32_t store_hash(struct bytes key)
{
    return (uint32_t)hash_bytes(hash_seed, key.at, key.length);
}

static void touch(const struct entry *entry)
{
    watch_touch(entry->hash, entry_key(entry));
}

static struct entry **link_to(uint32_t hash, struct bytes key)
{
    struct entry **link = bucket_at(bucket_of(hash));
    while (*link && ((*link)->hash != hash || !bytes_equal(entry_key(*link), key)))
        link = &(*link)->next;
    return link;
}

static void unlink(struct entry **link)
{
    struct entry *entry = *link;
    touch(entry);
    *link = entry->next;
    expiry_change(entry->expires, 0);
    bytes_stored -= weight(entry);
    count--;
    heap_free(entry);
}

static struct entry **link_of(const struct entry *entry)
{
    struct entry **link = bucket_at(bucket_of(entry->hash));
    while (*link != entry)
        link = &(*link)->next;
    return link;
}

struct entry *store_find(struct bytes key)
{
    struct entry **link = link_to(store_hash(key), key);
    if (*link && store_expired(*link)) {
        unlink(link);
        return NULL;
    }
    return *link;
}

static void *allocate(size_t size)
{
    bool fits = heap_left() >= size + reserve &&
                (!limit || heap_total() - heap_left() + size <= limit);
    return fits ? heap_allocate(size) : NULL;
}

struct entry *store_new(struct bytes key, size_t value_length, uint64_t expires)
{
    struct entry *entry = allocate(sizeof *entry + key.length + value_length);
    if (!entry)
        return NULL;
    *entry = (struct entry){
        .expires = expires,
        .hash = store_hash(key),
        .key_length = (uint32_t)key.length,
        .value_length = (uint32_t)value_length,
        .room = (uint32_t)(heap_usable(entry) - sizeof *entry - key.length),
    };
    memcpy(entry->data, key.at, key.length);
    return entry;
}

void store_drop(struct entry *entry)
{
    heap_free(entry);
}

static void grow(void)
{
    if (bits == BITS_MAX)
        return;
    uint32_t added = buckets;
    if (added == 1u << bits) {
        struct entry ***segment = &segments[bits - FIRST_BITS + 1];
        if (!*segment && !(*segment = allocate(sizeof(struct entry *) << bits)))
            return;
    }
    struct entry **from = bucket_at(low_bits(added, bits)), **to = bucket_at(added);
    *to = NULL;
    while (*from) {
        if (low_bits((*from)->hash, bits + 1) == added) {
            struct entry *entry = *from;
            *from = entry->next;
            entry->next = *to;
            *to = entry;
        } else {
            from = &(*from)->next;
        }
    }
    if (++buckets == 2u << bits)
        bits++;
}

void store_put(struct entry *entry)
{
    struct entry **link = link_to(entry->hash, entry_key(entry));
    if (*link)
        unlink(link);
    touch(entry);
    entry->next = *link;
    *link = entry;
    expiry_change(0, entry->expires);
    bytes_stored += weight(entry);
    if (++count > buckets)
        grow();
}

struct entry *store_make_room(struct entry *entry, size_t value_length)
{
    if (value_length <= entry->room)
        return entry;
    struct entry **link = link_of(entry);
    struct entry *larger = store_new(entry_key(entry), value_length + value_length / 2, 0);
    if (!larger)
        return NULL;
    struct bytes value = entry_value(entry);
    memcpy(larger->data + larger->key_length, value.at, value.length);
    larger->value_length = entry->value_length;
    larger->expires = entry->expires;
    larger->next = entry->next;
    *link = larger;
    heap_free(entry);
    return larger;
}

void store_set_length(struct entry *entry, size_t value_length)
{
    touch(entry);
    bytes_stored += value_length - entry->value_length;
    entry->value_length = (uint32_t)value_length;
}

void store_set_expiry(struct entry *entry, uint64_t expires)
{
    touch(entry);
    expiry_change(entry->expires, expires);
    entry->expires = expires;
}

void store_remove(struct entry *entry)
{
    unlink(link_of(entry));
}

void store_clear(void)
{
    for (uint32_t bucket = 0; bucket < buckets; bucket++)
        while (*bucket_at(bucket))
            unlink(bucket_at(bucket));
    for (unsigned segment = 1; segment < SEGMENTS; segment++) {
        heap_free(segments[segment]);
        segments[segment] = NULL;
    }
    buckets = FIRST;
    bits = FIRST_BITS;
}

size_t store_count(void)
{
    return count;
}

uint64_t store_bytes(void)
{
    return bytes_stored;
}

static uint32_t reverse(uint32_t value)
{
    value = (value >> 1 & 0x55555555) | (value & 0x55555555) << 1;
    value = (value >> 2 & 0x33333333) | (value & 0x33333333) << 2;
    value = (value >> 4 & 0x0f0f0f0f) | (value & 0x0f0f0f0f) << 4;
    return __builtin_bswap32(value);
}

uint64_t store_walk(uint64_t position, store_visitor *visit, void *context)
{
    uint32_t bucket = bucket_of(reverse((uint32_t)position));
    bool split = bucket >= 1u << bits || bucket + (1u << bits) < buckets;
    unsigned depth = bits + split;
    struct entry *next;
    for (struct entry *entry = *bucket_at(bucket); entry; entry = next) {
        next = entry->next;
        if (reverse(entry->hash) >= (uint32_t)position)
            visit(entry, context);
    }
    uint64_t end = ((uint64_t)(uint32_t)position >> (32 - depth)) + 1;
    return (uint32_t)(end << (32 - depth));
}

static void choose(struct entry *entry, void *context)
{
    struct entry **chosen = context;
    if (!store_expired(entry))
        *chosen = entry;
}

static struct entry *first_from(uint64_t position)
{
    struct entry *chosen = NULL;
    do
        position = store_walk(position, choose, &chosen);
    while (!chosen && position != STORE_END);
    return chosen;
}

struct entry *store_any(void)
{
    static uint64_t draws;
    struct entry *entry = first_from((uint32_t)mix(hash_seed + ++draws));
    return entry ? entry : first_from(0);
}
