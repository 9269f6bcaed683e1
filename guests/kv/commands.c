#include "commands.h"

#include "console.h"
#include "number.h"
#include "settings.h"

enum { SLOTS = 256 };

static const struct command *slots[SLOTS];
static size_t table_length;
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
    for (const struct command *command = command_table; command->name; command++)
        *slot_of(bytes_of(command->name)) = command;
    while (command_table[table_length].name)
        table_length++;
    if (table_length * 2 > SLOTS)
        __builtin_trap();
}

size_t commands_count(void)
{
    return table_length;
}

uint64_t commands_run(void)
{
    return executed;
}

void commands_reset_count(void)
{
    executed = 0;
}

const struct command *command_find(struct bytes name)
{
    return *slot_of(name);
}

enum { SHOWN_MAX = 128 }; /* of what a client has sent */

static void refuse_unknown(struct client *client, const struct bytes *arguments, size_t count)
{
    char name[SHOWN_MAX + 1], shown[SHOWN_MAX + 4];
    char list[SHOWN_MAX + 4] = "";
    size_t used = 0;
    bytes_copy(name, sizeof name, arguments[0]);
    for (size_t i = 1; i < count && used < SHOWN_MAX; i++) {
        bytes_copy(shown, SHOWN_MAX - used + 1, arguments[i]);
        used += format(list + used, sizeof list - used, "'%s' ", shown);
    }
    char text[400];
    format(text, sizeof text, "ERR unknown command '%s', with args beginning with: %s", name,
           list);
    command_refuse(client, text);
}

static void refuse_subcommand(struct client *client, const struct command *command,
                              struct bytes subcommand)
{
    char name[16], shown[SHOWN_MAX + 1], text[200];
    size_t length = 0;
    for (; command->name[length]; length++)
        name[length] = (char)upper_case((uint8_t)command->name[length]);
    name[length] = '\0';
    bytes_copy(shown, sizeof shown, subcommand);
    format(text, sizeof text, "ERR unknown subcommand '%s'. Try %s HELP.", shown, name);
    command_refuse(client, text);
}

static const struct command *subcommand_of(const struct command *command, struct bytes name)
{
    size_t prefix = strlen(command->name) + 1;
    for (const struct command *each = command->subcommands; each->name; each++)
        if (bytes_spell(name, each->name + prefix))
            return each;
    return NULL;
}

const struct command *command_resolve(const struct bytes *arguments, size_t count)
{
    const struct command *command = command_find(arguments[0]);
    return command && command->subcommands && count > 1 ? subcommand_of(command, arguments[1])
                                                        : command;
}

bool command_takes(const struct command *command, size_t arguments)
{
    return command->arguments < 0 ? arguments >= (size_t)-command->arguments
                                  : arguments == (size_t)command->arguments;
}

static void refuse(struct client *client, const struct command *command, const char *code,
                   const char *why)
{
    char text[160];
    if (command->run == command_exec) {
        transaction_drop(&client->transaction);
        format(text, sizeof text, "EXECABORT Transaction discarded because of: %s", why);
    } else {
        format(text, sizeof text, "%s %s", code, why);
    }
    command_refuse(client, text);
}

static bool needs_no_password(const struct command *command)
{
    return command->run == command_auth || command->run == command_hello ||
           command->run == command_quit || command->run == command_reset;
}

/* What the request asks for, if it may be run; otherwise NULL after an error reply. */
static const struct command *admit(struct client *client, const struct bytes *arguments,
                                   size_t count)
{
    const struct command *command = command_resolve(arguments, count);
    const struct command *container = command ? NULL : command_find(arguments[0]);
    if (container) {
        refuse_subcommand(client, container, arguments[1]);
    } else if (!command) {
        refuse_unknown(client, arguments, count);
    } else if (!command_takes(command, count)) {
        char text[80];
        format(text, sizeof text, "wrong number of arguments for '%s' command", command->name);
        refuse(client, command, "ERR", text);
    } else if (settings_password().length && !client->authenticated &&
               !needs_no_password(command)) {
        refuse(client, command, "NOAUTH", "Authentication required.");
    } else {
        return command;
    }
    return NULL;
}

/* Of commands that take part in no transaction. */
static bool immediate(const struct command *command)
{
    return command->run == command_exec || command->run == command_discard ||
           command->run == command_multi || command->run == command_watch ||
           command->run == command_quit || command->run == command_reset;
}

/* A web page can make a browser send these. */
static bool from_browser(struct bytes name)
{
    return bytes_spell(name, "POST") || bytes_spell(name, "HOST:");
}

void command_run(struct client *client, const struct bytes *arguments, size_t count)
{
    if (from_browser(arguments[0])) {
        client->quit = true;
        return;
    }
    client->skip_next = false;
    const struct command *command = admit(client, arguments, count);
    if (command && client->transaction.open && !immediate(command))
        transaction_queue(client, command, arguments, count);
    else if (command)
        command_call(client, command, arguments, count);
    client->reply.muted = client->silent || client->skip_next;
}

void command_call(struct client *client, const struct command *command,
                  const struct bytes *arguments, size_t count)
{
    executed++;
    client->command = command;
    command->run(client, arguments, count);
}

void command_refuse(struct client *client, const char *why)
{
    client->transaction.spoiled = client->transaction.open;
    reply_error(&client->reply, "%s", why);
}

bool argument_number(struct client *client, struct bytes text, int64_t *value)
{
    if (number_parse(text, value))
        return true;
    reply_error(&client->reply, "ERR value is not an integer or out of range");
    return false;
}

bool argument_database(struct client *client, struct bytes text)
{
    int64_t index;
    if (!argument_number(client, text, &index))
        return false;
    if (index != (int32_t)index)
        reply_error(&client->reply, "ERR value is out of range, value must between %d and %d",
                    INT32_MIN, INT32_MAX);
    else if (index)
        reply_error(&client->reply, "ERR DB index is out of range");
    return !index;
}
