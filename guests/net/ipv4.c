#include "ipv4.h"

#include "arp.h"
#include "checksum.h"
#include "counters.h"
#include "device.h"
#include "icmp.h"
#include "tcp.h"
#include "udp.h"
#include "wire.h"

static struct config own;
static size_t room;
static uint16_t next_id;
static uint8_t frame[FRAME_SIZE];

enum { HEADERS = sizeof(struct ethernet_header) + sizeof(struct ipv4_header) };

void ipv4_start(const struct config *config, size_t mtu)
{
    own = *config;
    room = mtu - sizeof(struct ipv4_header);
    next_id = 0;
}

uint32_t ipv4_address(void)
{
    return own.address;
}

size_t ipv4_room(void)
{
    return room;
}

static bool on_link(uint32_t address)
{
    return !((address ^ own.address) & own.mask);
}

/* Whether packets can come from there (RFC 1122 3.2.1.3). */
static bool is_peer(uint32_t address)
{
    uint32_t first = address >> 24, host = address & ~own.mask;
    if (!first || first == 127 || first >= 224 || address == own.address)
        return false;
    return !on_link(address) || ~own.mask <= 1 || (host && host != ~own.mask);
}

bool ipv4_is_neighbour(uint32_t address)
{
    return is_peer(address) && on_link(address);
}

void ipv4_input(const uint8_t *data, size_t length, const uint8_t source_mac[6])
{
    const struct ipv4_header *header = (const void *)data;
    if (length < sizeof *header) {
        counters.too_short++;
        return;
    }
    size_t total = swap16(header->length);
    if (header->version != IPV4_PLAIN || total < sizeof *header || total > length) {
        counters.bad_header++;
        return;
    }
    if (checksum_end(checksum_add(0, header, sizeof *header))) {
        counters.bad_checksum++;
        return;
    }
    if (swap32(header->to) != own.address) {
        counters.not_for_us++;
        return;
    }
    if (header->fragment & swap16(IPV4_FRAGMENT)) {
        counters.fragment++;
        return;
    }
    struct packet packet = {swap32(header->from), data + sizeof *header, total - sizeof *header};
    if (!is_peer(packet.from)) {
        counters.bad_source++;
        return;
    }
    if (on_link(packet.from))
        arp_learn(packet.from, source_mac);
    switch (header->protocol) {
    case PROTOCOL_ICMP:
        icmp_input(&packet);
        break;
    case PROTOCOL_TCP:
        tcp_input(&packet);
        break;
    case PROTOCOL_UDP:
        udp_input(&packet);
        break;
    default:
        counters.unknown_protocol++;
    }
}

uint8_t *ipv4_payload(void)
{
    return frame + HEADERS;
}

static uint32_t next_hop(uint32_t to)
{
    return on_link(to) ? to : own.gateway;
}

void ipv4_send(uint32_t to, uint8_t protocol, size_t length)
{
    if (!is_peer(to) || !next_hop(to)) {
        counters.no_route++;
        return;
    }
    struct ipv4_header *header = (void *)(frame + sizeof(struct ethernet_header));
    *header = (struct ipv4_header){
        .version = IPV4_PLAIN,
        .length = swap16((uint16_t)(sizeof *header + length)),
        .id = swap16(next_id++),
        .ttl = IPV4_TTL,
        .protocol = protocol,
        .from = swap32(own.address),
        .to = swap32(to),
    };
    header->checksum = checksum_end(checksum_add(0, header, sizeof *header));
    arp_send(next_hop(to), frame, HEADERS + length);
}

uint64_t ipv4_pseudo_sum(uint32_t peer, uint8_t protocol, size_t length)
{
    struct pseudo_header header = {
        .from = swap32(peer),
        .to = swap32(own.address),
        .protocol = protocol,
        .length = swap16((uint16_t)length),
    };
    return checksum_add(0, &header, sizeof header);
}

void ipv4_doubt(uint32_t peer)
{
    if (next_hop(peer))
        arp_doubt(next_hop(peer));
}
