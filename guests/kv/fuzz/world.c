#include "world.h"

#include <setjmp.h>
#include <stdlib.h>

#include "boot.h"
#include "check.h"
#include "heap.h"
#include "hypercall.h"
#include "journal.h"
#include "log.h"
#include "manifest.h"
#include "net.h"
#include "options.h"
#include "runtime.h"
#include "store.h"

enum {
    RECEIVE_RING = 1 << 10,
    SEND_RING = 2 << 10,
    MEMORY = 4 << 20,
    NS_PER_MS = 1000000,
};

struct tcp {
    uint8_t receive[RECEIVE_RING], send[SEND_RING];
    size_t receive_start, received, send_start, sent;
    bool closed;
    struct replies replies;
};

static struct tcp peers[PEERS];
static const struct tcp_service *service;
static uint64_t now = NS_PER_MS;
static uint8_t disk[LOG_DISK_MIN];
static uint8_t crashed_disk[LOG_DISK_MIN];
static unsigned writes_to_crash; /* 0: none is to come */
static bool crashed;
static uint64_t before_crash;
static jmp_buf served;

/* The network. */

void net_start(const struct boot_info *boot, const char *device)
{
    (void)boot;
    (void)device;
}

void net_serve(void)
{
    longjmp(served, 1);
}

uint64_t net_now(void)
{
    return now;
}

