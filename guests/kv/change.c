#include "change.h"

#include "journal.h"

static const struct bytes none;

static bool no_memory(struct client *client)
{
    reply_error(&client->reply, "OOM command not allowed when used memory is at its limit");
    return false;
}

static bool no_disk(struct client *client)
{
    reply_error(&client->reply, "ERR the disk is full: no more writes");
    return false;
}

static void fill(struct entry *entry, struct bytes value)
{
    memcpy(entry->data + entry->key_length, value.at, value.length);
}

static bool key_fits(struct client *client, struct bytes key)
{
    if (key.length > KEY_MAX)
        reply_error(&client->reply, "ERR key exceeds maximum allowed size (64 KiB)");
    return key.length <= KEY_MAX;
}

/* Neither too small for the value nor a waste of memory. */
static bool fits(const struct entry *entry, struct bytes value)
{
    return value.length <= entry->room && entry->room / 2 <= value.length + 32;
}

static bool set_in_place(struct client *client, struct entry *entry, struct bytes value,
                         uint64_t expires)
{
    if (!journal_record(RECORD_SET, entry_key(entry), value, expires))
        return no_disk(client);
    fill(entry, value);
    store_set_length(entry, value.length);
    store_set_expiry(entry, expires);
    return true;
}

bool change_set(struct client *client, struct entry *entry, struct bytes key, struct bytes value,
                uint64_t expires)
{
    if (entry && fits(entry, value))
        return set_in_place(client, entry, value, expires);
    if (!key_fits(client, key))
        return false;
    struct entry *new = store_new(key, value.length, expires);
    if (!new)
        return no_memory(client);
    if (!journal_record(RECORD_SET, key, value, expires)) {
        store_drop(new);
        return no_disk(client);
    }
    fill(new, value);
    store_put(new);
    return true;
}

static void drop_all(struct entry *list)
{
    for (struct entry *next; list; list = next) {
        next = list->next;
        store_drop(list);
    }
}

bool change_set_all(struct client *client, const struct bytes *pairs, size_t count)
{
    struct entry *first = NULL, **last = &first;
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i += 2)
        if (!key_fits(client, pairs[i]))
            return false;
    for (size_t i = 0; i < count; i += 2) {
        *last = store_new(pairs[i], pairs[i + 1].length, 0);
        if (!*last) {
            drop_all(first);
            return no_memory(client);
        }
        fill(*last, pairs[i + 1]);
        last = &(*last)->next;
        bytes += pairs[i].length + pairs[i + 1].length;
    }
    if (!journal_reserve(count / 2, bytes)) {
        drop_all(first);
        return no_disk(client);
    }
    for (struct entry *next; first; first = next) {
        next = first->next;
        journal_write(next ? RECORD_SET | RECORD_MORE : RECORD_SET, entry_key(first),
                      entry_value(first), 0);
        store_put(first);
    }
    return true;
}

bool change_append(struct client *client, struct entry *entry, struct bytes value)
{
    size_t old = entry->value_length;
    entry = store_make_room(entry, old + value.length);
    if (!entry)
        return no_memory(client);
    if (!journal_record(RECORD_APPEND, entry_key(entry), value, entry->expires))
        return no_disk(client);
    memcpy(entry->data + entry->key_length + old, value.at, value.length);
    store_set_length(entry, old + value.length);
    return true;
}

bool change_expiry(struct client *client, struct entry *entry, uint64_t expires)
{
    if (!journal_record(RECORD_EXPIRE, entry_key(entry), none, expires))
        return no_disk(client);
    store_set_expiry(entry, expires);
    return true;
}

bool change_remove(struct client *client, struct entry *entry)
{
    if (!journal_record(RECORD_DELETE, entry_key(entry), none, 0))
        return no_disk(client);
    store_remove(entry);
    return true;
}

bool change_rename(struct client *client, struct entry *entry, struct bytes key)
{
    struct bytes value = entry_value(entry);
    if (!key_fits(client, key))
        return false;
    struct entry *new = store_new(key, value.length, entry->expires);
    if (!new)
        return no_memory(client);
    if (!journal_reserve(2, key.length + value.length + entry->key_length)) {
        store_drop(new);
        return no_disk(client);
    }
    journal_write(RECORD_SET | RECORD_MORE, key, value, entry->expires);
    journal_write(RECORD_DELETE, entry_key(entry), none, 0);
    fill(new, value);
    store_put(new);
    store_remove(entry);
    return true;
}

bool change_clear(struct client *client)
{
    if (!journal_record(RECORD_CLEAR, none, none, 0))
        return no_disk(client);
    store_clear();
    return true;
}
