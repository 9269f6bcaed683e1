/* Segments as they lie in packets. */
#include "checksum.h"
#include "counters.h"
#include "memory.h"
#include "tcp.h"
#include "wire.h"

enum {
    MSS_OPTION_SIZE = 4,
    SCALE_OPTION_SIZE = 3,
    LARGEST_SCALE = 14, /* RFC 7323 2.3 */
};

uint32_t segment_span(const struct segment *segment)
{
    return segment->length + !!(segment->flags & TCP_SYN) + !!(segment->flags & TCP_FIN);
}

/* False if an option's length cannot be. */
static bool parse_options(const uint8_t *at, size_t length, struct segment *segment)
{
    while (length && *at != TCP_OPTION_END) {
        size_t size = 1;
        if (*at != TCP_OPTION_NONE) {
            if (length < 2 || at[1] < 2 || at[1] > length)
                return false;
            size = at[1];
        }
        if (*at == TCP_OPTION_MSS && size == MSS_OPTION_SIZE) {
            segment->mss = (uint16_t)(at[2] << 8 | at[3]);
        } else if (*at == TCP_OPTION_WINDOW_SCALE && size == SCALE_OPTION_SIZE) {
            segment->scaled = true;
            segment->scale = at[2] < LARGEST_SCALE ? at[2] : LARGEST_SCALE;
        }
        at += size;
        length -= size;
    }
    return true;
}

bool segment_parse(const struct packet *packet, struct segment *segment)
{
    const struct tcp_header *header = (const void *)packet->data;
    if (packet->length < sizeof *header) {
        counters.too_short++;
        return false;
    }
    size_t size = (size_t)(header->words >> 4) * 4;
    bool syn = header->flags & TCP_SYN;
    if (size < sizeof *header || size > packet->length || !header->from || !header->to ||
        (syn && header->flags & (TCP_FIN | TCP_RST))) {
        counters.bad_header++;
        return false;
    }
    uint64_t sum = ipv4_pseudo_sum(packet->from, PROTOCOL_TCP, packet->length);
    if (checksum_end(checksum_add(sum, packet->data, packet->length))) {
        counters.bad_checksum++;
        return false;
    }
    *segment = (struct segment){
        .key = key_of(packet->from, swap16(header->from), swap16(header->to)),
        .sequence = swap32(header->sequence),
        .ack = swap32(header->ack),
        .flags = header->flags,
        .window = swap16(header->window),
        .data = packet->data + size,
        .length = (uint32_t)(packet->length - size),
    };
    if (syn && !parse_options(packet->data + sizeof *header, size - sizeof *header, segment)) {
        counters.bad_header++;
        return false;
    }
    return true;
}

uint8_t *segment_data(void)
{
    return ipv4_payload() + sizeof(struct tcp_header);
}

static void emit(tcp_key key, const struct tcp_header *fields, size_t options, size_t length)
{
    struct tcp_header *header = (void *)ipv4_payload();
    size_t total = sizeof *header + options + length;
    *header = *fields;
    header->from = swap16(key_port(key));
    header->to = swap16((uint16_t)(key >> 16));
    header->words = (uint8_t)((sizeof *header + options) / 4 << 4);
    uint64_t sum = ipv4_pseudo_sum(key_peer(key), PROTOCOL_TCP, total);
    header->checksum = checksum_end(checksum_add(sum, header, total));
    ipv4_send(key_peer(key), PROTOCOL_TCP, total);
}

void segment_send(tcp_key key, uint32_t sequence, uint32_t ack, uint8_t flags, uint16_t window,
                  size_t length)
{
    struct tcp_header fields = {
        .sequence = swap32(sequence),
        .ack = swap32(ack),
        .flags = flags,
        .window = swap16(window),
    };
    emit(key, &fields, 0, length);
}

void segment_send_syn(tcp_key key, uint32_t sequence, uint32_t ack, bool scaled)
{
    struct tcp_header fields = {
        .sequence = swap32(sequence),
        .ack = swap32(ack),
        .flags = TCP_SYN | TCP_ACK,
        .window = swap16(RECEIVE_WINDOW),
    };
    size_t mss = ipv4_room() - sizeof(struct tcp_header);
    const uint8_t options[] = {
        TCP_OPTION_MSS, MSS_OPTION_SIZE, (uint8_t)(mss >> 8), (uint8_t)mss,
        TCP_OPTION_WINDOW_SCALE, SCALE_OPTION_SIZE, 0, TCP_OPTION_END,
    };
    size_t length = scaled ? sizeof options : MSS_OPTION_SIZE;
    memcpy(segment_data(), options, length);
    emit(key, &fields, length, 0);
}

void segment_refuse(const struct segment *segment)
{
    if (segment->flags & TCP_RST)
        return;
    if (segment->flags & TCP_ACK)
        segment_send(segment->key, segment->ack, 0, TCP_RST, 0, 0);
    else
        segment_send(segment->key, 0, segment->sequence + segment_span(segment),
                     TCP_RST | TCP_ACK, 0, 0);
}
