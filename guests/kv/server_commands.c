/* Commands about the server and the connection. */
#include "commands.h"
#include "console.h"
#include "glob.h"
#include "heap.h"
#include "journal.h"
#include "net.h"
#include "store.h"

static struct bytes text_of(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

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

void command_select(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    int64_t index;
    if (!argument_number(client, arguments[1], &index))
        return;
    if (index == 0)
        reply_ok(&client->reply);
    else
        reply_error(&client->reply, "ERR DB index is out of range");
}

void command_command(struct client *client, const struct bytes *arguments, size_t count)
{
    if (count == 2 && bytes_spell(arguments[1], "COUNT"))
        reply_integer(&client->reply, (int64_t)commands_count());
    else
        reply_array(&client->reply, 0);
}

void command_config(struct client *client, const struct bytes *arguments, size_t count)
{
    const char *const settings[][2] = {
        {"appendonly", journal_active() ? "yes" : "no"},
        {"databases", "1"},
        {"save", ""},
    };
    enum { SETTINGS = sizeof settings / sizeof *settings };
    if (count < 3 || !bytes_spell(arguments[1], "GET")) {
        reply_error(&client->reply, "ERR only CONFIG GET is supported");
        return;
    }
    bool asked[SETTINGS] = {0};
    size_t matching = 0;
    for (size_t i = 0; i < SETTINGS; i++) {
        for (size_t j = 2; j < count; j++)
            asked[i] |= glob_match(arguments[j], text_of(settings[i][0]));
        matching += asked[i];
    }
    reply_map(&client->reply, matching);
    for (size_t i = 0; i < SETTINGS; i++) {
        if (!asked[i])
            continue;
        reply_bulk(&client->reply, text_of(settings[i][0]));
        reply_bulk(&client->reply, text_of(settings[i][1]));
    }
}

/* INFO */

static size_t info_server(char *text, size_t size)
{
    uint64_t seconds = net_now() / 1000000000;
    return format(text, size,
                  "# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\nos:vlockstep\r\n"
                  "arch_bits:64\r\ntcp_port:6379\r\nuptime_in_seconds:%lu\r\n"
                  "uptime_in_days:%lu\r\n",
                  seconds, seconds / 86400);
}

static size_t info_clients(char *text, size_t size)
{
    return format(text, size, "# Clients\r\nconnected_clients:%lu\r\nmaxclients:%u\r\n",
                  client_count(), (unsigned)TCP_CONNECTIONS);
}

static size_t info_memory(char *text, size_t size)
{
    return format(text, size, "# Memory\r\nused_memory:%lu\r\nmaxmemory:%lu\r\n",
                  heap_total() - heap_left(), heap_total());
}

static size_t info_persistence(char *text, size_t size)
{
    return format(text, size, "# Persistence\r\nloading:0\r\naof_enabled:%d\r\n",
                  journal_active());
}

static size_t info_stats(char *text, size_t size)
{
    return format(text, size, "# Stats\r\ntotal_commands_processed:%lu\r\n", commands_run());
}

static size_t info_replication(char *text, size_t size)
{
    return format(text, size, "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n");
}

static size_t info_keyspace(char *text, size_t size)
{
    if (!store_count())
        return format(text, size, "# Keyspace\r\n");
    return format(text, size, "# Keyspace\r\ndb0:keys=%lu,expires=%lu,avg_ttl=0\r\n",
                  store_count(), store_expiring_count());
}

void command_info(struct client *client, const struct bytes *arguments, size_t count)
{
    static const struct {
        const char *name;
        size_t (*print)(char *text, size_t size);
    } sections[] = {
        {"SERVER", info_server},           {"CLIENTS", info_clients},
        {"MEMORY", info_memory},           {"PERSISTENCE", info_persistence},
        {"STATS", info_stats},             {"REPLICATION", info_replication},
        {"KEYSPACE", info_keyspace},
    };
    char text[1536];
    size_t length = 0;
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        bool asked = count == 1;
        for (size_t j = 1; j < count; j++)
            asked |= bytes_spell(arguments[j], sections[i].name) ||
                     bytes_spell(arguments[j], "ALL") || bytes_spell(arguments[j], "DEFAULT") ||
                     bytes_spell(arguments[j], "EVERYTHING");
        if (!asked)
            continue;
        if (length)
            length += format(text + length, sizeof text - length, "\r\n");
        length += sections[i].print(text + length, sizeof text - length);
    }
    reply_value(&client->reply, (struct bytes){(const uint8_t *)text, length});
}

