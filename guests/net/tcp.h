/* TCP as a server needs it (RFC 9293). What this host knows of a peer is in one of three tables:
 *
 *   handshake.c    SYN-RECEIVED: few bytes each, and none at all for more than it has room for, so
 *                  that a flood of SYNs takes nothing from who completes the handshake
 *   tcp.c          connections, with buffers, from ESTABLISHED until both sides have closed
 *   time_wait.c    TIME-WAIT
 *
 * tcp_input.c takes segments in, tcp_output.c decides what to send, tcp_segment.c knows their
 * layout, ring.c buffers. A round ends with one call of tcp_round, and costs as much as there are
 * connections with something to do. */
#ifndef NET_TCP_H
#define NET_TCP_H

#include <stdbool.h>
#include <stdint.h>

#include "ipv4.h"
#include "net.h"
#include "ring.h"

enum {
    RECEIVE_WINDOW = UINT16_MAX, /* without scaling */
    SPANS = 8,
    KEEPALIVE_PROBES = 3, /* without an answer until giving up */
};

#define TCP_FIRST_RTO 200000000ull /* ns */

/* Sequence numbers are compared modulo 2^32 (RFC 9293 3.4). */
static inline bool before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static inline uint32_t earlier(uint32_t a, uint32_t b)
{
    return before(a, b) ? a : b;
}

static inline uint32_t later(uint32_t a, uint32_t b)
{
    return before(a, b) ? b : a;
}

static inline uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* The peer's address and port and the port here in one number, never 0. */
typedef uint64_t tcp_key;

static inline tcp_key key_of(uint32_t peer, uint16_t peer_port, uint16_t port)
{
    return (uint64_t)peer << 32 | (uint32_t)peer_port << 16 | port;
}

static inline uint32_t key_peer(tcp_key key)
{
    return (uint32_t)(key >> 32);
}

static inline uint16_t key_port(tcp_key key)
{
    return (uint16_t)key;
}

struct segment {
    tcp_key key;
    uint32_t sequence, ack;
    uint8_t flags;
    uint16_t window;
    const uint8_t *data;
    uint32_t length;
    uint16_t mss;       /* 0: no option */
    bool scaled;        /* has the option, with this shift */
    uint8_t scale;
};

/* The sequence numbers a segment takes up. */
uint32_t segment_span(const struct segment *segment);

/* States of a connection with buffers; CLOSED: `closed` is still to be called. */
enum tcp_state {
    TCP_FREE,
    TCP_ESTABLISHED,
    TCP_CLOSE_WAIT,
    TCP_FIN_WAIT_1,
    TCP_FIN_WAIT_2,
    TCP_CLOSING,
    TCP_LAST_ACK,
    TCP_CLOSED,
};

struct span {
    uint32_t start, end;
};

struct tcp {
    enum tcp_state state;
    tcp_key key;
    const struct tcp_service *service;
    bool fresh;  /* `opened` is still to be called */
    bool event;  /* `ready` is still to be called */
    bool active; /* tcp_output is to look at it in this round */
    bool queued; /* among those that this round is about */
    bool ack_due;
    uint16_t chain; /* the next in the same bucket, counted from 1 */
    uint16_t place; /* in the queue of timers, counted from 1; 0: not there */

    /* Sending. Ordered: acknowledged <= next <= sent <= end + 1, where the FIN follows `end`. */
    uint32_t acknowledged; /* SND.UNA */
    uint32_t next;         /* SND.NXT; goes back when the timer expires */
    uint32_t sent;         /* the highest SND.NXT so far */
    uint32_t end;          /* of what was written */
    uint32_t window, window_sequence, window_ack; /* SND.WND, SND.WL1, SND.WL2 */
    uint32_t largest_window;
    uint8_t window_scale;
    uint32_t mss;

    /* Congestion control (RFC 5681, RFC 6582). */
    uint32_t congestion_window, threshold;
    uint32_t duplicates; /* of the last ACK */
    uint32_t recover;    /* fast recovery ends when this is acknowledged */
    bool recovering;

    /* Timer: retransmission, window probe, or the end of FIN-WAIT-2. 0: off. Times in ns. */
    uint64_t timer;
    uint64_t alarm; /* when the service wants to be called; 0: off */
    uint64_t due;   /* the earliest of these, keepalive and timeout; 0: none is on */
    uint64_t heard_at;
    uint64_t data_at; /* when data came, or were acknowledged */
    unsigned probes; /* of keepalive, since then */
    uint64_t rto, rtt, rtt_variance; /* rtt 0: not measured yet */
    unsigned expiries;               /* without an answer */
    bool timing;                     /* waiting for the ACK of `timed`, sent at `timed_at` */
    uint32_t timed;
    uint64_t timed_at;
    uint64_t challenge_at; /* no challenge ACK before */

