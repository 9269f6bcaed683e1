/* Changes of the store, journal and memory limits included. Each is made altogether or not at all:
 * false after an error reply. */
#ifndef CHANGE_H
#define CHANGE_H

#include "client.h"
#include "store.h"

/* `entry` is what store_find says of the key, if not NULL. */
bool change_set(struct client *client, struct entry *entry, struct bytes key, struct bytes value,
                uint64_t expires);
/* Keys and values in turn. */
bool change_set_all(struct client *client, const struct bytes *pairs, size_t count);
bool change_append(struct client *client, struct entry *entry, struct bytes value);
bool change_expiry(struct client *client, struct entry *entry, uint64_t expires);
bool change_remove(struct client *client, struct entry *entry);
/* To another key, in place of what it holds. */
bool change_rename(struct client *client, struct entry *entry, struct bytes key);
bool change_clear(struct client *client);

#endif
