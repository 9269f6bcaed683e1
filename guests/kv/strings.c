/* Commands that read and write values. */
#include "change.h"
#include "commands.h"
#include "heap.h"
#include "number.h"

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

void command_mset(struct client *client, const struct bytes *arguments, size_t count)
{
    if (count % 2 == 0)
        reply_error(&client->reply, "ERR wrong number of arguments for 'mset' command");
    else if (change_set_all(client, arguments + 1, count - 1))
        reply_ok(&client->reply);
}

struct set_options {
    bool only_new, only_old, keep_expiry, get;
    uint64_t expires;
};

static bool parse_expiry(struct client *client, struct bytes text, int64_t unit, uint64_t *expires)
{
    int64_t number;
    if (!argument_number(client, text, &number))
        return false;
    if (number <= 0 || __builtin_mul_overflow(number, unit, &number) ||
        __builtin_add_overflow(number, (int64_t)store_time(), &number)) {
        reply_error(&client->reply, "ERR invalid expire time in 'set' command");
        return false;
    }
    *expires = (uint64_t)number;
    return true;
}

static bool parse_set(struct client *client, const struct bytes *arguments, size_t count,
                      struct set_options *options)
{
    for (size_t i = 3; i < count; i++) {
        bool seconds = bytes_spell(arguments[i], "EX");
        if ((seconds || bytes_spell(arguments[i], "PX")) && i + 1 < count && !options->expires) {
            if (!parse_expiry(client, arguments[++i], seconds ? 1000 : 1, &options->expires))
                return false;
        } else if (bytes_spell(arguments[i], "NX")) {
            options->only_new = true;
        } else if (bytes_spell(arguments[i], "XX")) {
            options->only_old = true;
        } else if (bytes_spell(arguments[i], "GET")) {
            options->get = true;
        } else if (bytes_spell(arguments[i], "KEEPTTL")) {
            options->keep_expiry = true;
        } else {
            reply_error(&client->reply, "ERR syntax error");
            return false;
        }
    }
    bool conflict = (options->only_new && options->only_old) ||
                    (options->keep_expiry && options->expires);
    if (conflict)
        reply_error(&client->reply, "ERR syntax error");
    return !conflict;
}

static void set_and_get(struct client *client, struct entry *entry, const struct bytes *arguments,
                        uint64_t expires)
{
    struct bytes old = entry_value(entry);
    uint8_t *copy = heap_allocate(old.length);
    if (!copy) {
        reply_error(&client->reply, "OOM no memory for the old value");
        return;
    }
    memcpy(copy, old.at, old.length);
    old.at = copy;
    if (reply_reserve(&client->reply, old.length + REPLY_SMALL) &&
        change_set(client, entry, arguments[1], arguments[2], expires))
        reply_bulk(&client->reply, old);
    heap_free(copy);
}

void command_set(struct client *client, const struct bytes *arguments, size_t count)
{
    struct set_options options = {0};
    if (count > 3 && !parse_set(client, arguments, count, &options))
        return;
    struct entry *entry = store_find(arguments[1]);
    if (entry ? options.only_new : options.only_old) {
        if (entry && options.get)
            reply_value(&client->reply, entry_value(entry));
        else
            reply_nil(&client->reply);
        return;
    }
    uint64_t expires = entry && options.keep_expiry ? entry->expires : options.expires;
    if (entry && options.get)
        set_and_get(client, entry, arguments, expires);
    else if (!change_set(client, entry, arguments[1], arguments[2], expires))
        return;
    else if (options.get)
        reply_nil(&client->reply);
    else
        reply_ok(&client->reply);
}

void command_append(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    struct entry *entry = store_find(arguments[1]);
    struct bytes value = arguments[2];
    size_t length = value.length + (entry ? entry->value_length : 0);
    if (length > VALUE_MAX)
        reply_error(&client->reply, "ERR string exceeds maximum allowed size (1 MiB)");
    else if (entry ? change_append(client, entry, value)
                   : change_set(client, NULL, arguments[1], value, 0))
        reply_integer(&client->reply, (int64_t)length);
}

static void add(struct client *client, struct bytes key, int64_t amount)
{
    struct entry *entry = store_find(key);
    int64_t number = 0;
    if (entry && !argument_number(client, entry_value(entry), &number))
        return;
    if (__builtin_add_overflow(number, amount, &number)) {
        reply_error(&client->reply, "ERR increment or decrement would overflow");
        return;
    }
    char text[NUMBER_MAX];
    struct bytes value = {(const uint8_t *)text, number_print(text, number)};
    if (change_set(client, entry, key, value, entry ? entry->expires : 0))
        reply_integer(&client->reply, number);
}

void command_incr(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    add(client, arguments[1], 1);
}

void command_decr(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    add(client, arguments[1], -1);
}

void command_incrby(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    int64_t amount;
    if (argument_number(client, arguments[2], &amount))
        add(client, arguments[1], amount);
}

void command_decrby(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    int64_t amount;
    if (!argument_number(client, arguments[2], &amount))
        return;
    if (amount == INT64_MIN)
        reply_error(&client->reply, "ERR decrement would overflow");
    else
        add(client, arguments[1], -amount);
}