    /* Receiving. Ordered: read <= received <= edge. */
    uint32_t read;
    uint32_t received; /* RCV.NXT, without the FIN */
    uint32_t edge;     /* of the window the peer knows */
    bool fin_seen;     /* at `fin`, perhaps with gaps before */
    uint32_t fin;
    bool fin_received; /* without gaps */
    unsigned span_count;
    struct span spans[SPANS]; /* received after a gap; disjoint, in no order */

    struct ring sending, receiving;
};

/* tcp.c */

extern struct tcp tcp_connections[TCP_CONNECTIONS];

void tcp_start(uint64_t seed);
/* For how long nothing is heard until the peer is asked whether it is there; 0: for ever. */
void tcp_set_keepalive(uint64_t ns);
/* For how long a connection stays open without data in either direction; 0: for ever. */
void tcp_set_timeout(uint64_t ns);
void tcp_input(const struct packet *packet);
/* Timers, services, output. Returns when the next timer is due, or 0. */
uint64_t tcp_round(void);

struct tcp *tcp_find(tcp_key key);
const struct tcp_service *tcp_service_of(uint16_t port);
/* All connections are in use and none can make room. */
bool tcp_is_full(void);
/* A connection with the sequence numbers after both SYNs, in place of another if all are in use;
 * NULL if none can make room. */
struct tcp *tcp_open(tcp_key key, uint32_t sequence, uint32_t received);
/* No more is sent or received. */
void tcp_drop(struct tcp *connection);
bool tcp_is_closing(const struct tcp *connection);
/* Something has changed: this round, or the next, is about this connection, too. */
void tcp_touch(struct tcp *connection);

/* tcp_input.c */

void tcp_accept(struct tcp *connection, const struct segment *segment);
void tcp_sample_rtt(struct tcp *connection, uint64_t rtt);

/* tcp_output.c */

void tcp_output(struct tcp *connection);
/* RCV.NXT */
uint32_t tcp_expected(const struct tcp *connection);
void tcp_acknowledge(struct tcp *connection);
void tcp_reset(struct tcp *connection);
/* What is left of the first segment that is not acknowledged. */
void tcp_retransmit(struct tcp *connection);
void tcp_expire(struct tcp *connection);
/* Asks an idle peer for a sign of life. */
void tcp_probe(struct tcp *connection);
/* The threshold after a loss (RFC 5681 3.1). */
uint32_t tcp_halved_flight(const struct tcp *connection);

/* tcp_timers.c: the connections with a timer on, by when it is due */

void timers_start(void);
/* After a change of `due`. */
void timers_update(struct tcp *connection);
/* The connection that is due first, or NULL. */
struct tcp *timers_first(void);

/* tcp_segment.c */

/* False if it is malformed, and counted. */
bool segment_parse(const struct packet *packet, struct segment *segment);
/* Where the data of the next segment without options is put together. */
uint8_t *segment_data(void);
void segment_send(tcp_key key, uint32_t sequence, uint32_t ack, uint8_t flags, uint16_t window,
                  size_t length);
void segment_send_syn(tcp_key key, uint32_t sequence, uint32_t ack, bool scaled);
/* RST for a segment that belongs to no connection (RFC 9293 3.10.7.1). */
void segment_refuse(const struct segment *segment);

/* handshake.c */

void handshake_start(uint64_t seed);
/* An initial sequence number (RFC 6528). */
uint32_t handshake_sequence(tcp_key key);
/* Answers a SYN to a port that has a service. */
void handshake_begin(const struct segment *syn, uint32_t sequence);
/* False if the segment belongs to no handshake. */
bool handshake_input(const struct segment *segment);
/* Opens a connection if the segment acknowledges a SYN-ACK of which nothing was kept. */
bool handshake_accept(const struct segment *segment);
/* Repeats SYN-ACKs. Returns when the next is due, or 0. */
uint64_t handshake_round(void);

/* time_wait.c */

void time_wait_start(void);
/* For a connection that has sent and received all and both FINs. */
void time_wait_enter(const struct tcp *connection);
/* False if the segment belongs to no connection in TIME-WAIT. */
bool time_wait_input(const struct segment *segment);

#endif
