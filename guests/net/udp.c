#include "udp.h"

#include "checksum.h"
#include "console.h"
#include "counters.h"
#include "memory.h"
#include "runtime.h"
#include "wire.h"

enum { RECEIVERS = 16 };

static struct {
    uint16_t port;
    udp_receiver *receiver;
} receivers[RECEIVERS];
static unsigned receiver_count;

void udp_start(void)
{
    receiver_count = 0;
}

void udp_listen(uint16_t port, udp_receiver *receiver)
{
    if (receiver_count == RECEIVERS) {
        print("more than %d UDP ports\n", RECEIVERS);
        guest_exit(2);
    }
    receivers[receiver_count].port = port;
    receivers[receiver_count++].receiver = receiver;
}

static udp_receiver *receiver_of(uint16_t port)
{
    for (unsigned i = 0; i < receiver_count; i++)
        if (receivers[i].port == port)
            return receivers[i].receiver;
    return NULL;
}

void udp_input(const struct packet *packet)
{
    const struct udp_header *header = (const void *)packet->data;
    if (packet->length < sizeof *header) {
        counters.too_short++;
        return;
    }
    size_t length = swap16(header->length);
    if (length < sizeof *header || length > packet->length) {
        counters.bad_header++;
        return;
    }
    uint64_t sum = ipv4_pseudo_sum(packet->from, PROTOCOL_UDP, length);
    if (header->checksum && checksum_end(checksum_add(sum, header, length))) {
        counters.bad_checksum++;
        return;
    }
    uint16_t port = swap16(header->to);
    udp_receiver *receiver = receiver_of(port);
    if (!receiver) {
        counters.no_listener++;
        return;
    }
    receiver(port, (struct endpoint){packet->from, swap16(header->from)},
             packet->data + sizeof *header, length - sizeof *header);
}

void udp_send(uint16_t port, struct endpoint to, const void *data, size_t length)
{
    struct udp_header *header = (void *)ipv4_payload();
    if (length > ipv4_room() - sizeof *header) {
        counters.too_long++;
        return;
    }
    size_t total = sizeof *header + length;
    *header = (struct udp_header){swap16(port), swap16(to.port), swap16((uint16_t)total), 0};
    memcpy(header + 1, data, length);
    uint64_t sum = ipv4_pseudo_sum(to.address, PROTOCOL_UDP, total);
    uint16_t checksum = checksum_end(checksum_add(sum, header, total));
    header->checksum = checksum ? checksum : 0xffff;
    ipv4_send(to.address, PROTOCOL_UDP, total);
}
