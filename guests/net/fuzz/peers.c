#include "peers.h"

#include <string.h>

#include "checksum.h"
#include "hash.h"
#include "host.h"
#include "ipv4.h"
#include "services.h"
#include "wire.h"

/* Its branches are none that the fuzzer should look for. */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)

enum {
    FIRST_PORT = 1000,
    NEIGHBOUR = 0x0a000003,
    STRANGER = 0xc0a80109,
    PAYLOAD = sizeof(struct ethernet_header) + sizeof(struct ipv4_header),
};

struct peer peers[PEERS];

static const uint8_t peer_mac[MAC_SIZE] = {2, 0, 0, 0, 0, 9};
static uint8_t frame[FRAME_SIZE];
static unsigned corrupt_at;
static uint8_t corrupt_change;

void peers_start(void)
{
    for (unsigned i = 0; i < PEERS; i++)
        peers[i] = (struct peer){.start = (uint32_t)mix(i), .scale = -1};
    corrupt_change = 0;
}

static uint32_t address_of(unsigned number)
{
    return number % 2 ? STRANGER : NEIGHBOUR;
}

static void queue(size_t length)
{
    frame[corrupt_at % length] ^= corrupt_change;
    corrupt_change = 0;
    host_queue(frame, length);
}

void peers_corrupt(unsigned at, uint8_t change)
{
    corrupt_at = at;
    corrupt_change = change;
}

void peers_raw(const uint8_t *data, size_t length)
{
    memcpy(frame, data, length);
    queue(length);
}

static void fill_ethernet(uint16_t type)
{
    struct ethernet_header *header = (void *)frame;
    memcpy(header->to, host_mac, MAC_SIZE);
    memcpy(header->from, peer_mac, MAC_SIZE);
    header->type = swap16(type);
}

static void queue_packet(unsigned number, uint8_t protocol, size_t length)
{
    struct ipv4_header *header = (void *)(frame + sizeof(struct ethernet_header));
    fill_ethernet(ETHERTYPE_IPV4);
    *header = (struct ipv4_header){
        .version = IPV4_PLAIN,
        .length = swap16((uint16_t)(sizeof *header + length)),
        .ttl = 3,
        .protocol = protocol,
        .from = swap32(address_of(number)),
        .to = swap32(OWN_ADDRESS),
    };
    header->checksum = checksum_end(checksum_add(0, header, sizeof *header));
    queue(PAYLOAD + length);
}

static uint16_t transport_checksum(unsigned number, uint8_t protocol, size_t length)
{
    uint64_t sum = ipv4_pseudo_sum(address_of(number), protocol, length);
    return checksum_end(checksum_add(sum, frame + PAYLOAD, length));
}

static void queue_segment(unsigned number, const struct tcp_header *fields, const uint8_t *options,
                          size_t options_size, size_t length)
{
    struct tcp_header *header = (void *)(frame + PAYLOAD);
    size_t start = sizeof *header + options_size;
    *header = *fields;
    header->from = swap16((uint16_t)(FIRST_PORT + number));
    header->to = swap16(service_ports[number / 2 % SERVICE_PORTS]);
    header->words = (uint8_t)(start / 4 << 4);
    memcpy(header + 1, options, options_size);
    for (size_t i = 0; i < length; i++)
        frame[PAYLOAD + start + i] = pattern(swap32(header->sequence) + (uint32_t)i);
    header->checksum = transport_checksum(number, PROTOCOL_TCP, start + length);
    queue_packet(number, PROTOCOL_TCP, start + length);
}

void peers_segment(unsigned number, uint8_t flags, int32_t sequence, int32_t ack, uint16_t window,
                   size_t length)
{
    struct peer *peer = &peers[number];
    if (length > FRAME_SIZE - PAYLOAD - sizeof(struct tcp_header))
        length = FRAME_SIZE - PAYLOAD - sizeof(struct tcp_header);
    struct tcp_header fields = {
        .sequence = swap32(peer->next + (uint32_t)sequence),
        .ack = swap32(peer->expected + (uint32_t)ack),
        .flags = flags,
        .window = swap16(window),
    };
    if (!sequence)
        peer->next += (uint32_t)length + !!(flags & TCP_FIN);
    queue_segment(number, &fields, (const uint8_t *)"", 0, length);
}

void peers_gaps(unsigned number, uint8_t length)
{
    for (int piece = 3; piece >= 1; piece -= 2)
        peers_segment(number, TCP_ACK, piece * length, 0, 0xffff, length);
    peers_segment(number, TCP_ACK, 0, 0, 0xffff, length);
    peers[number].next += length;
    peers_segment(number, TCP_ACK, 0, 0, 0xffff, length);
    peers[number].next += length;
}

void peers_syn(unsigned number)
{
    struct peer *peer = &peers[number];
    const uint8_t options[] = {
        TCP_OPTION_MSS, 4, 5, (uint8_t)number,
        TCP_OPTION_NONE, TCP_OPTION_WINDOW_SCALE, 3, (uint8_t)peer->scale,
    };
    peer->start += 1u << 20;
    peer->next = peer->start + 1;
    struct tcp_header fields = {
        .sequence = swap32(peer->start), .flags = TCP_SYN, .window = 0xffff,
    };
    queue_segment(number, &fields, options, peer->scale < 0 ? 4 : sizeof options, 0);
}

void peers_datagram(unsigned number, uint16_t port, size_t length)
{
    struct udp_header *header = (void *)(frame + PAYLOAD);
    size_t total = sizeof *header + length;
    *header = (struct udp_header){swap16(FIRST_PORT), swap16(port), swap16((uint16_t)total), 0};
    memset(header + 1, 'u', length);
    header->checksum = transport_checksum(number, PROTOCOL_UDP, total);
    queue_packet(number, PROTOCOL_UDP, total);
}

