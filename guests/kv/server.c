/* The Redis protocol on port 6379. Every round of a connection: what is waiting leaves, requests
 * are taken while their replies have room, and the journal is committed before any reply leaves. */
#include "boot.h"
#include "client.h"
#include "commands.h"
#include "console.h"
#include "heap.h"
#include "hypercall.h"
#include "journal.h"
#include "manifest.h"
#include "net.h"
#include "options.h"
#include "settings.h"
#include "store.h"

enum {
    STACK = 1 << 20,
    PIECES_MIN = 1024,
    NS_PER_MS = 1000000,
};

static struct client clients[TCP_CONNECTIONS];
static uint64_t clients_ever;
static size_t clients_open;

static uint64_t wall_offset; /* from net_now to the wall clock, in nanoseconds */

static struct client *client_of(const struct tcp *connection)
{
    return &clients[tcp_index(connection)];
}

struct client *client_at(unsigned index)
{
    return clients[index].id ? &clients[index] : NULL;
}

size_t client_count(void)
{
    return clients_open;
}

static void drop_pieces(struct client *client)
{
    heap_free(client->pieces);
    client->pieces = NULL;
    client->pieces_size = client->pieces_used = 0;
}

static bool make_pieces_room(struct client *client, size_t size)
{
    if (size <= client->pieces_size)
        return true;
    size += client->request.body_left;
    if (size < 2 * client->pieces_size)
        size = 2 * client->pieces_size;
    if (size < PIECES_MIN)
        size = PIECES_MIN;
    uint8_t *larger = heap_allocate(size);
    if (!larger)
        return false;
    if (client->pieces)
        memcpy(larger, client->pieces, client->pieces_used);
    heap_free(client->pieces);
    client->pieces = larger;
    client->pieces_size = size;
    return true;
}

static void collect(struct client *client, const uint8_t *data, size_t length)
{
    if (!client->request.refusal && !make_pieces_room(client, client->pieces_used + length))
        client->request.refusal = "OOM no memory to receive the request";
    if (client->request.refusal) {
        drop_pieces(client);
        return;
    }
    memcpy(client->pieces + client->pieces_used, data, length);
    client->pieces_used += length;
}

static void break_off(struct client *client)
{
    reply_error(&client->reply, "%s", client->request.refusal);
    client->quit = true;
}

static void execute(struct client *client, struct bytes *arguments)
{
    struct request *request = &client->request;
    enum progress progress = PROGRESS_COMPLETE;
    if (!request->refusal && client->pieces_used) {
        size_t length = client->pieces_used;
        *request = (struct request){0};
        progress = request_feed(request, client->pieces, &length, arguments);
    }
    if (progress == PROGRESS_BROKEN)
        break_off(client);
    else if (request->refusal)
        command_refuse(client, request->refusal);
    else if (request->count)
        command_run(client, arguments, request->count);
    *request = (struct request){0};
    drop_pieces(client);
}

/* Takes at most one request. */
static void take(struct client *client, const uint8_t *data, size_t length)
{
    static struct bytes arguments[ARGUMENTS_MAX];
    enum progress progress = request_feed(&client->request, data, &length, arguments);
    if (progress == PROGRESS_BROKEN) {
        break_off(client);
    } else {
        if (progress == PROGRESS_MORE || client->pieces_used)
            collect(client, data, length);
        if (progress == PROGRESS_COMPLETE)
            execute(client, arguments);
    }
    tcp_consume(client->reply.connection, length);
}

static void serve(struct client *client)
{
    struct tcp *connection = client->reply.connection;
    while (reply_flush(&client->reply) && !client->quit) {
        size_t length;
        const uint8_t *data = tcp_peek(connection, &length);
        if (!length)
            break;
        client->active = net_now();
        take(client, data, length);
    }
    if (!client->reply.waiting && (client->quit || tcp_at_end(connection)))
        tcp_close(connection);
}

uint64_t wall_clock(void)
{
    return wall_offset + net_now();
}

static void set_time(void)
{
    store_set_time(wall_clock() / NS_PER_MS);
}

static void opened(struct tcp *connection)
{
    *client_of(connection) = (struct client){
        .reply.connection = connection,
        .id = ++clients_ever,
        .opened = net_now(),
        .active = net_now(),
        .authenticated = !settings_password().length,
    };
    clients_open++;
}

static void ready(struct tcp *connection)
{
    set_time();
    store_sweep();
    serve(client_of(connection));
    journal_commit();
}

static void closed(struct tcp *connection)
{
    struct client *client = client_of(connection);
    reply_drop(&client->reply);
    drop_pieces(client);
    transaction_drop(&client->transaction);
    client->id = 0;
    clients_open--;
}

static void print_greeting(void)
{
    struct option address = option_text("ipv4");
    size_t length = 0;
    while (length < address.length && address.text[length] != '/')
        length++;
    print("kv: ");
    print_text(address.text, length);
    print(":%u, %lu keys\n", (unsigned)PORT, store_count());
}

int guest_main(const struct boot_info *boot)
{
    static const struct tcp_service service = {.opened = opened, .ready = ready, .closed = closed};

    OPTIONS_ALLOW(NET_OPTIONS, "requirepass");
    settings_start();
    net_start(boot, "net");
    uint64_t wall = hypercall_walltime();
    wall_offset = wall - net_now();
    heap_start(boot->kernel_end, boot->mem_size - STACK);
    store_start(mix(wall));
    commands_start();
    uint64_t disk = device_find(boot->manifest, "disk");
    if (disk)
        journal_start(disk, boot->manifest->devices[disk].block.capacity, wall);
    store_keep_reserve();
    set_time();
    while (store_sweep())
        ;
    print_greeting();
    tcp_listen(PORT, &service);
    net_serve();
}
