/* COMMAND: the commands that there are, their arguments, and what they are for. */
#include "commands.h"

enum { ENTRY_MAX = 512 }; /* of one command in any reply */

static void reply_name(struct reply *reply, const char *name)
{
    reply_bulk(reply, bytes_of(name));
}

/* Words of `text`, or what they are to be called. */
static size_t count_words(const char *text)
{
    size_t words = *text != '\0';
    for (; *text; text++)
        words += *text == ' ';
    return words;
}

static void reply_flags(struct reply *reply, const char *flags)
{
    reply_set(reply, count_words(flags));
    while (*flags) {
        struct bytes word = {(const uint8_t *)flags, 0};
        while (flags[word.length] && flags[word.length] != ' ')
            word.length++;
        reply_text(reply, "+");
        reply_part(reply, word);
        reply_text(reply, "\r\n");
        flags += word.length + (flags[word.length] == ' ');
    }
}

/* Categories, hints, keys and subcommands are left empty. */
static void reply_info(struct reply *reply, const struct command *command)
{
    reply_array(reply, 10);
    reply_name(reply, command->name);
    reply_integer(reply, command->arguments);
    reply_flags(reply, command->flags);
    reply_integer(reply, command->first_key);
    reply_integer(reply, command->last_key);
    reply_integer(reply, command->key_step);
    reply_set(reply, 0);
    for (unsigned i = 0; i < 3; i++)
        reply_array(reply, 0);
}

static void reply_docs(struct reply *reply, const struct command *command)
{
    reply_name(reply, command->name);
    reply_map(reply, 3);
    reply_name(reply, "summary");
    reply_name(reply, command->summary);
    reply_name(reply, "since");
    reply_name(reply, command->since);
    reply_name(reply, "group");
    reply_name(reply, command->group);
}

static bool reserve(struct client *client, size_t entries)
{
    return reply_reserve(&client->reply, REPLY_HEAD_MAX + entries * ENTRY_MAX);
}

void command_command(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    if (!reserve(client, commands_count()))
        return;
    reply_array(&client->reply, commands_count());
    for (const struct command *command = command_table; command->name; command++)
        reply_info(&client->reply, command);
}

void introspect_count(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    reply_integer(&client->reply, (int64_t)commands_count());
}

void introspect_info(struct client *client, const struct bytes *arguments, size_t count)
{
    if (count == 2) {
        command_command(client, arguments, count);
        return;
    }
    if (!reserve(client, count - 2))
        return;
    reply_array(&client->reply, count - 2);
    for (size_t i = 2; i < count; i++) {
        const struct command *command = command_find(arguments[i]);
        if (command)
            reply_info(&client->reply, command);
        else
            reply_nil(&client->reply);
    }
}

void introspect_docs(struct client *client, const struct bytes *arguments, size_t count)
{
    size_t found = count == 2 ? commands_count() : 0;
    for (size_t i = 2; i < count; i++)
        found += command_find(arguments[i]) != NULL;
    if (!reserve(client, found))
        return;
    reply_map(&client->reply, found);
    for (const struct command *each = command_table; count == 2 && each->name; each++)
        reply_docs(&client->reply, each);
    for (size_t i = 2; i < count; i++) {
        const struct command *command = command_find(arguments[i]);
        if (command)
            reply_docs(&client->reply, command);
    }
}

void introspect_list(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    if (count > 2) {
        reply_syntax_error(&client->reply);
        return;
    }
    if (!reserve(client, commands_count()))
        return;
    reply_array(&client->reply, commands_count());
    for (const struct command *command = command_table; command->name; command++)
        reply_name(&client->reply, command->name);
}

/* Of the request in arguments[2] and what follows. */
void introspect_getkeys(struct client *client, const struct bytes *arguments, size_t count)
{
    const struct bytes *request = arguments + 2;
    size_t length = count - 2, keys = 0, size = REPLY_HEAD_MAX;
    const struct command *command = command_resolve(request, length);
    if (!command)
        reply_error(&client->reply, "ERR Invalid command specified");
    else if (!command->first_key)
        reply_error(&client->reply, "ERR The command has no key arguments");
    else if (!command_takes(command, length))
        reply_error(&client->reply, "ERR Invalid number of arguments specified for command");
    if (!command || !command->first_key || !command_takes(command, length))
        return;
    size_t first = (size_t)command->first_key, step = (size_t)command->key_step;
    size_t end = command->last_key < 0 ? length : (size_t)command->last_key + 1;
    for (size_t i = first; i < end; i += step, keys++)
        size += REPLY_HEAD_MAX + request[i].length;
    if (!reply_reserve(&client->reply, size))
        return;
    reply_array(&client->reply, keys);
    for (size_t i = first; i < end; i += step)
        reply_bulk(&client->reply, request[i]);
}

static void reply_line(struct reply *reply, const char *indent, const char *text)
{
    reply_text(reply, "+");
    reply_text(reply, indent);
    reply_text(reply, text);
    reply_text(reply, "\r\n");
}

/* Of the command whose subcommand it is. */
void introspect_help(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    const struct command *command = command_find(arguments[0]);
    size_t subcommands = 0, prefix = strlen(command->name) + 1;
    while (command->subcommands[subcommands].name)
        subcommands++;
    if (!reserve(client, subcommands))
        return;
    reply_array(&client->reply, 2 * subcommands);
    for (const struct command *each = command->subcommands; each->name; each++) {
        reply_line(&client->reply, "", each->name + prefix);
        reply_line(&client->reply, "    ", each->summary);
    }
}
