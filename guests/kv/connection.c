/* Commands about the connection itself. */
#include "clients.h"
#include "commands.h"
#include "info.h"
#include "number.h"
#include "settings.h"

void command_ping(struct client *client, const struct bytes *arguments, size_t count)
{
    if (count == 1)
        reply_text(&client->reply, "+PONG\r\n");
    else if (count == 2)
        reply_value(&client->reply, arguments[1]);
    else
        reply_error(&client->reply, "ERR wrong number of arguments for 'ping' command");
}

void command_echo(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    reply_value(&client->reply, arguments[1]);
}

void command_quit(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    client->quit = true;
    reply_ok(&client->reply);
}

void command_reset(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    transaction_drop(&client->transaction);
    client->reply.resp3 = client->reply.muted = client->silent = false;
    client->name_length = 0;
    client->authenticated = !settings_password().length;
    reply_text(&client->reply, "+RESET\r\n");
}

void command_select(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    if (argument_database(client, arguments[1]))
        reply_ok(&client->reply);
}

/* There is one user, and without a password any will do. */
static bool authenticate(struct client *client, struct bytes user, struct bytes password)
{
    bool known = bytes_equal(user, LITERAL("default"));
    bool right = !settings_password().length || settings_password_is(password);
    if (known && right)
        client->authenticated = true;
    else
        reply_error(&client->reply,
                    "WRONGPASS invalid username-password pair or user is disabled.");
    return known && right;
}

void command_auth(struct client *client, const struct bytes *arguments, size_t count)
{
    if (count > 3)
        reply_syntax_error(&client->reply);
    else if (count == 2 && !settings_password().length)
        reply_error(&client->reply, "ERR AUTH <password> called without any password configured "
                                    "for the default user. Are you sure your configuration is "
                                    "correct?");
    else if (authenticate(client, count == 3 ? arguments[1] : LITERAL("default"),
                          arguments[count - 1]))
        reply_ok(&client->reply);
}

/* HELLO */

static bool hello_version(struct client *client, struct bytes text, int64_t *version)
{
    if (!number_parse(text, version)) {
        reply_error(&client->reply, "ERR Protocol version is not an integer or out of range");
        return false;
    }
    bool known = *version == 2 || *version == 3;
    if (!known)
        reply_error(&client->reply, "NOPROTO unsupported protocol version");
    return known;
}

/* AUTH and SETNAME, each of which takes effect when it is read. */
static bool hello_options(struct client *client, const struct bytes *arguments, size_t count)
{
    for (size_t i = 2; i < count; i++) {
        size_t left = count - i - 1;
        if (bytes_spell(arguments[i], "AUTH") && left >= 2) {
            if (!authenticate(client, arguments[i + 1], arguments[i + 2]))
                return false;
            i += 2;
        } else if (bytes_spell(arguments[i], "SETNAME") && left) {
            if (!client_set_name(client, arguments[++i]))
                return false;
        } else {
            reply_error_about(&client->reply, "ERR Syntax error in HELLO option '%s'",
                              arguments[i]);
            return false;
        }
    }
    return true;
}

static void reply_pair(struct reply *reply, struct bytes name, struct bytes value)
{
    reply_bulk(reply, name);
    reply_bulk(reply, value);
}

void command_hello(struct client *client, const struct bytes *arguments, size_t count)
{
    int64_t version = client->reply.resp3 ? 3 : 2;
    if (!reply_reserve(&client->reply, REPLY_SMALL) ||
        (count > 1 && !hello_version(client, arguments[1], &version)) ||
        !hello_options(client, arguments, count))
        return;
    if (!client->authenticated && settings_password().length) {
        reply_error(&client->reply,
                    "NOAUTH HELLO must be called with the client already authenticated, otherwise "
                    "the HELLO AUTH <user> <pass> option can be used to authenticate the "
                    "client and select the RESP protocol version at the same time");
        return;
    }
    client->reply.resp3 = version == 3;
    reply_map(&client->reply, 7);
    reply_pair(&client->reply, LITERAL("server"), LITERAL("redis"));
    reply_pair(&client->reply, LITERAL("version"), LITERAL(REDIS_VERSION));
    reply_bulk(&client->reply, LITERAL("proto"));
    reply_integer(&client->reply, version);
    reply_bulk(&client->reply, LITERAL("id"));
    reply_integer(&client->reply, (int64_t)client->id);
    reply_pair(&client->reply, LITERAL("mode"), LITERAL("standalone"));
    reply_pair(&client->reply, LITERAL("role"), LITERAL("master"));
    reply_bulk(&client->reply, LITERAL("modules"));
    reply_array(&client->reply, 0);
}
