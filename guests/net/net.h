/* An IPv4 host: what a guest with a network device programs against.
 *
 * One device, one address. The guest registers its services and calls net_serve, which never
 * returns: it waits for frames and timers and calls the services' functions, one at a time. */
#ifndef NET_H
#define NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct boot_info;

/* The options net_start reads; a guest lists them in OPTIONS_ALLOW with its own. */
#define NET_OPTIONS "ipv4", "ipv4-gateway", "tcp-keepalive", "tcp-timeout"

/* Takes the device with this name, the address from --ipv4=ADDR/LEN and --ipv4-gateway=ADDR, and
 * from --tcp-keepalive=S after how many seconds of silence a peer is asked whether it is there (300;
 * 0 for never); one that does not answer is given up after as long again. After --tcp-timeout=S
 * seconds without data in either direction a connection is closed (0 for never). Halts with status 2 and a message if they are missing or malformed. */
void net_start(const struct boot_info *boot, const char *device);

/* Runs the services for ever. */
_Noreturn void net_serve(void);

/* Nanoseconds since the guest started, as of the last round of net_serve. */
uint64_t net_now(void);

/* Addresses and ports are in host byte order. */
struct endpoint {
    uint32_t address;
    uint16_t port;
};

/* TCP. */

struct tcp;

/* Functions of a service. Each may be NULL but `ready`. */
struct tcp_service {
    /* The handshake is complete. */
    void (*opened)(struct tcp *connection);
    /* There is something to read, or room to write, or the peer has closed. */
    void (*ready)(struct tcp *connection);
    /* The connection is gone, in whatever way; the pointer is not valid afterwards. */
    void (*closed)(struct tcp *connection);
    /* When all connections are in use and there is a new one, that which was silent for longest is
     * reset. Otherwise the new one has to wait. */
    bool yields;
};

void tcp_listen(uint16_t port, const struct tcp_service *service);

/* The first stretch of received bytes, NULL and *length 0 if there is none. Valid until tcp_consume
 * or the return of the service's function. There may be more behind it. */
const uint8_t *tcp_peek(const struct tcp *connection, size_t *length);
void tcp_consume(struct tcp *connection, size_t length);
/* Copies of the received bytes those from `offset` on, at most `length`; returns how many. */
size_t tcp_copy(const struct tcp *connection, size_t offset, void *to, size_t length);
/* The peer has sent FIN: nothing will follow what has been received. */
bool tcp_has_all(const struct tcp *connection);
/* And all of that was consumed. */
bool tcp_at_end(const struct tcp *connection);

/* Room in the send buffer, which is less the more others have in theirs. */
size_t tcp_room(const struct tcp *connection);
/* Copies as much as there is room for; returns how much. What several calls within one call of a
 * service's function write goes out together. */
size_t tcp_write(struct tcp *connection, const void *data, size_t length);
/* FIN after what was written; further input is read and dropped. */
void tcp_close(struct tcp *connection);
/* RST, now. `closed` is called after the service's function has returned. */
void tcp_abort(struct tcp *connection);

/* Calls `ready` when net_now is this, whatever has happened until then; 0: never. Calls it once,
 * and replaces an earlier time. */
void tcp_call_at(struct tcp *connection, uint64_t time);

struct endpoint tcp_peer(const struct tcp *connection);
/* A number from 0 to TCP_CONNECTIONS - 1 that no other open connection has: an index for the
 * service's own state. */
unsigned tcp_index(const struct tcp *connection);
#ifndef TCP_CONNECTIONS
#define TCP_CONNECTIONS 2048
#endif

/* UDP. */

typedef void udp_receiver(uint16_t port, struct endpoint from, const uint8_t *data, size_t length);
void udp_listen(uint16_t port, udp_receiver *receiver);
/* From `port`; what is longer than fits in one frame is dropped, as is what has no route or no
 * known link address after an ARP query. */
void udp_send(uint16_t port, struct endpoint to, const void *data, size_t length);

/* Frames, and what was dropped for which reason. */

struct net_counters {
    uint64_t frames_received, frames_sent;
    uint64_t send_failed;      /* the device did not take the frame */
    uint64_t too_short;        /* for its headers */
    uint64_t too_long;         /* datagram of udp_send that does not fit in a frame */
    uint64_t bad_header;       /* wrong version, options, or lengths that contradict each other */
    uint64_t bad_checksum;
    uint64_t bad_source;       /* an address that no other host can have */
    uint64_t fragment;         /* that contradicts others of its packet */
    uint64_t not_for_us;
    uint64_t unknown_protocol;
    uint64_t no_listener;      /* on this port */
    uint64_t no_route;
    uint64_t arp_dropped;      /* waited for a link address in vain */
    uint64_t tcp_full;         /* SYN or last ACK of a handshake while all connections are in use */
    uint64_t tcp_cookies;      /* SYNs answered without keeping anything of them */
    uint64_t tcp_displaced;    /* connections that made room for a newer one */
    uint64_t tcp_unacceptable; /* outside the window, or acknowledging what was never sent */
    uint64_t tcp_retransmitted;
    uint64_t tcp_reset;        /* connections ended by the peer's RST */
    uint64_t tcp_given_up;     /* connections whose peer has stopped answering */
};

const struct net_counters *net_counters(void);

#endif
