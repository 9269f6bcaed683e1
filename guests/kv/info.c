/* What the server tells of itself. */
#include "info.h"

#include "commands.h"
#include "console.h"
#include "heap.h"
#include "journal.h"
#include "net.h"
#include "number.h"
#include "store.h"

static size_t info_server(char *text, size_t size)
{
    uint64_t seconds = net_now() / 1000000000;
    return format(text, size,
                  "# Server\r\nredis_version:" REDIS_VERSION "\r\nredis_mode:standalone\r\n"
                  "os:vlockstep\r\narch_bits:64\r\ntcp_port:6379\r\nuptime_in_seconds:%lu\r\n"
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
    return format(text, size, "# Memory\r\nused_memory:%lu\r\ntotal_system_memory:%lu\r\n"
                  "maxmemory:%lu\r\n",
                  heap_total() - heap_left(), heap_total(), store_limit());
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

static size_t info_cluster(char *text, size_t size)
{
    return format(text, size, "# Cluster\r\ncluster_enabled:0\r\n");
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
        {"CLUSTER", info_cluster},         {"KEYSPACE", info_keyspace},
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

void command_time(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    uint64_t microseconds = wall_clock() / 1000;
    const uint64_t parts[] = {microseconds / 1000000, microseconds % 1000000};
    reply_array(&client->reply, 2);
    for (size_t i = 0; i < 2; i++) {
        char text[NUMBER_MAX];
        size_t length = number_print(text, (int64_t)parts[i]);
        reply_bulk(&client->reply, (struct bytes){(uint8_t *)text, length});
    }
}
