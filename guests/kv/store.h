/* The keys and their values: a hash table that grows by one bucket at a time. */
#ifndef STORE_H
#define STORE_H

#include "bytes.h"

struct entry {
    struct entry *next;
    uint64_t expires; /* milliseconds since the epoch; 0 is never */
    uint32_t hash;
    uint32_t key_length, value_length;
    uint32_t room; /* for the value */
    uint8_t data[]; /* key, then value */
};

void store_start(uint64_t seed);
/* From now on leaves some memory to requests and replies. */
void store_keep_reserve(void);

/* Bytes of memory in use above which the store does not grow; 0: all that there are. */
void store_set_limit(uint64_t bytes);
uint64_t store_limit(void);

/* What counts as now, in milliseconds since the epoch, for all that follows. */
void store_set_time(uint64_t now);
uint64_t store_time(void);
bool store_expired(const struct entry *entry);

uint32_t store_hash(struct bytes key);

/* NULL if there is none. Removes one that has expired. */
struct entry *store_find(struct bytes key);

/* An entry that is not in the table yet, its value not filled in; NULL if memory is short. */
struct entry *store_new(struct bytes key, size_t value_length, uint64_t expires);
/* Frees an entry that is not in the table. */
void store_drop(struct entry *entry);
/* Puts it into the table, in place of the one with the same key if there is one. */
void store_put(struct entry *entry);
/* Makes `entry`, which is in the table, able to hold such a value; it may move. NULL, and nothing
 * has changed, if memory is short. */
struct entry *store_make_room(struct entry *entry, size_t value_length);
/* Within the room. */
void store_set_length(struct entry *entry, size_t value_length);
void store_set_expiry(struct entry *entry, uint64_t expires);
void store_remove(struct entry *entry);
void store_clear(void);

size_t store_count(void);
size_t store_expiring_count(void);
/* Of all keys and values. */
uint64_t store_bytes(void);

static inline struct bytes entry_key(const struct entry *entry)
{
    return (struct bytes){entry->data, entry->key_length};
}

static inline struct bytes entry_value(const struct entry *entry)
{
    return (struct bytes){entry->data + entry->key_length, entry->value_length};
}

/* Calls `visit`, which may remove the entry, for those of one bucket that lie at or after
 * `position`, expired ones too. Returns the next position, 0 at the end.
 *
 * A position is a hash with its bits reversed. Every bucket holds one unbroken range of these,
 * however often the table has grown since: a walk from 0 on meets each entry that is there all
 * the time, and meets it once. */
typedef void store_visitor(struct entry *entry, void *context);
uint64_t store_walk(uint64_t position, store_visitor *visit, void *context);
enum { STORE_END = 0 };

/* One by chance that has not expired; NULL if there is none. */
struct entry *store_any(void);

/* Removes some of the expired entries: call it now and then. True if there may be more. */
bool store_sweep(void);

#endif
