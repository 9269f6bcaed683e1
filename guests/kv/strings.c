/* Commands that read values, or parts of them, and that write parts or several. */
#include "change.h"
#include "commands.h"
#include "heap.h"

void command_get(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    const struct entry *entry = store_find(arguments[1]);
    if (entry)
        reply_value(&client->reply, entry_value(entry));
    else
        reply_nil(&client->reply);
}

void command_strlen(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    const struct entry *entry = store_find(arguments[1]);
    reply_integer(&client->reply, entry ? entry->value_length : 0);
}

/* Both ends of a range are positions, those below 0 from the end on. */
static struct bytes range(struct bytes value, int64_t start, int64_t end)
{
    int64_t length = (int64_t)value.length;
    if (start < 0 && end < 0 && start > end)
        return LITERAL("");
    if (start < 0)
        start = start + length < 0 ? 0 : start + length;
    if (end < 0)
        end = end + length < 0 ? 0 : end + length;
    if (end >= length)
        end = length - 1;
    if (start > end || !length)
        return LITERAL("");
    return (struct bytes){value.at + start, (size_t)(end - start + 1)};
}

void command_getrange(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    int64_t start, end;
    if (!argument_number(client, arguments[2], &start) ||
        !argument_number(client, arguments[3], &end))
        return;
    const struct entry *entry = store_find(arguments[1]);
    reply_value(&client->reply, entry ? range(entry_value(entry), start, end) : LITERAL(""));
}

void command_mget(struct client *client, const struct bytes *arguments, size_t count)
{
    size_t size = REPLY_HEAD_MAX;
    for (size_t i = 1; i < count; i++) {
        const struct entry *entry = store_find(arguments[i]);
        size += REPLY_HEAD_MAX + (entry ? entry->value_length : 0);
    }
    if (!reply_reserve(&client->reply, size))
        return;
    reply_array(&client->reply, count - 1);
    for (size_t i = 1; i < count; i++) {
        const struct entry *entry = store_find(arguments[i]);
        if (entry)
            reply_bulk(&client->reply, entry_value(entry));
        else
            reply_nil(&client->reply);
    }
}

static bool pairs(struct client *client, size_t count)
{
    if (count % 2 == 0)
        reply_error(&client->reply, "ERR wrong number of arguments for '%s' command",
                    client->command->name);
    return count % 2;
}

void command_mset(struct client *client, const struct bytes *arguments, size_t count)
{
    if (pairs(client, count) && change_set_all(client, arguments + 1, count - 1))
        reply_ok(&client->reply);
}

void command_msetnx(struct client *client, const struct bytes *arguments, size_t count)
{
    if (!pairs(client, count))
        return;
    bool found = false;
    for (size_t i = 1; i < count; i += 2)
        found |= store_find(arguments[i]) != NULL;
    if (found || change_set_all(client, arguments + 1, count - 1))
        reply_integer(&client->reply, !found);
}

static bool length_fits(struct client *client, uint64_t length)
{
    if (length > VALUE_MAX)
        reply_error(&client->reply, "ERR string exceeds maximum allowed size (1 MiB)");
    return length <= VALUE_MAX;
}

void command_append(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    struct entry *entry = store_find(arguments[1]);
    struct bytes value = arguments[2];
    size_t length = value.length + (entry ? entry->value_length : 0);
    if (length_fits(client, length) && (entry ? change_append(client, entry, value)
                                              : change_set(client, NULL, arguments[1], value, 0)))
        reply_integer(&client->reply, (int64_t)length);
}

/* Zeros lie between the end of the old value and the offset. */
static void overwrite(struct client *client, struct bytes key, size_t offset, struct bytes part)
{
    struct entry *entry = store_find(key);
    struct bytes old = entry ? entry_value(entry) : LITERAL("");
    size_t end = offset + part.length, length = end > old.length ? end : old.length;
    uint8_t *value = heap_allocate(length);
    if (!value) {
        reply_error(&client->reply, "OOM no memory for the new value");
        return;
    }
    memcpy(value, old.at, old.length);
    memset(value + old.length, 0, length - old.length);
    memcpy(value + offset, part.at, part.length);
    if (change_set(client, entry, key, (struct bytes){value, length}, entry ? entry->expires : 0))
        reply_integer(&client->reply, (int64_t)length);
    heap_free(value);
}

void command_setrange(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    int64_t offset;
    if (!argument_number(client, arguments[2], &offset))
        return;
    if (offset < 0)
        reply_error(&client->reply, "ERR offset is out of range");
    else if (!arguments[3].length)
        command_strlen(client, arguments, count);
    else if (length_fits(client, (uint64_t)offset + arguments[3].length))
        overwrite(client, arguments[1], (size_t)offset, arguments[3]);
}
