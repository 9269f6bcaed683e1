/* Commands that give a key a value or a time to live, and those that tell what it had before. */
#include "change.h"
#include "commands.h"
#include "heap.h"
#include "lifetime.h"

struct options {
    bool only_new, only_old, get;    /* of SET */
    bool keep_expiry, never_expires; /* KEEPTTL of SET, PERSIST of GETEX */
    const struct expiry_option *expiry;
    struct bytes time;
};

/* Takes the option that says when the key expires, and the next argument. */
static bool take_expiry(struct options *options, const struct bytes *arguments, size_t left)
{
    if (left < 2 || options->keep_expiry || options->never_expires)
        return false;
    const struct expiry_option *option = lifetime_option(arguments[0]);
    if (!option || (options->expiry && options->expiry != option))
        return false;
    options->expiry = option;
    options->time = arguments[1];
    return true;
}

static bool take_set_option(struct options *options, struct bytes text)
{
    if (bytes_spell(text, "NX") && !options->only_old)
        options->only_new = true;
    else if (bytes_spell(text, "XX") && !options->only_new)
        options->only_old = true;
    else if (bytes_spell(text, "GET"))
        options->get = true;
    else if (bytes_spell(text, "KEEPTTL") && !options->expiry)
        options->keep_expiry = true;
    else
        return false;
    return true;
}

static bool take_getex_option(struct options *options, struct bytes text)
{
    options->never_expires = bytes_spell(text, "PERSIST") && !options->expiry;
    return options->never_expires;
}

typedef bool option_taker(struct options *options, struct bytes text);

static bool parse(struct client *client, const struct bytes *arguments, size_t count,
                  option_taker *take, struct options *options)
{
    for (size_t i = 0; i < count; i++) {
        if (take_expiry(options, arguments + i, count - i)) {
            i++;
        } else if (!take(options, arguments[i])) {
            reply_syntax_error(&client->reply);
            return false;
        }
    }
    return true;
}

/* A copy of the value that outlives its entry, and room to reply it; NULL after an error reply. */
static uint8_t *keep(struct client *client, struct bytes value)
{
    uint8_t *copy = heap_allocate(value.length);
    if (!copy)
        reply_error(&client->reply, "OOM no memory for the old value");
    else if (reply_reserve(&client->reply, value.length + REPLY_SMALL))
        return memcpy(copy, value.at, value.length);
    heap_free(copy);
    return NULL;
}

/* Replies the old value. */
static void set_and_get(struct client *client, struct entry *entry, const struct bytes *key,
                        struct bytes value, uint64_t expires)
{
    struct bytes old = entry ? entry_value(entry) : LITERAL("");
    uint8_t *copy = keep(client, old);
    if (!copy)
        return;
    if (change_set(client, entry, *key, value, expires)) {
        if (entry)
            reply_bulk(&client->reply, (struct bytes){copy, old.length});
        else
            reply_nil(&client->reply);
    }
    heap_free(copy);
}

void command_set(struct client *client, const struct bytes *arguments, size_t count)
{
    struct options options = {0};
    uint64_t expires = 0;
    if (!parse(client, arguments + 3, count - 3, take_set_option, &options) ||
        (options.expiry && !lifetime_parse(client, options.expiry, options.time, &expires)))
        return;
    struct entry *entry = store_find(arguments[1]);
    if (entry ? options.only_new : options.only_old) {
        if (entry && options.get)
            reply_value(&client->reply, entry_value(entry));
        else
            reply_nil(&client->reply);
        return;
    }
    if (entry && options.keep_expiry)
        expires = entry->expires;
    if (options.get)
        set_and_get(client, entry, &arguments[1], arguments[2], expires);
    else if (change_set(client, entry, arguments[1], arguments[2], expires))
        reply_ok(&client->reply);
}

void command_getset(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    set_and_get(client, store_find(arguments[1]), &arguments[1], arguments[2], 0);
}

void command_setnx(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    bool found = store_find(arguments[1]);
    if (found || change_set(client, NULL, arguments[1], arguments[2], 0))
        reply_integer(&client->reply, !found);
}

static void set_for(struct client *client, const struct bytes *arguments, struct bytes option)
{
    uint64_t expires;
    if (lifetime_parse(client, lifetime_option(option), arguments[2], &expires) &&
        change_set(client, store_find(arguments[1]), arguments[1], arguments[3], expires))
        reply_ok(&client->reply);
}

void command_setex(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    set_for(client, arguments, LITERAL("EX"));
}

void command_psetex(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    set_for(client, arguments, LITERAL("PX"));
}

/* Replies the value of an entry that may be gone afterwards. */
static void get_and_remove(struct client *client, struct entry *entry)
{
    struct bytes value = entry_value(entry);
    uint8_t *copy = keep(client, value);
    if (copy && change_remove(client, entry))
        reply_bulk(&client->reply, (struct bytes){copy, value.length});
    heap_free(copy);
}

void command_getdel(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    struct entry *entry = store_find(arguments[1]);
    if (entry)
        get_and_remove(client, entry);
    else
        reply_nil(&client->reply);
}

void command_getex(struct client *client, const struct bytes *arguments, size_t count)
{
    struct options options = {0};
    uint64_t expires = 0;
    if (!parse(client, arguments + 2, count - 2, take_getex_option, &options))
        return;
    struct entry *entry = store_find(arguments[1]);
    if (!entry) {
        reply_nil(&client->reply);
        return;
    }
    if (options.expiry && !lifetime_parse(client, options.expiry, options.time, &expires))
        return;
    bool changes = options.expiry || (options.never_expires && entry->expires);
    if (options.expiry && expires <= store_time())
        get_and_remove(client, entry);
    else if (reply_reserve(&client->reply, entry->value_length + REPLY_SMALL) &&
             (!changes || change_expiry(client, entry, expires)))
        reply_bulk(&client->reply, entry_value(entry));
}
