#include "icmp.h"

#include "checksum.h"
#include "counters.h"
#include "memory.h"
#include "wire.h"

void icmp_input(const struct packet *packet)
{
    const struct icmp_header *request = (const void *)packet->data;
    if (packet->length < sizeof *request) {
        counters.too_short++;
        return;
    }
    if (checksum_end(checksum_add(0, packet->data, packet->length))) {
        counters.bad_checksum++;
        return;
    }
    if (request->type != ICMP_ECHO || request->code) {
        counters.unknown_protocol++;
        return;
    }
    struct icmp_header *reply = (void *)ipv4_payload();
    size_t length = packet->length < ipv4_room() ? packet->length : ipv4_room();
    memcpy(reply, packet->data, length); /* all that goes into a frame (RFC 1122 3.2.2.6) */
    reply->type = ICMP_ECHO_REPLY;
    reply->checksum = 0;
    reply->checksum = checksum_end(checksum_add(0, reply, length));
    ipv4_send(packet->from, PROTOCOL_ICMP, length);
}
