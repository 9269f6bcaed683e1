/* The connections, what services do with them, and the end of a round. */
#include "tcp.h"

#include "console.h"
#include "counters.h"
#include "memory.h"
#include "ring.h"
#include "runtime.h"
#include "wire.h"

enum { SERVICES = 16 };

struct tcp tcp_connections[TCP_CONNECTIONS];
static uint8_t send_rings[TCP_CONNECTIONS][SEND_RING];
static uint8_t receive_rings[TCP_CONNECTIONS][RECEIVE_RING];

static struct {
    uint16_t port;
    const struct tcp_service *service;
} services[SERVICES];
static unsigned service_count;

#define EACH(CONNECTION)                                                                           \
    struct tcp *CONNECTION = tcp_connections;                                                      \
    CONNECTION < tcp_connections + TCP_CONNECTIONS;                                                \
    CONNECTION++

void tcp_start(uint64_t seed)
{
    memset(tcp_connections, 0, sizeof tcp_connections);
    service_count = 0;
    handshake_start(seed);
    time_wait_start();
}

void tcp_listen(uint16_t port, const struct tcp_service *service)
{
    if (service_count == SERVICES) {
        print("more than %d TCP ports\n", SERVICES);
        guest_exit(2);
    }
    services[service_count].port = port;
    services[service_count++].service = service;
}

const struct tcp_service *tcp_service_of(uint16_t port)
{
    for (unsigned i = 0; i < service_count; i++)
        if (services[i].port == port)
            return services[i].service;
    return NULL;
}

/* The table. */

struct tcp *tcp_find(tcp_key key)
{
    for (EACH(connection))
        if (connection->key == key)
            return connection;
    return NULL;
}

bool tcp_is_full(void)
{
    for (EACH(connection))
        if (connection->state != TCP_ESTABLISHED)
            return false;
    return true;
}

struct tcp *tcp_open(tcp_key key, uint32_t sequence, uint32_t received)
{
    struct tcp *connection = tcp_find(0);
    if (!connection)
        return NULL;
    *connection = (struct tcp){
        .state = TCP_ESTABLISHED,
        .key = key,
        .service = tcp_service_of(key_port(key)),
        .fresh = true,
        .event = true,
        .active = true,
        .acknowledged = sequence,
        .next = sequence,
        .sent = sequence,
        .end = sequence,
        .recover = sequence,
        .threshold = UINT32_MAX,
        .rto = TCP_FIRST_RTO,
        .window_sequence = received - 1,
        .window_ack = sequence,
        .read = received,
        .received = received,
        .edge = received + RECEIVE_WINDOW,
    };
    return connection;
}

void tcp_drop(struct tcp *connection)
{
    connection->state = TCP_CLOSED;
    connection->timer = 0;
    connection->active = false;
}

static unsigned index_of(const struct tcp *connection)
{
    return (unsigned)(connection - tcp_connections);
}

uint8_t *tcp_send_ring(const struct tcp *connection)
{
    return send_rings[index_of(connection)];
}

uint8_t *tcp_receive_ring(const struct tcp *connection)
{
    return receive_rings[index_of(connection)];
}

/* What services call. */

static bool is_open(const struct tcp *connection)
{
    return connection->state == TCP_ESTABLISHED || connection->state == TCP_CLOSE_WAIT;
}

bool tcp_is_closing(const struct tcp *connection)
{
    return !is_open(connection);
}

const uint8_t *tcp_peek(const struct tcp *connection, size_t *length)
{
    uint32_t start = connection->read % RECEIVE_RING;
    *length = 0;
    if (is_open(connection))
        *length = smaller(connection->received - connection->read, RECEIVE_RING - start);
    return tcp_receive_ring(connection) + start;
}

void tcp_consume(struct tcp *connection, size_t length)
{
    uint32_t waiting = connection->received - connection->read;
    connection->read += length < waiting ? (uint32_t)length : waiting;
    connection->active = true;
}

bool tcp_at_end(const struct tcp *connection)
{
    return connection->fin_received && connection->read == connection->received;
}

size_t tcp_room(const struct tcp *connection)
{
    if (!is_open(connection))
        return 0;
    return SEND_RING - (connection->end - connection->acknowledged);
}

size_t tcp_write(struct tcp *connection, const void *data, size_t length)
{
    size_t room = tcp_room(connection);
    if (length > room)
        length = room;
    ring_put(tcp_send_ring(connection), SEND_RING, connection->end, data, length);
    connection->end += (uint32_t)length;
    connection->active = true;
    return length;
}

void tcp_close(struct tcp *connection)
{
    if (!is_open(connection))
        return;
    connection->state =
        connection->state == TCP_ESTABLISHED ? TCP_FIN_WAIT_1 : TCP_LAST_ACK;
    connection->read = connection->received;
    connection->active = true;
}

void tcp_abort(struct tcp *connection)
{
    if (connection->state == TCP_CLOSED || connection->state == TCP_FREE)
        return;
    tcp_reset(connection);
    tcp_drop(connection);
}

struct endpoint tcp_peer(const struct tcp *connection)
{
    return (struct endpoint){key_peer(connection->key), (uint16_t)(connection->key >> 16)};
}

unsigned tcp_index(const struct tcp *connection)
{
    return index_of(connection);
}

/* The round. */

void tcp_input(const struct packet *packet)
{
    struct segment segment;
    if (!segment_parse(packet, &segment))
        return;
    struct tcp *connection = tcp_find(segment.key);
    if (connection) {
        if (connection->state != TCP_CLOSED)
            tcp_accept(connection, &segment);
        return;
    }
    if (handshake_input(&segment) || time_wait_input(&segment))
        return;
    bool listening = tcp_service_of(key_port(segment.key));
    if (!listening)
        counters.no_listener++;
    if (!listening || segment.flags & TCP_ACK)
        segment_refuse(&segment);
    else if (segment.flags & TCP_SYN)
        handshake_begin(&segment, handshake_sequence(segment.key));
}

static void serve(struct tcp *connection)
{
    bool fresh = connection->fresh;
    connection->fresh = false;
    connection->event = false;
    if (fresh && connection->service->opened)
        connection->service->opened(connection);
    if (is_open(connection))
        connection->service->ready(connection);
}

static void forget(struct tcp *connection)
{
    if (!connection->fresh && connection->service->closed)
        connection->service->closed(connection);
    connection->state = TCP_FREE;
    connection->key = 0;
}

uint64_t tcp_round(void)
{
    uint64_t now = net_now(), next = handshake_round();
    for (EACH(connection))
        if (connection->timer && connection->timer <= now)
            tcp_expire(connection);
    for (EACH(connection))
        if (connection->event && is_open(connection))
            serve(connection);
    for (EACH(connection))
        if (connection->state == TCP_CLOSED)
            forget(connection);
    for (EACH(connection)) {
        if (connection->active)
            tcp_output(connection);
        if (connection->state == TCP_CLOSED) /* by a service's `closed` */
            next = now;
        if (connection->timer && (!next || connection->timer < next))
            next = connection->timer;
    }
    return next;
}
