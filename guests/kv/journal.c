#include "journal.h"

#include "console.h"
#include "heap.h"
#include "log.h"
#include "request.h"
#include "runtime.h"
#include "store.h"

/* The checksum covers the record before by way of that one's checksum: what is left on the disk of
 * earlier times cannot continue the chain. */
struct record {
    uint64_t checksum; /* of all that follows, key and value included */
    uint64_t sequence;
    uint64_t expires;
    uint32_t value_length;
    uint32_t key_length : 24, kind : 8;
};
_Static_assert(sizeof(struct record) == 32, "record");

static const struct bytes none;

static bool active;
static uint64_t chain, sequence;
static bool together; /* between journal_begin and journal_end ... */
static bool any;      /* ... and there are records */

static uint64_t checksum_of(const struct record *record, struct bytes key, struct bytes value)
{
    uint64_t hash = hash_bytes(chain, &record->sequence, sizeof *record - sizeof record->checksum);
    hash = hash_bytes(hash, key.at, key.length);
    return hash_bytes(hash, value.at, value.length);
}

void journal_write(unsigned kind, struct bytes key, struct bytes value, uint64_t expires)
{
    if (!active)
        return;
    if (together)
        kind |= RECORD_MORE;
    any = true;
    struct record record = {
        .sequence = ++sequence,
        .expires = expires,
        .value_length = (uint32_t)value.length,
        .key_length = key.length & 0xffffff,
        .kind = kind & 0xff,
    };
    record.checksum = chain = checksum_of(&record, key, value);
    log_append(&record, sizeof record);
    log_append(key.at, key.length);
    log_append(value.at, value.length);
}

static void write_entry(struct entry *entry, void *context)
{
    (void)context;
    if (store_expired(entry))
        store_remove(entry);
    else
        journal_write(RECORD_SET, entry_key(entry), entry_value(entry), entry->expires);
}

/* Becomes valid when it is committed. */
static void write_anew(void)
{
    log_replace();
    chain = log_seed();
    sequence = 0;
    uint64_t position = 0;
    do
        position = store_walk(position, write_entry, NULL);
    while (position != STORE_END);
}

/* What the log would hold if it were written anew. */
static uint64_t live_bytes(void)
{
    return store_count() * sizeof(struct record) + store_bytes();
}

static bool make_room(uint64_t size)
{
    size += sizeof(struct record); /* of RECORD_END */
    if (log_position() + size > log_capacity())
        write_anew();
    return log_position() + size <= log_capacity();
}

/* An eighth of the log stays free of live data: so a deletion always has room, and writing the log
 * anew always gains enough to be worth it. */
bool journal_reserve(size_t records, uint64_t bytes)
{
    uint64_t size = records * sizeof(struct record) + bytes;
    return !active || (live_bytes() + size <= log_capacity() / 8 * 7 && make_room(size));
}

bool journal_record(enum record_kind kind, struct bytes key, struct bytes value, uint64_t expires)
{
    uint64_t bytes = key.length + value.length;
    bool grows = kind == RECORD_SET || kind == RECORD_APPEND;
    if (active && !(grows ? journal_reserve(1, bytes) : make_room(sizeof(struct record) + bytes)))
        return false;
    journal_write(kind, key, value, expires);
    return true;
}

void journal_begin(void)
{
    together = true;
    any = false;
}

void journal_end(void)
{
    together = false;
    if (any)
        journal_write(RECORD_END, none, none, 0);
}

void journal_commit(void)
{
    if (active)
        log_commit();
}

bool journal_active(void)
{
    return active;
}

_Noreturn static void refuse(const char *why)
{
    print("kv: record %lu of the log %s\n", sequence, why);
    guest_exit(1);
}

static void set(struct bytes key, struct bytes value, uint64_t expires)
{
    struct entry *entry = store_new(key, value.length, expires);
    if (!entry)
        refuse("does not fit into memory");
    memcpy(entry->data + key.length, value.at, value.length);
    store_put(entry);
}

static void append(struct entry *entry, struct bytes value)
{
    size_t old = entry->value_length;
    entry = store_make_room(entry, old + value.length);
    if (!entry)
        refuse("does not fit into memory");
    memcpy(entry->data + entry->key_length + old, value.at, value.length);
    store_set_length(entry, old + value.length);
}

static void apply(unsigned kind, struct bytes key, struct bytes value, uint64_t expires)
{
    if (kind == RECORD_SET)
        set(key, value, expires);
    if (kind == RECORD_CLEAR)
        store_clear();
    if (kind != RECORD_APPEND && kind != RECORD_EXPIRE && kind != RECORD_DELETE)
        return;
    struct entry *entry = store_find(key);
    if (!entry)
        refuse("changes a key that does not exist");
    if (kind == RECORD_APPEND)
        append(entry, value);
    else if (kind == RECORD_EXPIRE)
        store_set_expiry(entry, expires);
    else
        store_remove(entry);
}

/* False if no whole record follows. */
static bool read_record(struct record *record, uint8_t *payload)
{
    if (!log_read(record, sizeof *record) || record->sequence != sequence + 1 ||
        record->key_length > KEY_MAX || record->value_length > VALUE_MAX ||
        !log_read(payload, record->key_length + record->value_length))
        return false;
    struct bytes key = {payload, record->key_length};
    struct bytes value = {payload + key.length, record->value_length};
    if (record->checksum != checksum_of(record, key, value))
        return false;
    chain = record->checksum;
    sequence = record->sequence;
    return true;
}

static void rewind(void)
{
    log_rewind();
    chain = log_seed();
    sequence = 0;
}

/* The number of records up to the last that counts. */
static uint64_t count_records(uint8_t *payload)
{
    struct record record;
    uint64_t count = 0;
    rewind();
    while (read_record(&record, payload))
        if (!(record.kind & RECORD_MORE))
            count = sequence;
    return count;
}

/* Returns where the log goes on. */
static uint64_t replay(void)
{
    uint8_t *payload = heap_allocate(KEY_MAX + VALUE_MAX);
    if (!payload)
        refuse("does not fit into memory");
    struct record record;
    uint64_t position = 0, count = count_records(payload);
    rewind();
    while (sequence < count && read_record(&record, payload)) {
        struct bytes key = {payload, record.key_length};
        struct bytes value = {payload + key.length, record.value_length};
        apply(record.kind & ~(unsigned)RECORD_MORE, key, value, record.expires);
        position += sizeof record + key.length + value.length;
    }
    heap_free(payload);
    return position;
}

/* Time stands still while records are read: a key that has expired by now may have been given more
 * time, or a new value, by a later record. */
void journal_start(uint64_t handle, uint64_t disk_size, uint64_t salt)
{
    store_set_time(0);
    log_open(handle, disk_size, salt);
    log_continue_at(replay());
    print("kv: disk: %lu records, %lu of %lu bytes\n", sequence, log_position(), log_capacity());
    active = true;
    struct bytes mark = {(const uint8_t *)&salt, sizeof salt};
    if (!make_room(sizeof(struct record) + mark.length))
        refuse("leaves no room on the disk");
    journal_write(RECORD_START, none, mark, 0);
    log_commit();
}
