#include "commands.h"

#include "number.h"

static const struct command commands[] = {
    {"APPEND", 3, command_append},     {"CLIENT", -2, command_client},
    {"COMMAND", -1, command_command},  {"CONFIG", -2, command_config},
    {"DBSIZE", 1, command_dbsize},     {"DECR", 2, command_decr},
    {"DECRBY", 3, command_decrby},     {"DEL", -2, command_del},
    {"ECHO", 2, command_echo},         {"EXISTS", -2, command_exists},
    {"EXPIRE", 3, command_expire},     {"FLUSHALL", -1, command_flushall},
    {"FLUSHDB", -1, command_flushall}, {"GET", 2, command_get},
    {"HELLO", -1, command_hello},      {"INCR", 2, command_incr},
    {"INCRBY", 3, command_incrby},     {"INFO", -1, command_info},
    {"KEYS", 2, command_keys},         {"MGET", -2, command_mget},
    {"MSET", -3, command_mset},        {"PERSIST", 2, command_persist},
    {"PEXPIRE", 3, command_pexpire},   {"PING", -1, command_ping},
    {"PTTL", 2, command_pttl},         {"QUIT", -1, command_quit},
    {"SCAN", -2, command_scan},        {"SELECT", 2, command_select},
    {"SET", -3, command_set},          {"STRLEN", 2, command_strlen},
    {"TTL", 2, command_ttl},           {"TYPE", 2, command_type},
};

enum {
    COMMANDS = sizeof commands / sizeof *commands,
    SLOTS = 128,
};
_Static_assert(COMMANDS * 2 < SLOTS, "short probe sequences");

static const struct command *slots[SLOTS];
static uint64_t executed;

/* The slot with this command, or the empty one where it would be. */
static const struct command **slot_of(struct bytes name)
{
    uint32_t slot = (uint32_t)name.length;
    for (size_t i = 0; i < name.length; i++)
        slot = slot * 31 + upper_case(name.at[i]);
    while (slots[slot % SLOTS] && !bytes_spell(name, slots[slot % SLOTS]->name))
        slot++;
    return &slots[slot % SLOTS];
}

void commands_start(void)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        const char *name = commands[i].name;
        *slot_of((struct bytes){(const uint8_t *)name, strlen(name)}) = &commands[i];
    }
}

size_t commands_count(void)
{
    return COMMANDS;
}

uint64_t commands_run(void)
{
    return executed;
}

static void unknown(struct client *client, struct bytes name)
{
    char text[65];
    size_t length = name.length < sizeof text - 1 ? name.length : sizeof text - 1;
    for (size_t i = 0; i < length; i++)
        text[i] = name.at[i] >= ' ' && name.at[i] <= '~' ? (char)name.at[i] : '?';
    text[length] = '\0';
    reply_error(&client->reply, "ERR unknown command '%s'", text);
}

void command_run(struct client *client, const struct bytes *arguments, size_t count)
{
    const struct command *command = *slot_of(arguments[0]);
    executed++;
    if (!command) {
        unknown(client, arguments[0]);
    } else if (command->arguments < 0 ? count < (size_t)-command->arguments
                                      : count != (size_t)command->arguments) {
        char name[16];
        size_t length = 0;
        for (; command->name[length]; length++)
            name[length] = (char)(command->name[length] - 'A' + 'a');
        name[length] = '\0';
        reply_error(&client->reply, "ERR wrong number of arguments for '%s' command", name);
    } else {
        command->run(client, arguments, count);
    }
}

bool argument_number(struct client *client, struct bytes text, int64_t *value)
{
    if (number_parse(text, value))
        return true;
    reply_error(&client->reply, "ERR value is not an integer or out of range");
    return false;
}
