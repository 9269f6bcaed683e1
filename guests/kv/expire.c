/* Commands about how long keys live. */
#include "change.h"
#include "commands.h"
#include "lifetime.h"

enum condition {
    ONLY_NEW = 1, /* NX: it has no end yet */
    ONLY_OLD = 2, /* XX: it has one */
    GREATER = 4,
    LESS = 8,
};

static bool parse_conditions(struct client *client, const struct bytes *arguments, size_t count,
                             unsigned *conditions)
{
    static const char *const names[] = {"NX", "XX", "GT", "LT"};
    *conditions = 0;
    for (size_t i = 3; i < count; i++) {
        unsigned which = 0;
        while (which < 4 && !bytes_spell(arguments[i], names[which]))
            which++;
        if (which == 4) {
            reply_error_about(&client->reply, "ERR Unsupported option %s", arguments[i]);
            return false;
        }
        *conditions |= 1u << which;
    }
    const char *conflict = NULL;
    if (*conditions & ONLY_NEW && *conditions & ~(unsigned)ONLY_NEW)
        conflict = "NX and XX, GT or LT";
    else if (*conditions & GREATER && *conditions & LESS)
        conflict = "GT and LT";
    if (conflict)
        reply_error(&client->reply, "ERR %s options at the same time are not compatible",
                    conflict);
    return !conflict;
}

/* Without an end a key lives longer than with any. */
static bool holds(unsigned conditions, uint64_t now, int64_t new)
{
    bool less = !now || new < (int64_t)now, greater = now && new > (int64_t)now;
    return !((conditions & ONLY_NEW && now) || (conditions & ONLY_OLD && !now) ||
             (conditions & GREATER && !greater) || (conditions & LESS && !less));
}

static void expire(struct client *client, const struct bytes *arguments, size_t count,
                   int64_t unit, int64_t base)
{
    unsigned conditions;
    int64_t number, time;
    if (!parse_conditions(client, arguments, count, &conditions) ||
        !argument_number(client, arguments[2], &number) ||
        !lifetime_end(client, number, unit, base, &time))
        return;
    struct entry *entry = store_find(arguments[1]);
    bool past = time <= (int64_t)store_time();
    if (!entry || !holds(conditions, entry->expires, time))
        reply_integer(&client->reply, 0);
    else if (past ? change_remove(client, entry) : change_expiry(client, entry, (uint64_t)time))
        reply_integer(&client->reply, 1);
}

void command_expire(struct client *client, const struct bytes *arguments, size_t count)
{
    expire(client, arguments, count, 1000, (int64_t)store_time());
}

void command_pexpire(struct client *client, const struct bytes *arguments, size_t count)
{
    expire(client, arguments, count, 1, (int64_t)store_time());
}

void command_expireat(struct client *client, const struct bytes *arguments, size_t count)
{
    expire(client, arguments, count, 1000, 0);
}

void command_pexpireat(struct client *client, const struct bytes *arguments, size_t count)
{
    expire(client, arguments, count, 1, 0);
}

void command_persist(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    struct entry *entry = store_find(arguments[1]);
    if (!entry || !entry->expires)
        reply_integer(&client->reply, 0);
    else if (change_expiry(client, entry, 0))
        reply_integer(&client->reply, 1);
}

/* From `base` on, rounded. -2: no such key; -1: it never expires. */
static void tell_end(struct client *client, struct bytes key, uint64_t unit, uint64_t base)
{
    const struct entry *entry = store_find(key);
    if (!entry)
        reply_integer(&client->reply, -2);
    else if (!entry->expires)
        reply_integer(&client->reply, -1);
    else
        reply_integer(&client->reply, (int64_t)((entry->expires - base + unit / 2) / unit));
}

void command_ttl(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    tell_end(client, arguments[1], 1000, store_time());
}

void command_pttl(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    tell_end(client, arguments[1], 1, store_time());
}

void command_expiretime(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    tell_end(client, arguments[1], 1000, 0);
}

void command_pexpiretime(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    tell_end(client, arguments[1], 1, 0);
}