/* CLIENT */

static bool set_name(struct client *client, struct bytes name)
{
    bool valid = name.length <= CLIENT_NAME_MAX;
    for (size_t i = 0; valid && i < name.length; i++)
        valid = name.at[i] > ' ' && name.at[i] <= '~';
    if (!valid) {
        reply_error(&client->reply, "ERR a client's name is at most %u characters without blanks",
                    (unsigned)CLIENT_NAME_MAX);
        return false;
    }
    memcpy(client->name, name.at, name.length);
    client->name_length = name.length;
    return true;
}

static struct bytes name_of(const struct client *client)
{
    return (struct bytes){(const uint8_t *)client->name, client->name_length};
}

enum { LINE_MAX = 160 };

static size_t print_client(char text[LINE_MAX], const struct client *client)
{
    char name[CLIENT_NAME_MAX + 1];
    memcpy(name, client->name, client->name_length);
    name[client->name_length] = '\0';
    struct endpoint peer = tcp_peer(client->reply.connection);
    return format(text, LINE_MAX, "id=%lu addr=%u.%u.%u.%u:%u name=%s db=0 resp=2\n", client->id,
                  peer.address >> 24, peer.address >> 16 & 255, peer.address >> 8 & 255,
                  peer.address & 255, (unsigned)peer.port, name);
}

static void list_clients(struct client *client)
{
    static char text[TCP_CONNECTIONS * LINE_MAX];
    size_t length = 0;
    for (unsigned i = 0; i < TCP_CONNECTIONS; i++)
        if (client_at(i))
            length += print_client(text + length, client_at(i));
    reply_value(&client->reply, (struct bytes){(const uint8_t *)text, length});
}

void command_client(struct client *client, const struct bytes *arguments, size_t count)
{
    if (count == 3 && bytes_spell(arguments[1], "SETNAME")) {
        if (set_name(client, arguments[2]))
            reply_ok(&client->reply);
    } else if (count == 2 && bytes_spell(arguments[1], "GETNAME")) {
        reply_value(&client->reply, name_of(client));
    } else if (count == 4 && bytes_spell(arguments[1], "SETINFO")) {
        reply_ok(&client->reply);
    } else if (count == 2 && bytes_spell(arguments[1], "ID")) {
        reply_integer(&client->reply, (int64_t)client->id);
    } else if (count == 2 && bytes_spell(arguments[1], "LIST")) {
        list_clients(client);
    } else {
        reply_error(&client->reply, "ERR unknown CLIENT subcommand, or wrong arguments for it");
    }
}

/* HELLO */

static void reply_pair(struct reply *reply, struct bytes name, struct bytes value)
{
    reply_bulk(reply, name);
    reply_bulk(reply, value);
}

void command_hello(struct client *client, const struct bytes *arguments, size_t count)
{
    bool resp3 = count > 1 ? bytes_equal(arguments[1], LITERAL("3")) : client->reply.resp3;
    if (count > 1 && !resp3 && !bytes_equal(arguments[1], LITERAL("2"))) {
        reply_error(&client->reply, "NOPROTO this server speaks versions 2 and 3 of the protocol");
        return;
    }
    bool named = count == 4 && bytes_spell(arguments[2], "SETNAME");
    if (count > 2 && !named) {
        reply_error(&client->reply, "ERR syntax error in HELLO");
        return;
    }
    if (!reply_reserve(&client->reply, REPLY_SMALL) ||
        (named && !set_name(client, arguments[3])))
        return;
    client->reply.resp3 = resp3;
    reply_map(&client->reply, 7);
    reply_pair(&client->reply, LITERAL("server"), LITERAL("redis"));
    reply_pair(&client->reply, LITERAL("version"), LITERAL("7.0.0"));
    reply_bulk(&client->reply, LITERAL("proto"));
    reply_integer(&client->reply, resp3 ? 3 : 2);
    reply_bulk(&client->reply, LITERAL("id"));
    reply_integer(&client->reply, (int64_t)client->id);
    reply_pair(&client->reply, LITERAL("mode"), LITERAL("standalone"));
    reply_pair(&client->reply, LITERAL("role"), LITERAL("master"));
    reply_bulk(&client->reply, LITERAL("modules"));
    reply_array(&client->reply, 0);
}
