/* Handshakes that wait for their last ACK: SYN-RECEIVED. */
#include "cookie.h"
#include "counters.h"
#include "memory.h"
#include "tcp.h"
#include "wire.h"

enum {
    HANDSHAKES = 128,
    TRIES = 6, /* SYN-ACKs, over 200 ms * (2^6 - 1) = 12.6 s */
    DEFAULT_MSS = 536, /* RFC 9293 3.7.1 */
    LEAST_MSS = 64, /* of a peer that wants all in tiny segments */
};

static struct handshake {
    tcp_key key; /* 0: free */
    uint32_t sequence, received; /* after the SYNs */
    uint16_t mss;
    uint8_t scale;
    bool scaled;
    unsigned tries;
    uint64_t begun, due; /* ns */
} handshakes[HANDSHAKES];

void handshake_start(uint64_t seed)
{
    memset(handshakes, 0, sizeof handshakes);
    cookie_start(seed);
}

uint32_t handshake_sequence(tcp_key key)
{
    return (uint32_t)(net_now() >> 6) + (uint32_t)cookie_hash(key, 0);
}

static struct handshake *find(tcp_key key)
{
    for (struct handshake *at = handshakes; at < handshakes + HANDSHAKES; at++)
        if (at->key == key)
            return at;
    return NULL;
}

static void send_syn(struct handshake *handshake)
{
    handshake->due = net_now() + (TCP_FIRST_RTO << handshake->tries++);
    segment_send_syn(handshake->key, handshake->sequence - 1, handshake->received,
                     handshake->scaled);
}

static void send_ack(const struct handshake *handshake)
{
    segment_send(handshake->key, handshake->sequence, handshake->received, TCP_ACK,
                 RECEIVE_WINDOW, 0);
}

/* What is sent to a peer in one segment. */
static uint16_t mss_of(const struct segment *syn)
{
    uint32_t mss = syn->mss ? syn->mss : DEFAULT_MSS;
    uint32_t room = (uint32_t)(ipv4_room() - sizeof(struct tcp_header));
    return (uint16_t)(mss < LEAST_MSS ? LEAST_MSS : smaller(mss, room));
}

/* Answers, and keeps nothing: the peer's ACK will say it all. */
static void send_cookie(const struct segment *syn)
{
    struct segment known = *syn;
    known.mss = mss_of(syn);
    counters.tcp_cookies++;
    segment_send_syn(syn->key, cookie_make(&known), syn->sequence + 1, syn->scaled);
}

void handshake_begin(const struct segment *syn, uint32_t sequence)
{
    if (tcp_is_full()) {
        counters.tcp_full++;
        return;
    }
    struct handshake *handshake = find(0);
    if (!handshake) {
        send_cookie(syn);
        return;
    }
    *handshake = (struct handshake){
        .key = syn->key,
        .sequence = sequence + 1,
        .received = syn->sequence + 1,
        .mss = mss_of(syn),
        .scaled = syn->scaled,
        .scale = syn->scale,
        .begun = net_now(),
    };
    send_syn(handshake);
}

static void complete(struct handshake *handshake, const struct segment *segment)
{
    struct tcp *connection =
        tcp_open(handshake->key, handshake->sequence, handshake->received);
    if (!connection) {
        counters.tcp_full++;
        return;
    }
    connection->mss = handshake->mss;
    connection->window_scale = handshake->scale;
    connection->congestion_window = 10 * connection->mss; /* RFC 6928 */
    if (handshake->tries == 1)
        tcp_sample_rtt(connection, net_now() - handshake->begun);
    handshake->key = 0;
    tcp_accept(connection, segment);
}

bool handshake_input(const struct segment *segment)
{
    struct handshake *handshake = find(segment->key);
    if (!handshake)
        return false;
    uint32_t offset = segment->sequence - handshake->received;
    if (segment->flags & TCP_RST) {
        if (!offset)
            handshake->key = 0;
        else if (offset < RECEIVE_WINDOW)
            send_ack(handshake);
    } else if (segment->flags & TCP_SYN) {
        bool again = offset + 1 == 0 && !(segment->flags & TCP_ACK);
        if (again && handshake->tries < TRIES)
            send_syn(handshake);
        else
            send_ack(handshake); /* a peer that has forgotten answers with RST */
    } else if (offset > RECEIVE_WINDOW) {
        send_ack(handshake);
    } else if (segment->flags & TCP_ACK) {
        if (segment->ack == handshake->sequence)
            complete(handshake, segment);
        else
            segment_refuse(segment);
    }
    return true;
}

bool handshake_accept(const struct segment *ack)
{
    struct segment segment = *ack;
    if ((ack->flags & (TCP_ACK | TCP_SYN | TCP_RST)) != TCP_ACK || !cookie_accept(&segment))
        return false;
    struct handshake handshake = {
        .key = segment.key,
        .sequence = segment.ack,
        .received = segment.sequence,
        .mss = mss_of(&segment),
        .scaled = segment.scaled,
        .scale = segment.scale,
    };
    complete(&handshake, &segment);
    return true;
}

uint64_t handshake_round(void)
{
    uint64_t next = 0;
    for (struct handshake *at = handshakes; at < handshakes + HANDSHAKES; at++) {
        if (!at->key)
            continue;
        if (at->due <= net_now()) {
            if (at->tries == TRIES) {
                at->key = 0;
                continue;
            }
            send_syn(at);
        }
        if (!next || at->due < next)
            next = at->due;
    }
    return next;
}