void peers_ping(unsigned number, size_t length)
{
    struct icmp_header *header = (void *)(frame + PAYLOAD);
    size_t total = sizeof *header + length;
    *header = (struct icmp_header){.type = ICMP_ECHO};
    memset(header + 1, 'i', length);
    header->checksum = checksum_end(checksum_add(0, header, total));
    queue_packet(number, PROTOCOL_ICMP, total);
}

void peers_fragment(unsigned number, uint8_t id, uint16_t fragment, uint16_t options,
                    size_t length)
{
    struct ipv4_header *header = (void *)(frame + sizeof(struct ethernet_header));
    size_t size = sizeof *header + (options ? 4 : 0);
    memset(frame + PAYLOAD, 0xff, 4 + length); /* has a right checksum */
    if (options)
        memcpy(header + 1, &options, sizeof options);
    fill_ethernet(ETHERTYPE_IPV4);
    *header = (struct ipv4_header){
        .version = (uint8_t)(0x40 + size / 4),
        .length = swap16((uint16_t)(size + length)),
        .id = id,
        .fragment = swap16(fragment),
        .ttl = 3,
        .protocol = PROTOCOL_ICMP,
        .from = swap32(address_of(number)),
        .to = swap32(OWN_ADDRESS),
    };
    header->checksum = checksum_end(checksum_add(0, header, size));
    queue(sizeof(struct ethernet_header) + size + length);
}

void peers_arp(uint16_t operation, uint32_t sender, uint32_t target)
{
    struct arp_packet *packet = (void *)(frame + sizeof(struct ethernet_header));
    fill_ethernet(ETHERTYPE_ARP);
    *packet = (struct arp_packet){
        .hardware = swap16(ARP_ETHERNET),
        .protocol = swap16(ETHERTYPE_IPV4),
        .hardware_size = MAC_SIZE,
        .protocol_size = 4,
        .operation = swap16(operation),
        .sender = swap32(sender),
        .target = swap32(target),
    };
    memcpy(packet->sender_mac, peer_mac, MAC_SIZE);
    queue(sizeof(struct ethernet_header) + sizeof *packet);
}

/* What the stack sends. */

static void check_arp(const struct arp_packet *packet)
{
    CHECK(packet->hardware == swap16(ARP_ETHERNET) && packet->protocol == swap16(ETHERTYPE_IPV4));
    CHECK(packet->hardware_size == MAC_SIZE && packet->protocol_size == 4);
    CHECK(swap32(packet->sender) == ipv4_address());
    CHECK(!memcmp(packet->sender_mac, host_mac, MAC_SIZE));
    CHECK(packet->target != packet->sender || packet->operation == swap16(ARP_REQUEST));
}

static void check_segment(uint32_t to, const uint8_t *data, size_t length)
{
    const struct tcp_header *header = (const void *)data;
    size_t size = (size_t)(header->words >> 4) * 4;
    CHECK(length >= sizeof *header && size >= sizeof *header && size <= length);
    CHECK(!checksum_end(checksum_add(ipv4_pseudo_sum(to, PROTOCOL_TCP, length), data, length)));
    CHECK(header->flags & (TCP_ACK | TCP_RST));
    uint32_t sequence = swap32(header->sequence), payload = (uint32_t)(length - size);
    const struct tcp *connection = tcp_find(key_of(to, swap16(header->to), swap16(header->from)));
    CHECK(!payload || (connection && payload <= connection->mss));
    for (uint32_t i = 0; i < payload; i++)
        CHECK(data[size + i] == services_byte(connection, sequence + i));
    unsigned number = swap16(header->to) - FIRST_PORT;
    if (number >= PEERS || to != address_of(number))
        return;
    struct peer *peer = &peers[number];
    if (payload && peer->losses) {
        peer->losses--;
        return;
    }
    if (header->flags & TCP_SYN && swap32(header->ack) == peer->start + 1)
        peer->expected = sequence + 1;
    else if (sequence == peer->expected)
        peer->expected += payload + !!(header->flags & TCP_FIN);
    if (payload && peer->answers)
        peers_segment(number, TCP_ACK, 0, 0, 0xffff, 0);
}

void check_frame(const uint8_t *data, size_t length)
{
    const struct ethernet_header *ethernet = (const void *)data;
    CHECK(length >= sizeof *ethernet + sizeof(struct ipv4_header) && length <= FRAME_SIZE);
    CHECK(!memcmp(ethernet->from, host_mac, MAC_SIZE));
    data += sizeof *ethernet;
    length -= sizeof *ethernet;
    if (ethernet->type == swap16(ETHERTYPE_ARP)) {
        CHECK(length == sizeof(struct arp_packet));
        check_arp((const void *)data);
        return;
    }
    CHECK(ethernet->type == swap16(ETHERTYPE_IPV4) && !(ethernet->to[0] & 1));
    const struct ipv4_header *header = (const void *)data;
    CHECK(header->version == IPV4_PLAIN && header->ttl && !header->fragment);
    CHECK(!checksum_end(checksum_add(0, header, sizeof *header)));
    CHECK(swap32(header->from) == OWN_ADDRESS && swap16(header->length) == length);
    data += sizeof *header;
    length -= sizeof *header;
    uint32_t to = swap32(header->to);
    if (header->protocol == PROTOCOL_TCP)
        check_segment(to, data, length);
    else if (header->protocol == PROTOCOL_UDP)
        CHECK(!checksum_end(
            checksum_add(ipv4_pseudo_sum(to, PROTOCOL_UDP, length), data, length)));
    else
        CHECK(header->protocol == PROTOCOL_ICMP && !checksum_end(checksum_add(0, data, length)));
}

#pragma clang attribute pop
