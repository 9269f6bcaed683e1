/* Segments that arrive for a connection (RFC 9293 3.10.7.4). */
#include "counters.h"
#include "tcp.h"
#include "wire.h"

enum { DUPLICATES = 3 }; /* ACKs that stand for a lost segment (RFC 5681 3.2) */

#define LEAST_RTO 50000000ull           /* ns; RFC 6298 has a second, for links less short */
#define CHALLENGE_INTERVAL 10000000ull  /* ns (RFC 5961 7) */

/* The segment is none of this connection's, or tries to end it without knowing where it stands. */
static void challenge(struct tcp *connection)
{
    counters.tcp_unacceptable++;
    if (net_now() < connection->challenge_at)
        return;
    connection->challenge_at = net_now() + CHALLENGE_INTERVAL;
    connection->ack_due = true;
    connection->active = true;
}

/* Whether something of the segment can be in the window. What begins right at the window's end is
 * let through for the sake of its ACK; this also takes care of windows that are closed. */
static bool is_acceptable(const struct tcp *connection, const struct segment *segment)
{
    uint32_t expected = tcp_expected(connection), span = segment_span(segment);
    if (before(later(connection->edge, expected), segment->sequence))
        return false;
    uint32_t last = segment->sequence + span - !!span;
    return !before(last, expected);
}

void tcp_sample_rtt(struct tcp *connection, uint64_t rtt)
{
    rtt = rtt ? rtt : 1;
    if (!connection->rtt) {
        connection->rtt = rtt;
        connection->rtt_variance = rtt / 2;
        return;
    }
    uint64_t difference = rtt > connection->rtt ? rtt - connection->rtt : connection->rtt - rtt;
    connection->rtt_variance = (3 * connection->rtt_variance + difference) / 4;
    connection->rtt = (7 * connection->rtt + rtt) / 8;
}

/* RFC 6298 2; backing off ends with the first ACK. */
static void reset_rto(struct tcp *connection)
{
    if (!connection->rtt) {
        connection->rto = TCP_FIRST_RTO;
        return;
    }
    uint64_t rto = connection->rtt + 4 * connection->rtt_variance;
    connection->rto = rto > LEAST_RTO ? rto : LEAST_RTO;
}

static void grow_window(struct tcp *connection, uint32_t acked)
{
    uint32_t *window = &connection->congestion_window;
    if (*window < connection->threshold)
        *window += acked;
    else
        *window += smaller(acked, connection->mss) * connection->mss / *window + 1;
    *window = smaller(*window, 2 * RING_ROOM);
}

/* RFC 6582 3.2 */
static void acknowledge_in_recovery(struct tcp *connection, uint32_t acked)
{
    if (!before(connection->acknowledged, connection->recover)) {
        connection->recovering = false;
        connection->congestion_window = connection->threshold;
        return;
    }
    tcp_retransmit(connection);
    uint32_t *window = &connection->congestion_window;
    *window = *window > acked ? *window - acked : 0;
    *window += connection->mss;
}

static void advance(struct tcp *connection, uint32_t ack)
{
    uint32_t acked = ack - connection->acknowledged;
    connection->acknowledged = ack;
    connection->data_at = net_now();
    ring_drop(&connection->sending, earlier(ack, connection->end));
    if (!before(ack, connection->end))
        ring_clear(&connection->sending, connection->end);
    connection->next = later(connection->next, ack);
    connection->duplicates = 0;
    connection->expiries = 0;
    connection->timer = 0;
    if (connection->timing && before(connection->timed, ack)) {
        connection->timing = false;
        tcp_sample_rtt(connection, net_now() - connection->timed_at);
    }
    reset_rto(connection);
    if (connection->recovering)
        acknowledge_in_recovery(connection, acked);
    else
        grow_window(connection, acked);
    connection->event = true;
}

static void count_duplicate(struct tcp *connection)
{
    connection->duplicates++;
    if (connection->recovering) {
        connection->congestion_window += connection->mss;
    } else if (connection->duplicates == DUPLICATES &&
               !before(connection->acknowledged, connection->recover)) {
        connection->threshold = tcp_halved_flight(connection);
        connection->congestion_window = connection->threshold + DUPLICATES * connection->mss;
        connection->recover = connection->sent;
        connection->recovering = true;
        tcp_retransmit(connection);
    }
}

static void update_window(struct tcp *connection, const struct segment *segment)
{
    bool newer = before(connection->window_sequence, segment->sequence) ||
                 (connection->window_sequence == segment->sequence &&
                  !before(segment->ack, connection->window_ack));
    if (!newer)
        return;
    uint32_t window = (uint32_t)segment->window << connection->window_scale;
    if (window > connection->window && connection->next == connection->acknowledged) {
        connection->timer = 0; /* that of a probe */
        reset_rto(connection);
    }
    connection->window = window;
    connection->window_sequence = segment->sequence;
    connection->window_ack = segment->ack;
    if (window > connection->largest_window)
        connection->largest_window = window;
}

