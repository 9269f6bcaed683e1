#include "lifetime.h"

#include "commands.h"
#include "store.h"

const struct expiry_option *lifetime_option(struct bytes text)
{
    static const struct expiry_option options[] = {
        {"EX", 1000, false},
        {"PX", 1, false},
        {"EXAT", 1000, true},
        {"PXAT", 1, true},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (bytes_spell(text, options[i].name))
            return &options[i];
    return NULL;
}

static bool refuse(struct client *client)
{
    reply_error(&client->reply, "ERR invalid expire time in '%s' command", client->command->name);
    return false;
}

bool lifetime_end(struct client *client, int64_t number, int64_t unit, int64_t base,
                  int64_t *milliseconds)
{
    return (!__builtin_mul_overflow(number, unit, &number) &&
            !__builtin_add_overflow(number, base, milliseconds)) ||
           refuse(client);
}

bool lifetime_parse(struct client *client, const struct expiry_option *option, struct bytes text,
                    uint64_t *expires)
{
    int64_t number, end, base = option->absolute ? 0 : (int64_t)store_time();
    if (!argument_number(client, text, &number) ||
        (number <= 0 && !refuse(client)) ||
        !lifetime_end(client, number, option->unit, base, &end))
        return false;
    *expires = (uint64_t)end;
    return true;
}
