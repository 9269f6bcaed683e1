#include "ethernet.h"

#include <stdbool.h>

#include "arp.h"
#include "counters.h"
#include "device.h"
#include "ipv4.h"
#include "memory.h"
#include "wire.h"

static uint8_t own_mac[MAC_SIZE];

void ethernet_start(const uint8_t mac[6])
{
    memcpy(own_mac, mac, MAC_SIZE);
}

const uint8_t *ethernet_mac(void)
{
    return own_mac;
}

static bool is_broadcast(const uint8_t mac[6])
{
    return !memcmp(mac, "\xff\xff\xff\xff\xff\xff", MAC_SIZE);
}

void ethernet_input(const uint8_t *frame, size_t length)
{
    const struct ethernet_header *header = (const void *)frame;
    counters.frames_received++;
    if (length < sizeof *header) {
        counters.too_short++;
        return;
    }
    bool unicast = !memcmp(header->to, own_mac, MAC_SIZE);
    if ((!unicast && !is_broadcast(header->to)) || header->from[0] & 1) {
        counters.not_for_us++;
        return;
    }
    frame += sizeof *header;
    length -= sizeof *header;
    switch (swap16(header->type)) {
    case ETHERTYPE_ARP:
        arp_input(frame, length);
        break;
    case ETHERTYPE_IPV4:
        if (unicast)
            ipv4_input(frame, length, header->from);
        else
            counters.not_for_us++; /* RFC 1122 3.3.6 */
        break;
    default:
        counters.unknown_protocol++;
    }
}

void ethernet_send(uint8_t *frame, size_t length, const uint8_t to[6], uint16_t type)
{
    struct ethernet_header *header = (void *)frame;
    memcpy(header->to, to, MAC_SIZE);
    memcpy(header->from, own_mac, MAC_SIZE);
    header->type = swap16(type);
    if (device_write(frame, length))
        counters.frames_sent++;
    else
        counters.send_failed++;
}
