/* The connections, what services do with them, and the end of a round. */
#include "tcp.h"

#include "console.h"
#include "counters.h"
#include "hash.h"
#include "memory.h"
#include "runtime.h"
#include "wire.h"

enum {
    SERVICES = 16,
    BUCKETS = 2 * TCP_CONNECTIONS,
};

_Static_assert(!(BUCKETS & (BUCKETS - 1)), "a hash is cut to a bucket by a mask");

struct tcp tcp_connections[TCP_CONNECTIONS];
static uint16_t buckets[BUCKETS]; /* chains of connections, counted from 1 */
static uint16_t unused;           /* the chain of those that are free */
static struct tcp *queue[TCP_CONNECTIONS];
static unsigned queued;
static uint64_t secret, keepalive, timeout;

static struct {
    uint16_t port;
    const struct tcp_service *service;
} services[SERVICES];
static unsigned service_count;

void tcp_start(uint64_t seed)
{
    memset(tcp_connections, 0, sizeof tcp_connections);
    memset(buckets, 0, sizeof buckets);
    for (unsigned i = 0; i < TCP_CONNECTIONS; i++)
        tcp_connections[i].chain = (uint16_t)(i + 2);
    tcp_connections[TCP_CONNECTIONS - 1].chain = 0;
    unused = 1;
    queued = 0;
    service_count = 0;
    secret = mix(~seed);
    keepalive = timeout = 0;
    ring_start();
    timers_start();
    handshake_start(seed);
    time_wait_start();
}

void tcp_set_keepalive(uint64_t ns)
{
    keepalive = ns;
}

