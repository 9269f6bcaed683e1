/* Headers as they lie on the wire, and the byte order of their numbers. */
#ifndef NET_WIRE_H
#define NET_WIRE_H

#include <stdint.h>

#define WIRE __attribute__((packed, may_alias))

static inline uint16_t swap16(uint16_t value)
{
    return __builtin_bswap16(value);
}

static inline uint32_t swap32(uint32_t value)
{
    return __builtin_bswap32(value);
}

enum {
    ETHERTYPE_IPV4 = 0x0800,
    ETHERTYPE_ARP = 0x0806,
};

struct ethernet_header {
    uint8_t to[6], from[6];
    uint16_t type;
} WIRE;

enum {
    ARP_ETHERNET = 1,
    ARP_REQUEST = 1,
    ARP_REPLY = 2,
};

struct arp_packet {
    uint16_t hardware, protocol;
    uint8_t hardware_size, protocol_size;
    uint16_t operation;
    uint8_t sender_mac[6];
    uint32_t sender;
    uint8_t target_mac[6];
    uint32_t target;
} WIRE;

enum {
    PROTOCOL_ICMP = 1,
    PROTOCOL_TCP = 6,
    PROTOCOL_UDP = 17,

    IPV4_PLAIN = 0x45, /* version 4, no options */
    IPV4_MORE = 0x2000,   /* fragments follow */
    IPV4_OFFSET = 0x1fff, /* of a fragment, in 8 bytes */
    IPV4_TTL = 64,

    IPV4_OPTION_END = 0,
    IPV4_OPTION_NONE = 1,
    IPV4_OPTION_LOOSE_ROUTE = 131,
    IPV4_OPTION_STRICT_ROUTE = 137,
};

struct ipv4_header {
    uint8_t version, service;
    uint16_t length, id, fragment;
    uint8_t ttl, protocol;
    uint16_t checksum;
    uint32_t from, to;
} WIRE;

/* What a TCP or UDP checksum covers beside the segment. */
struct pseudo_header {
    uint32_t from, to;
    uint8_t zero, protocol;
    uint16_t length;
} WIRE;

enum {
    ICMP_ECHO_REPLY = 0,
    ICMP_ECHO = 8,
};

struct icmp_header {
    uint8_t type, code;
    uint16_t checksum;
    uint32_t rest;
} WIRE;

struct udp_header {
    uint16_t from, to, length, checksum;
} WIRE;

enum {
    TCP_FIN = 0x01,
    TCP_SYN = 0x02,
    TCP_RST = 0x04,
    TCP_PSH = 0x08,
    TCP_ACK = 0x10,

    TCP_OPTION_END = 0,
    TCP_OPTION_NONE = 1,
    TCP_OPTION_MSS = 2,
    TCP_OPTION_WINDOW_SCALE = 3,
};

struct tcp_header {
    uint16_t from, to;
    uint32_t sequence, ack;
    uint8_t words, flags; /* words: length of header and options in its upper half */
    uint16_t window, checksum, urgent;
} WIRE;

_Static_assert(sizeof(struct ethernet_header) == 14 && sizeof(struct arp_packet) == 28 &&
                   sizeof(struct ipv4_header) == 20 && sizeof(struct pseudo_header) == 12 &&
                   sizeof(struct icmp_header) == 8 && sizeof(struct udp_header) == 8 &&
                   sizeof(struct tcp_header) == 20,
               "sizes on the wire");

#endif
