/* Commands about keys and how long they live. */
#include "change.h"
#include "commands.h"

void command_del(struct client *client, const struct bytes *arguments, size_t count)
{
    int64_t removed = 0;
    for (size_t i = 1; i < count; i++) {
        struct entry *entry = store_find(arguments[i]);
        if (entry && !change_remove(client, entry))
            return;
        removed += entry != NULL;
    }
    reply_integer(&client->reply, removed);
}

void command_exists(struct client *client, const struct bytes *arguments, size_t count)
{
    int64_t found = 0;
    for (size_t i = 1; i < count; i++)
        found += store_find(arguments[i]) != NULL;
    reply_integer(&client->reply, found);
}

void command_type(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    reply_text(&client->reply, store_find(arguments[1]) ? "+string\r\n" : "+none\r\n");
}

static void expire(struct client *client, const struct bytes *arguments, int64_t unit)
{
    int64_t time;
    if (!argument_number(client, arguments[2], &time))
        return;
    if (__builtin_mul_overflow(time, unit, &time) ||
        __builtin_add_overflow(time, (int64_t)store_time(), &time)) {
        reply_error(&client->reply, "ERR invalid expire time in '%s' command",
                    unit == 1 ? "pexpire" : "expire");
        return;
    }
    struct entry *entry = store_find(arguments[1]);
    bool past = time <= (int64_t)store_time();
    if (!entry)
        reply_integer(&client->reply, 0);
    else if (past ? change_remove(client, entry) : change_expiry(client, entry, (uint64_t)time))
        reply_integer(&client->reply, 1);
}

void command_expire(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    expire(client, arguments, 1000);
}

void command_pexpire(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    expire(client, arguments, 1);
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

/* -2: no such key; -1: it never expires. */
static void time_left(struct client *client, struct bytes key, uint64_t unit)
{
    const struct entry *entry = store_find(key);
    if (!entry)
        reply_integer(&client->reply, -2);
    else if (!entry->expires)
        reply_integer(&client->reply, -1);
    else
        reply_integer(&client->reply,
                      (int64_t)((entry->expires - store_time() + unit / 2) / unit));
}

void command_ttl(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    time_left(client, arguments[1], 1000);
}

void command_pttl(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    time_left(client, arguments[1], 1);
}

void command_flushall(struct client *client, const struct bytes *arguments, size_t count)
{
    bool how = count == 2 &&
               (bytes_spell(arguments[1], "SYNC") || bytes_spell(arguments[1], "ASYNC"));
    if (count > 1 && !how)
        reply_error(&client->reply, "ERR syntax error");
    else if (change_clear(client))
        reply_ok(&client->reply);
}
