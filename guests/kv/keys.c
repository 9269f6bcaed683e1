/* Commands about keys. */
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

void command_randomkey(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    const struct entry *entry = store_any();
    if (entry)
        reply_value(&client->reply, entry_key(entry));
    else
        reply_nil(&client->reply);
}

/* False after an error reply, where there is nothing to rename. */
static bool rename(struct client *client, const struct bytes *arguments)
{
    struct entry *entry = store_find(arguments[1]);
    if (!entry)
        reply_error(&client->reply, "ERR no such key");
    return entry && (bytes_equal(arguments[1], arguments[2]) ||
                     change_rename(client, entry, arguments[2]));
}

void command_rename(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    if (rename(client, arguments))
        reply_ok(&client->reply);
}

void command_renamenx(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    bool taken = store_find(arguments[1]) && store_find(arguments[2]);
    if (taken || rename(client, arguments))
        reply_integer(&client->reply, !taken);
}

static bool parse_copy(struct client *client, const struct bytes *arguments, size_t count,
                       bool *replace)
{
    for (size_t i = 3; i < count; i++) {
        if (bytes_spell(arguments[i], "REPLACE")) {
            *replace = true;
        } else if (bytes_spell(arguments[i], "DB") && i + 1 < count) {
            if (!argument_database(client, arguments[++i]))
                return false;
        } else {
            reply_syntax_error(&client->reply);
            return false;
        }
    }
    return true;
}

void command_copy(struct client *client, const struct bytes *arguments, size_t count)
{
    bool replace = false;
    if (!parse_copy(client, arguments, count, &replace))
        return;
    if (bytes_equal(arguments[1], arguments[2])) {
        reply_error(&client->reply, "ERR source and destination objects are the same");
        return;
    }
    const struct entry *from = store_find(arguments[1]);
    struct entry *to = store_find(arguments[2]);
    if (!from || (to && !replace))
        reply_integer(&client->reply, 0);
    else if (change_set(client, to, arguments[2], entry_value(from), from->expires))
        reply_integer(&client->reply, 1);
}

void command_flushall(struct client *client, const struct bytes *arguments, size_t count)
{
    bool how = count == 2 &&
               (bytes_spell(arguments[1], "SYNC") || bytes_spell(arguments[1], "ASYNC"));
    if (count > 1 && !how)
        reply_syntax_error(&client->reply);
    else if (change_clear(client))
        reply_ok(&client->reply);
}