void tcp_set_timeout(uint64_t ns)
{
    timeout = ns;
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

static struct tcp *numbered(uint16_t number)
{
    return number ? &tcp_connections[number - 1] : NULL;
}

static uint16_t number_of(const struct tcp *connection)
{
    return (uint16_t)(connection - tcp_connections + 1);
}

static uint16_t *bucket_of(tcp_key key)
{
    return &buckets[mix(key ^ secret) & (BUCKETS - 1)];
}

struct tcp *tcp_find(tcp_key key)
{
    struct tcp *connection = numbered(*bucket_of(key));
    while (connection && connection->key != key)
        connection = numbered(connection->chain);
    return connection;
}

static void unlink(const struct tcp *connection)
{
    uint16_t *link = bucket_of(connection->key);
    while (*link != number_of(connection))
        link = &numbered(*link)->chain;
    *link = connection->chain;
}

void tcp_touch(struct tcp *connection)
{
    if (connection->queued)
        return;
    connection->queued = true;
    queue[queued++] = connection;
}

static void set_due(struct tcp *connection, uint64_t due)
{
    connection->due = due;
    timers_update(connection);
}

/* Tells the service, and makes the place free. */
static void forget(struct tcp *connection)
{
    if (!connection->fresh && connection->service->closed)
        connection->service->closed(connection);
    set_due(connection, 0);
    ring_clear(&connection->sending, 0);
    ring_clear(&connection->receiving, 0);
    unlink(connection);
    connection->state = TCP_FREE;
    connection->key = 0;
    connection->chain = unused;
    unused = number_of(connection);
}

/* The one that was silent for longest, of those that can make room. */
static struct tcp *find_idle(void)
{
    struct tcp *found = NULL;
    for (struct tcp *at = tcp_connections; at < tcp_connections + TCP_CONNECTIONS; at++)
        if ((at->service->yields || tcp_is_closing(at)) &&
            (!found || at->heard_at < found->heard_at))
            found = at;
    return found;
}

bool tcp_is_full(void)
{
    return !unused && !find_idle();
}

static bool make_room(void)
{
    struct tcp *idle = find_idle();
    if (!idle)
        return false;
    counters.tcp_displaced++;
    tcp_abort(idle);
    forget(idle);
    return true;
}

struct tcp *tcp_open(tcp_key key, uint32_t sequence, uint32_t received)
{
    if (!unused && !make_room())
        return NULL;
    struct tcp *connection = numbered(unused);
    unused = connection->chain;
    uint16_t *bucket = bucket_of(key);
    *connection = (struct tcp){
        .state = TCP_ESTABLISHED,
        .key = key,
        .service = tcp_service_of(key_port(key)),
        .fresh = true,
        .event = true,
        .active = true,
        .queued = connection->queued,
        .chain = *bucket,
        .acknowledged = sequence,
        .next = sequence,
        .sent = sequence,
        .end = sequence,
        .recover = sequence,
        .threshold = UINT32_MAX,
        .rto = TCP_FIRST_RTO,
        .heard_at = net_now(),
        .data_at = net_now(),
        .window_sequence = received - 1,
        .window_ack = sequence,
        .read = received,
        .received = received,
        .edge = received + RECEIVE_WINDOW,
        .sending.start = sequence,
        .receiving.start = received,
    };
    *bucket = number_of(connection);
    tcp_touch(connection);
    return connection;
}

void tcp_drop(struct tcp *connection)
{
    connection->state = TCP_CLOSED;
    connection->timer = 0;
    connection->alarm = 0;
    connection->active = false;
    tcp_touch(connection);
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

static void activate(struct tcp *connection)
{
    connection->active = true;
    tcp_touch(connection);
}

static uint32_t waiting_in(const struct tcp *connection)
{
    return is_open(connection) ? connection->received - connection->read : 0;
}

const uint8_t *tcp_peek(const struct tcp *connection, size_t *length)
{
    uint32_t waiting = waiting_in(connection), stretch;
    *length = 0;
    if (!waiting)
        return NULL;
    const uint8_t *data = ring_at(&connection->receiving, connection->read, &stretch);
    *length = smaller(waiting, stretch);
    return data;
}

size_t tcp_copy(const struct tcp *connection, size_t offset, void *to, size_t length)
{
    size_t waiting = waiting_in(connection);
    if (offset >= waiting)
        return 0;
    if (length > waiting - offset)
        length = waiting - offset;
    ring_get(&connection->receiving, connection->read + (uint32_t)offset, to, length);
    return length;
}

void tcp_consume(struct tcp *connection, size_t length)
{
    uint32_t waiting = connection->received - connection->read;
    connection->read += length < waiting ? (uint32_t)length : waiting;
    activate(connection);
}

bool tcp_has_all(const struct tcp *connection)
{
    return connection->fin_received;
}

bool tcp_at_end(const struct tcp *connection)
{
    return connection->fin_received && connection->read == connection->received;
}

size_t tcp_room(const struct tcp *connection)
{
    if (!is_open(connection))
        return 0;
    size_t left = RING_ROOM - (connection->end - connection->acknowledged);
    size_t room = ring_room(&connection->sending, connection->end);
    return room < left ? room : left;
}

size_t tcp_write(struct tcp *connection, const void *data, size_t length)
{
    size_t room = tcp_room(connection);
    if (length > room)
        length = room;
    ring_reserve(&connection->sending, connection->end, connection->end + (uint32_t)length);
    ring_put(&connection->sending, connection->end, data, length);
    connection->end += (uint32_t)length;
    activate(connection);
    return length;
}

void tcp_close(struct tcp *connection)
{
    if (!is_open(connection))
        return;
    connection->state =
        connection->state == TCP_ESTABLISHED ? TCP_FIN_WAIT_1 : TCP_LAST_ACK;
    connection->read = connection->received;
    connection->alarm = 0;
    activate(connection);
}

void tcp_call_at(struct tcp *connection, uint64_t time)
{
    connection->alarm = is_open(connection) ? time : 0;
    tcp_touch(connection);
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
    return (unsigned)(connection - tcp_connections);
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
    else if (handshake_accept(&segment))
        return;
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

static bool is_past(uint64_t time)
{
    return time && time <= net_now();
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a && (!b || a < b) ? a : b;
}

/* While nothing is on its way to the peer; otherwise its ACKs are waited for. */
static uint64_t keepalive_due(const struct tcp *connection)
{
    if (!keepalive || !is_open(connection) || connection->acknowledged != connection->end)
        return 0;
    return connection->heard_at + keepalive + connection->probes * (keepalive / KEEPALIVE_PROBES);
}

static uint64_t timeout_due(const struct tcp *connection)
{
    return timeout && is_open(connection) ? connection->data_at + timeout : 0;
}

static uint64_t next_due(const struct tcp *connection)
{
    uint64_t idle = sooner(keepalive_due(connection), timeout_due(connection));
    return sooner(sooner(connection->timer, connection->alarm), idle);
}

static void expire(struct tcp *connection)
{
    tcp_touch(connection);
    if (is_past(connection->alarm)) {
        connection->alarm = 0;
        connection->event = true;
    } else if (is_past(connection->timer)) {
        tcp_expire(connection);
    } else if (is_past(timeout_due(connection))) {
        tcp_close(connection);
    } else if (is_past(keepalive_due(connection))) {
        tcp_probe(connection);
    }
    set_due(connection, next_due(connection));
}

static void expire_all(void)
{
    struct tcp *first = timers_first();
    for (; first && first->due <= net_now(); first = timers_first())
        expire(first);
}

uint64_t tcp_round(void)
{
    uint64_t handshakes = handshake_round();
    expire_all();
    for (unsigned i = 0; i < queued; i++)
        if (queue[i]->event && is_open(queue[i]))
            serve(queue[i]);
    for (unsigned i = 0; i < queued; i++)
        if (queue[i]->state == TCP_CLOSED)
            forget(queue[i]);
    unsigned left = 0;
    for (unsigned i = 0; i < queued; i++) {
        struct tcp *connection = queue[i];
        if (connection->active)
            tcp_output(connection);
        set_due(connection, next_due(connection));
        connection->queued = connection->state == TCP_CLOSED; /* by a service's `closed` */
        if (connection->queued)
            queue[left++] = connection;
    }
    queued = left;
    if (left)
        return net_now();
    struct tcp *first = timers_first();
    return sooner(first ? first->due : 0, handshakes);
}
