/* TIME-WAIT: answers the peer's FIN again if the last ACK was lost. */
#include "memory.h"
#include "tcp.h"
#include "wire.h"

enum { WAITS = 128 };

/* Long enough for a peer that repeats its FIN after 200 and 400 ms. What 2 MSL guard against
 * besides, an old segment in a new connection, would have to be in its window. */
#define WAIT 1000000000ull

static struct wait {
    tcp_key key; /* 0: free */
    uint32_t sequence, received; /* after the FINs */
    uint64_t until;
} waits[WAITS];

void time_wait_start(void)
{
    memset(waits, 0, sizeof waits);
}

static struct wait *oldest(void)
{
    struct wait *found = waits;
    for (struct wait *at = waits; at < waits + WAITS; at++)
        if (at->until < found->until)
            found = at;
    return found;
}

static void send_ack(const struct wait *wait)
{
    segment_send(wait->key, wait->sequence, wait->received, TCP_ACK, RECEIVE_WINDOW, 0);
}

void time_wait_enter(const struct tcp *connection)
{
    struct wait *wait = oldest();
    *wait = (struct wait){
        .key = connection->key,
        .sequence = connection->sent,
        .received = tcp_expected(connection),
        .until = net_now() + WAIT,
    };
    send_ack(wait);
}

bool time_wait_input(const struct segment *segment)
{
    struct wait *wait = waits;
    while (wait < waits + WAITS && wait->key != segment->key)
        wait++;
    if (wait == waits + WAITS || net_now() >= wait->until)
        return false;
    if (segment->flags & TCP_RST) /* ignored: RFC 1337 */
        return true;
    bool syn = (segment->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
    if (syn && before(wait->received, segment->sequence)) { /* RFC 1122 4.2.2.13 */
        uint32_t sequence = wait->sequence + RECEIVE_WINDOW + 1;
        *wait = (struct wait){0};
        if (tcp_service_of(key_port(segment->key)))
            handshake_begin(segment, sequence);
        return true;
    }
    if (segment_span(segment) || segment->sequence != wait->received)
        send_ack(wait);
    return true;
}
