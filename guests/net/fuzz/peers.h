/* Hosts at the other end, which follow what the stack sends. */
#ifndef FUZZ_PEERS_H
#define FUZZ_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PEERS = 160, /* every other one behind the gateway */
    OWN_ADDRESS = 0x0a000002,
    GATEWAY = 0x0a000001,
};

struct peer {
    uint32_t start;    /* its own initial sequence number */
    uint32_t next;     /* after what it has sent */
    uint32_t expected; /* after what it has received without a gap */
    int scale;         /* window scale of its SYN; -1: no option */
    unsigned losses;   /* so many segments with data it will not see */
    bool answers;      /* with an ACK to every segment with data */
};

extern struct peer peers[PEERS];

void peers_start(void);
/* All at offsets from what is right: 0 is what a peer would send. */
void peers_segment(unsigned number, uint8_t flags, int32_t sequence, int32_t ack, uint16_t window,
                   size_t length);
/* Two segments after gaps, then those that fill them. */
void peers_gaps(unsigned number, uint8_t length);
/* A new connection, whatever has become of the last. */
void peers_syn(unsigned number);
void peers_datagram(unsigned number, uint16_t port, size_t length);
void peers_ping(unsigned number, size_t length);
/* A packet with these fields, with two bytes of the header's options as given. */
void peers_fragment(unsigned number, uint8_t id, uint16_t fragment, uint16_t options,
                    size_t length);
void peers_arp(uint16_t operation, uint32_t sender, uint32_t target);
/* Changes a byte of the next frame. */
void peers_corrupt(unsigned at, uint8_t change);
void peers_raw(const uint8_t *frame, size_t length);

#endif