/* False if the ACK is of another connection (RFC 5961 5.2). */
static bool accept_ack(struct tcp *connection, const struct segment *segment)
{
    uint32_t ack = segment->ack;
    if (before(connection->sent, ack) ||
        before(ack, connection->acknowledged - connection->largest_window)) {
        challenge(connection);
        return false;
    }
    if (before(ack, connection->acknowledged))
        return true;
    if (!tcp_is_closing(connection))
        connection->expiries = 0; /* there is somebody (RFC 1122 4.2.2.17) */
    uint32_t window = (uint32_t)segment->window << connection->window_scale;
    if (ack != connection->acknowledged)
        advance(connection, ack);
    else if (!segment_span(segment) && window == connection->window &&
             connection->next != connection->acknowledged)
        count_duplicate(connection);
    update_window(connection, segment);
    return true;
}

/* Keeps in mind what was received after a gap. False if there are too many gaps. */
static bool add_span(struct tcp *connection, struct span span)
{
    for (unsigned i = 0; i < connection->span_count;) {
        struct span *other = &connection->spans[i];
        if (before(span.end, other->start) || before(other->end, span.start)) {
            i++;
            continue;
        }
        span.start = earlier(span.start, other->start);
        span.end = later(span.end, other->end);
        *other = connection->spans[--connection->span_count];
        i = 0;
    }
    if (connection->span_count == SPANS)
        return false;
    connection->spans[connection->span_count++] = span;
    return true;
}

/* Moves `received` over what has no gap before it any more. */
static void absorb_spans(struct tcp *connection)
{
    for (unsigned i = 0; i < connection->span_count;) {
        struct span *span = &connection->spans[i];
        if (before(connection->received, span->start)) {
            i++;
            continue;
        }
        connection->received = later(connection->received, span->end);
        *span = connection->spans[--connection->span_count];
        i = 0;
    }
}

static void accept_data(struct tcp *connection, const struct segment *segment)
{
    uint32_t start = later(segment->sequence, connection->received);
    uint32_t end = earlier(segment->sequence + segment->length, connection->edge);
    if (!before(start, end) || connection->fin_received)
        return;
    end = ring_reserve(&connection->receiving, start, end);
    if (start == end)
        return; /* no room: it will come again */
    connection->data_at = net_now();
    bool gap = start != connection->received;
    if (!gap)
        connection->received = end;
    else if (!add_span(connection, (struct span){start, end}))
        return;
    ring_put(&connection->receiving, start, segment->data + (start - segment->sequence),
             end - start);
    absorb_spans(connection);
    if (gap)
        tcp_acknowledge(connection); /* one for each segment: RFC 5681 4.2 */
    if (tcp_is_closing(connection))
        connection->read = connection->received;
    connection->event = true;
}

static void accept_fin(struct tcp *connection)
{
    connection->fin_received = true;
    connection->event = true;
    if (connection->state == TCP_ESTABLISHED)
        connection->state = TCP_CLOSE_WAIT;
    else if (connection->state == TCP_FIN_WAIT_1)
        connection->state = TCP_CLOSING;
}

/* What follows once this host's FIN, or the peer's, or both are through. */
static void finish(struct tcp *connection)
{
    if (connection->acknowledged != connection->end + 1)
        return;
    if (connection->state == TCP_FIN_WAIT_1) {
        connection->state = TCP_FIN_WAIT_2;
    } else if (connection->state == TCP_LAST_ACK) {
        tcp_drop(connection);
        return;
    }
    if (connection->fin_received) {
        time_wait_enter(connection);
        tcp_drop(connection);
    }
}

void tcp_accept(struct tcp *connection, const struct segment *segment)
{
    tcp_touch(connection);
    if (!is_acceptable(connection, segment)) {
        if (segment->flags & TCP_RST)
            return;
        if (!segment_span(segment)) {
            challenge(connection);
            return;
        }
        connection->ack_due = true;
        connection->active = true;
        return;
    }
    connection->heard_at = net_now();
    connection->probes = 0;
    if (segment->flags & TCP_RST && segment->sequence == tcp_expected(connection)) {
        counters.tcp_reset++;
        tcp_drop(connection);
        return;
    }
    if (segment->flags & (TCP_RST | TCP_SYN)) {
        challenge(connection);
        return;
    }
    if (!(segment->flags & TCP_ACK) || !accept_ack(connection, segment))
        return;
    connection->active = true;
    if (segment_span(segment)) {
        connection->ack_due = true;
        accept_data(connection, segment);
    }
    uint32_t fin = segment->sequence + segment->length;
    if (segment->flags & TCP_FIN && !before(connection->edge, fin)) {
        connection->fin_seen = true;
        connection->fin = fin;
    }
    if (connection->fin_seen && connection->received == connection->fin &&
        !connection->fin_received)
        accept_fin(connection);
    finish(connection);
}
