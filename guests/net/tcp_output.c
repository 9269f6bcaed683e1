/* What a connection sends, and when it sends again. */
#include "counters.h"
#include "tcp.h"
#include "wire.h"

enum {
    EXPIRIES = 17, /* in a row until giving up: with the RTOs below at least 100 s */
    WINDOW_STEP = 1460,
};

#define LARGEST_RTO (10 * 1000000000ull)      /* ns */
#define FIN_WAIT_2_TIME (10 * 1000000000ull)  /* ns the peer has to close, too */

uint32_t tcp_expected(const struct tcp *connection)
{
    return connection->received + connection->fin_received;
}

/* For a segment without data: what the peer accepts although `next` may lie behind or a probe of
 * its closed window ahead. */
static uint32_t empty_sequence(const struct tcp *connection)
{
    uint32_t edge = connection->acknowledged + connection->window;
    return later(connection->next, earlier(connection->sent, edge));
}

/* Opens the window only by a worthwhile step (RFC 9293 3.8.6.2.2) and never takes it back. */
static uint16_t window_of(struct tcp *connection)
{
    uint32_t edge = connection->read + RECEIVE_WINDOW;
    if (edge - connection->edge >= WINDOW_STEP)
        connection->edge = edge;
    return (uint16_t)(connection->edge - connection->received);
}

void tcp_acknowledge(struct tcp *connection)
{
    connection->ack_due = false;
    segment_send(connection->key, empty_sequence(connection), tcp_expected(connection), TCP_ACK,
                 window_of(connection), 0);
}

void tcp_reset(struct tcp *connection)
{
    segment_send(connection->key, empty_sequence(connection), tcp_expected(connection),
                 TCP_RST | TCP_ACK, 0, 0);
}

static uint32_t data_after(const struct tcp *connection, uint32_t sequence)
{
    return before(sequence, connection->end) ? connection->end - sequence : 0;
}

/* A segment of data, with the FIN if there is one and the data reaches it. Returns the sequence
 * number after it. */
static uint32_t transmit(struct tcp *connection, uint32_t sequence, uint32_t length)
{
    uint8_t flags = TCP_ACK;
    uint32_t after = sequence + length;
    ring_get(&connection->sending, sequence, segment_data(), length);
    if (length && after == connection->end)
        flags |= TCP_PSH;
    if (after == connection->end && tcp_is_closing(connection)) {
        flags |= TCP_FIN;
        after++;
    }
    connection->ack_due = false;
    if (before(connection->sent, after)) {
        if (!connection->timing) {
            connection->timing = true;
            connection->timed = connection->sent;
            connection->timed_at = net_now();
        }
        connection->sent = after;
    } else {
        counters.tcp_retransmitted++;
    }
    segment_send(connection->key, sequence, tcp_expected(connection), flags,
                 window_of(connection), length);
    return after;
}

void tcp_retransmit(struct tcp *connection)
{
    connection->timing = false; /* RFC 6298 3 */
    uint32_t length = smaller(data_after(connection, connection->acknowledged), connection->mss);
    transmit(connection, connection->acknowledged, length);
}

/* How much of the data goes into the next segment now; 0: none (RFC 9293 3.8.6.2.1). */
static uint32_t next_length(const struct tcp *connection)
{
    uint32_t data = data_after(connection, connection->next);
    uint32_t flight = connection->next - connection->acknowledged;
    uint32_t window = smaller(connection->window, connection->congestion_window);
    uint32_t usable = window > flight ? window - flight : 0;
    uint32_t length = smaller(data, usable);
    if (length >= connection->mss)
        return connection->mss;
    if (length < data)
        return length >= connection->largest_window / 2 ? length : 0;
    /* A service that has filled the buffer will fill this segment, too. */
    if (flight && tcp_room(connection) < connection->mss && !tcp_is_closing(connection))
        return 0;
    return length;
}

static void send_new(struct tcp *connection)
{
    for (;;) {
        uint32_t length = next_length(connection);
        bool fin = tcp_is_closing(connection) && connection->next + length == connection->end;
        if (!length && !fin)
            return;
        connection->next = transmit(connection, connection->next, length);
    }
}

static void arm_timer(struct tcp *connection)
{
    bool flight = connection->next != connection->acknowledged;
    if (flight || data_after(connection, connection->next)) {
        if (!connection->timer)
            connection->timer = net_now() + connection->rto;
    } else if (connection->state == TCP_FIN_WAIT_2) {
        if (!connection->timer)
            connection->timer = net_now() + FIN_WAIT_2_TIME;
    } else {
        connection->timer = 0;
    }
}

/* What the service has read needs no pages. */
static void trim(struct tcp *connection)
{
    ring_drop(&connection->receiving, connection->read);
    if (connection->read == connection->received && !connection->span_count)
        ring_clear(&connection->receiving, connection->read);
}

void tcp_output(struct tcp *connection)
{
    connection->active = false;
    trim(connection);
    send_new(connection);
    bool update = connection->read + RECEIVE_WINDOW - connection->edge >= 2 * WINDOW_STEP;
    if (connection->ack_due || update)
        tcp_acknowledge(connection);
    arm_timer(connection);
}

static void give_up(struct tcp *connection)
{
    counters.tcp_given_up++;
    tcp_abort(connection);
}

uint32_t tcp_halved_flight(const struct tcp *connection)
{
    uint32_t half = (connection->sent - connection->acknowledged) / 2;
    return half > 2 * connection->mss ? half : 2 * connection->mss;
}

/* Something in flight was lost: start over with it (RFC 5681 3.1). */
static void rewind(struct tcp *connection)
{
    if (connection->expiries == 1)
        connection->threshold = tcp_halved_flight(connection);
    connection->congestion_window = connection->mss;
    connection->next = connection->acknowledged;
    connection->recover = connection->sent;
    connection->recovering = false;
    connection->duplicates = 0;
    connection->timing = false;
}

void tcp_expire(struct tcp *connection)
{
    connection->timer = 0;
    if (connection->state == TCP_FIN_WAIT_2 || ++connection->expiries > EXPIRIES) {
        give_up(connection);
        return;
    }
    if (connection->expiries > 1)
        ipv4_doubt(key_peer(connection->key));
    connection->rto = connection->rto * 2 < LARGEST_RTO ? connection->rto * 2 : LARGEST_RTO;
    if (connection->next != connection->acknowledged)
        rewind(connection);
    connection->timing = false;
    uint32_t window = connection->window ? connection->window : 1;
    uint32_t length = smaller(data_after(connection, connection->next), connection->mss);
    length = smaller(length, window);
    uint32_t after = transmit(connection, connection->next, length);
    if (length <= connection->window)
        connection->next = after; /* otherwise a probe of a closed window, to be sent once more */
    connection->timing = false;
    connection->active = true;
}

void tcp_probe(struct tcp *connection)
{
    if (connection->probes == KEEPALIVE_PROBES) {
        give_up(connection);
        return;
    }
    connection->probes++;
    segment_send(connection->key, connection->next - 1, tcp_expected(connection), TCP_ACK,
                 window_of(connection), 0); /* RFC 9293 3.8.4 */
}
