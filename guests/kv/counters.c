/* Commands that count in values. */
#include "change.h"
#include "commands.h"
#include "extended.h"
#include "number.h"

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

static bool argument_extended(struct client *client, struct bytes text, struct extended *number)
{
    if (extended_parse(text, number))
        return true;
    reply_error(&client->reply, "ERR value is not a valid float");
    return false;
}

void command_incrbyfloat(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    struct entry *entry = store_find(arguments[1]);
    struct extended number = {0}, amount;
    if ((entry && !argument_extended(client, entry_value(entry), &number)) ||
        !argument_extended(client, arguments[2], &amount))
        return;
    bool infinite = number.infinite || amount.infinite;
    if (!infinite)
        number = extended_add(number, amount);
    if (infinite || number.infinite) {
        reply_error(&client->reply, "ERR increment would produce NaN or Infinity");
        return;
    }
    char text[EXTENDED_TEXT_MAX];
    struct bytes value = {(const uint8_t *)text, extended_print(text, number)};
    if (reply_reserve(&client->reply, value.length + REPLY_SMALL) &&
        change_set(client, entry, arguments[1], value, entry ? entry->expires : 0))
        reply_bulk(&client->reply, value);
}
