#include "arp.h"

#include <stdbool.h>

#include "counters.h"
#include "device.h"
#include "ethernet.h"
#include "hash.h"
#include "ipv4.h"
#include "memory.h"
#include "wire.h"

#define QUERY_INTERVAL 200000000ull    /* ns; shorter than RFC 1122's second, as links are */
/* ns without a sign of life until a link address is asked for again; after twice that it is no
 * longer used. */
#define LIFETIME (60 * 1000000000ull)

enum {
    SETS = 512, /* an address has its place in one of them */
    WAYS = 8,   /* places in each */
    WAITING = 16,
};

static struct entry {
    uint32_t address; /* 0: free */
    bool known;
    uint8_t mac[MAC_SIZE];
    uint64_t seen; /* when it was learned */
    uint64_t used;
    uint64_t asked;
} entries[SETS][WAYS];

static struct waiting {
    uint32_t address; /* 0: free */
    size_t length;
    uint8_t frame[FRAME_SIZE];
} waiting[WAITING];
static unsigned next_waiting;

void arp_start(void)
{
    memset(entries, 0, sizeof entries);
    for (unsigned i = 0; i < WAITING; i++)
        waiting[i].address = 0;
    next_waiting = 0;
}

static struct entry *set_of(uint32_t address)
{
    return entries[mix(address) % SETS];
}

static struct entry *find(uint32_t address)
{
    struct entry *set = set_of(address);
    for (struct entry *at = set; at < set + WAYS; at++)
        if (at->address == address)
            return at;
    return NULL;
}

/* If there is none, the one used least recently is made one. */
static struct entry *entry_of(uint32_t address)
{
    struct entry *set = set_of(address), *entry = find(address);
    if (!entry) {
        entry = set;
        for (struct entry *at = set; at < set + WAYS; at++)
            if (at->used < entry->used)
                entry = at;
        *entry = (struct entry){.address = address};
    }
    entry->used = net_now();
    return entry;
}

static void emit(uint16_t operation, const uint8_t to[6], const uint8_t target_mac[6],
                 uint32_t target)
{
    static uint8_t frame[sizeof(struct ethernet_header) + sizeof(struct arp_packet)];
    struct arp_packet *packet = (void *)(frame + sizeof(struct ethernet_header));
    *packet = (struct arp_packet){
        .hardware = swap16(ARP_ETHERNET),
        .protocol = swap16(ETHERTYPE_IPV4),
        .hardware_size = MAC_SIZE,
        .protocol_size = sizeof target,
        .operation = swap16(operation),
        .sender = swap32(ipv4_address()),
        .target = swap32(target),
    };
    memcpy(packet->sender_mac, ethernet_mac(), MAC_SIZE);
    memcpy(packet->target_mac, target_mac, MAC_SIZE);
    ethernet_send(frame, sizeof frame, to, ETHERTYPE_ARP);
}

static void send_waiting(const struct entry *entry)
{
    for (struct waiting *slot = waiting; slot < waiting + WAITING; slot++)
        if (slot->address == entry->address) {
            slot->address = 0;
            ethernet_send(slot->frame, slot->length, entry->mac, ETHERTYPE_IPV4);
        }
}

void arp_learn(uint32_t address, const uint8_t mac[6])
{
    struct entry *entry = entry_of(address);
    bool news = !entry->known;
    entry->known = true;
    entry->seen = net_now();
    memcpy(entry->mac, mac, MAC_SIZE);
    if (news)
        send_waiting(entry);
}

static void request(uint32_t address)
{
    emit(ARP_REQUEST, (const uint8_t *)"\xff\xff\xff\xff\xff\xff",
         (const uint8_t *)"\0\0\0\0\0\0", address);
}

void arp_announce(void)
{
    request(ipv4_address());
}

static void ask(struct entry *entry)
{
    if (entry->asked && net_now() - entry->asked < QUERY_INTERVAL)
        return;
    entry->asked = net_now();
    request(entry->address);
}

void arp_doubt(uint32_t address)
{
    ask(entry_of(address));
}

void arp_input(const uint8_t *data, size_t length)
{
    const struct arp_packet *packet = (const void *)data;
    if (length < sizeof *packet) {
        counters.too_short++;
        return;
    }
    uint16_t operation = swap16(packet->operation);
    uint32_t sender = swap32(packet->sender), target = swap32(packet->target);
    if (packet->hardware != swap16(ARP_ETHERNET) || packet->protocol != swap16(ETHERTYPE_IPV4) ||
        packet->hardware_size != MAC_SIZE || packet->protocol_size != sizeof sender ||
        (operation != ARP_REQUEST && operation != ARP_REPLY) || packet->sender_mac[0] & 1) {
        counters.bad_header++;
        return;
    }
    /* A sender of 0 asks whether an address is free (RFC 5227). */
    bool probe = !sender && operation == ARP_REQUEST;
    if (!probe && !ipv4_is_neighbour(sender)) {
        counters.bad_source++;
        return;
    }
    bool for_us = target == ipv4_address();
    if (!probe && (for_us || find(sender)))
        arp_learn(sender, packet->sender_mac);
    if (for_us && operation == ARP_REQUEST)
        emit(ARP_REPLY, packet->sender_mac, packet->sender_mac, sender);
}

static void keep(uint32_t address, const uint8_t *frame, size_t length)
{
    struct waiting *slot = &waiting[next_waiting];
    for (unsigned i = 0; i < WAITING; i++)
        if (waiting[i].address == address)
            slot = &waiting[i];
    if (slot == &waiting[next_waiting])
        next_waiting = (next_waiting + 1) % WAITING;
    if (slot->address)
        counters.arp_dropped++;
    slot->address = address;
    slot->length = length;
    memcpy(slot->frame, frame, length);
}

void arp_send(uint32_t address, uint8_t *frame, size_t length)
{
    struct entry *entry = entry_of(address);
    uint64_t age = net_now() - entry->seen;
    if (entry->known && age > 2 * LIFETIME)
        entry->known = false;
    if (entry->known)
        ethernet_send(frame, length, entry->mac, ETHERTYPE_IPV4);
    else
        keep(address, frame, length);
    if (!entry->known || age > LIFETIME)
        ask(entry);
}
