#include "ipv4.h"

#include "arp.h"
#include "checksum.h"
#include "counters.h"
#include "device.h"
#include "fragments.h"
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
    fragments_start();
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

/* Whether there are options, well formed, without a route to follow and to answer by, which hosts
 * do not take any more (RFC 7126 4.3). What others ask of routers is nothing to a host. */
static bool can_ignore(const uint8_t *options, size_t length)
{
    while (length && *options != IPV4_OPTION_END) {
        size_t size = 1;
        if (*options != IPV4_OPTION_NONE) {
            if (length < 2 || options[1] < 2 || options[1] > length)
                return false;
            size = options[1];
        }
        if (*options == IPV4_OPTION_LOOSE_ROUTE || *options == IPV4_OPTION_STRICT_ROUTE)
            return false;
        options += size;
        length -= size;
    }
    return true;
}

/* The header's size; 0 if the packet is malformed or not for this host, and counted. */
static size_t check_header(const struct ipv4_header *header, size_t length)
{
    if (length < sizeof *header) {
        counters.too_short++;
        return 0;
    }
    size_t total = swap16(header->length), size = (size_t)(header->version & 15) * 4;
    if (header->version >> 4 != 4 || size < sizeof *header || total < size || total > length) {
        counters.bad_header++;
        return 0;
    }
    if (checksum_end(checksum_add(0, header, size))) {
        counters.bad_checksum++;
        return 0;
    }
    if (swap32(header->to) != own.address) {
        counters.not_for_us++;
        return 0;
    }
    if (!can_ignore((const uint8_t *)(header + 1), size - sizeof *header)) {
        counters.bad_header++;
        return 0;
    }
    return size;
}

static void deliver(const struct packet *packet)
{
    switch (packet->protocol) {
    case PROTOCOL_ICMP:
        icmp_input(packet);
        break;
    case PROTOCOL_TCP:
        tcp_input(packet);
        break;
    case PROTOCOL_UDP:
        udp_input(packet);
        break;
    default:
        counters.unknown_protocol++;
    }
}

void ipv4_input(const uint8_t *data, size_t length, const uint8_t source_mac[6])
{
    const struct ipv4_header *header = (const void *)data;
    size_t size = check_header(header, length);
    if (!size)
        return;
    struct packet packet = {
        .from = swap32(header->from),
        .protocol = header->protocol,
        .data = data + size,
        .length = swap16(header->length) - size,
    };
    if (!is_peer(packet.from)) {
        counters.bad_source++;
        return;
    }
    if (on_link(packet.from))
        arp_learn(packet.from, source_mac);
    uint16_t fragment = swap16(header->fragment);
    size_t offset = (fragment & IPV4_OFFSET) * 8u;
    bool more = fragment & IPV4_MORE;
    if ((offset || more) && !fragments_add(&packet, header->id, offset, more))
        return;
    deliver(&packet);
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