void tcp_listen(uint16_t port, const struct tcp_service *listening)
{
    (void)port;
    service = listening;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

const uint8_t *tcp_peek(const struct tcp *connection, size_t *length)
{
    *length = smaller(connection->received, RECEIVE_RING - connection->receive_start);
    return connection->receive + connection->receive_start;
}

void tcp_consume(struct tcp *connection, size_t length)
{
    CHECK(length <= connection->received);
    connection->receive_start = (connection->receive_start + length) % RECEIVE_RING;
    connection->received -= length;
}

bool tcp_at_end(const struct tcp *connection)
{
    (void)connection;
    return false;
}

size_t tcp_room(const struct tcp *connection)
{
    return SEND_RING - connection->sent;
}

size_t tcp_write(struct tcp *connection, const void *data, size_t length)
{
    if (connection->closed)
        return 0;
    length = smaller(length, tcp_room(connection));
    for (size_t i = 0; i < length; i++)
        connection->send[(connection->send_start + connection->sent++) % SEND_RING] =
            ((const uint8_t *)data)[i];
    return length;
}

void tcp_close(struct tcp *connection)
{
    connection->closed = true;
}

void tcp_abort(struct tcp *connection)
{
    connection->closed = true;
}

struct endpoint tcp_peer(const struct tcp *connection)
{
    return (struct endpoint){0x0a000001, (uint16_t)(40000 + tcp_index(connection))};
}

unsigned tcp_index(const struct tcp *connection)
{
    return (unsigned)(connection - peers);
}

/* The machine. */

uint64_t hypercall_walltime(void)
{
    return now;
}

void hypercall_puts(const char *text, size_t length)
{
    (void)text;
    (void)length;
}

void guest_exit(int32_t status)
{
    (void)status;
    abort();
}

static bool in_disk(uint64_t offset, uint64_t length)
{
    return length && offset % 512 == 0 && length % 512 == 0 && offset + length <= sizeof disk;
}

int32_t hypercall_block_write(uint64_t handle, uint64_t offset, const void *data, uint64_t length)
{
    CHECK(handle == 1 && in_disk(offset, length));
    if (writes_to_crash && !--writes_to_crash) {
        memcpy(crashed_disk, disk, sizeof disk);
        memcpy(crashed_disk + offset, data, length / 1024 * 512);
        crashed = true;
    }
    memcpy(disk + offset, data, length);
    return RESULT_OK;
}

int32_t hypercall_block_read(uint64_t handle, uint64_t offset, void *data, uint64_t *length)
{
    CHECK(handle == 1 && in_disk(offset, *length));
    memcpy(data, disk + offset, *length);
    return RESULT_OK;
}

uint64_t device_find(const struct manifest *manifest, const char *name)
{
    (void)manifest;
    return *name == 'd';
}

/* Memory of malloc, so that its sanitizer sees every allocation. */

static size_t memory_used;

struct allocation {
    size_t size, padding;
    uint8_t memory[];
};

static struct allocation *allocation_of(const void *memory)
{
    return (struct allocation *)((uintptr_t)memory - offsetof(struct allocation, memory));
}

void heap_start(uintptr_t from, uintptr_t to)
{
    (void)from;
    (void)to;
}

void *heap_allocate(size_t size)
{
    if (size > MEMORY - memory_used)
        return NULL;
    struct allocation *allocation = malloc(sizeof *allocation + size);
    allocation->size = size;
    memory_used += size;
    return allocation->memory;
}

void heap_free(void *memory)
{
    if (!memory)
        return;
    memory_used -= heap_usable(memory);
    free(allocation_of(memory));
}

size_t heap_usable(const void *memory)
{
    return allocation_of(memory)->size;
}

size_t heap_left(void)
{
    return MEMORY - memory_used;
}

size_t heap_total(void)
{
    return MEMORY;
}

/* What the fuzzer does with these. */

static void open_peers(void)
{
    for (unsigned i = 0; i < PEERS; i++) {
        peers[i] = (struct tcp){0};
        service->opened(&peers[i]);
    }
}

static void close_peers(void)
{
    for (unsigned i = 0; i < PEERS; i++)
        service->closed(&peers[i]);
    store_clear();
    CHECK(memory_used == 0);
}

void world_start(void)
{
    struct manifest *manifest = calloc(1, sizeof *manifest + 2 * sizeof(struct device));
    manifest->devices[1].block.capacity = sizeof disk;
    static struct boot_info boot;
    boot.manifest = manifest;
    options_start("--ipv4=10.0.0.2/24");
    if (!setjmp(served))
        guest_main(&boot);
    open_peers();
}

static void sweep(void)
{
    store_set_time(now / NS_PER_MS);
    while (store_sweep())
        ;
}

static void start_journal(void)
{
    journal_start(1, sizeof disk, now);
    sweep();
    open_peers();
}

void world_reset(void)
{
    close_peers();
    memset(disk, 0, 512);
    start_journal();
}

void world_restart(void)
{
    sweep();
    uint64_t before = store_check();
    close_peers();
    start_journal();
    CHECK(store_check() == before);
}

void world_crash_at(unsigned write)
{
    sweep();
    before_crash = store_check();
    writes_to_crash = write;
    crashed = false;
}

bool world_crash(void)
{
    writes_to_crash = 0;
    if (!crashed)
        return false;
    sweep();
    uint64_t after = store_check();
    close_peers();
    memcpy(disk, crashed_disk, sizeof disk);
    start_journal();
    uint64_t found = store_check();
    CHECK(found == before_crash || found == after);
    return true;
}

void world_pass_time(uint64_t milliseconds)
{
    now += milliseconds * NS_PER_MS;
}

static void run(struct tcp *connection)
{
    if (!connection->closed)
        service->ready(connection);
}

void peer_send(unsigned peer, const void *data, size_t length)
{
    struct tcp *connection = &peers[peer];
    const uint8_t *at = data;
    while (length && !connection->closed) {
        size_t end = (connection->receive_start + connection->received) % RECEIVE_RING;
        size_t room = smaller(RECEIVE_RING - connection->received, RECEIVE_RING - end);
        size_t piece = smaller(room, length);
        memcpy(connection->receive + end, at, piece);
        connection->received += piece;
        at += piece;
        length -= piece;
        if (!piece)
            peer_read(peer, SEND_RING);
        run(connection);
    }
}

void peer_read(unsigned peer, size_t limit)
{
    struct tcp *connection = &peers[peer];
    size_t length = smaller(smaller(connection->sent, limit), SEND_RING - connection->send_start);
    replies_check(&connection->replies, connection->send + connection->send_start, length);
    connection->send_start = (connection->send_start + length) % SEND_RING;
    connection->sent -= length;
    run(connection);
}

bool peer_drain(unsigned peer)
{
    run(&peers[peer]);
    while (peers[peer].sent)
        peer_read(peer, SEND_RING);
    return peers[peer].closed;
}

size_t peer_replies(unsigned peer)
{
    return peers[peer].replies.complete;
}
