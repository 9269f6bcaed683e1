/* A libFuzzer target: the input is a program of what peers do to the stack, and when. After every
 * round the stack's state must make sense; in the end it must come to rest. */
#include <string.h>

#include "host.h"
#include "net.h"
#include "options.h"
#include "peers.h"
#include "round.h"
#include "services.h"
#include "wire.h"

enum {
    RAW = 200,
    ROUNDS_TO_REST = 100000,
};

#define HOUR (3600 * 1000000000ull)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at, *end;
};

static uint8_t byte(struct input *input)
{
    return input->at < input->end ? *input->at++ : 0;
}

static uint16_t word(struct input *input)
{
    return (uint16_t)(byte(input) << 8 | byte(input));
}

/* Mostly 0, else small, or about a window, or anything. */
static int32_t offset(struct input *input)
{
    uint8_t kind = byte(input);
    switch (kind % 8) {
    case 0:
        return (int8_t)byte(input);
    case 1:
        return (int16_t)word(input);
    case 2:
        return RECEIVE_WINDOW - byte(input);
    case 3:
        return (int32_t)((uint32_t)word(input) << 16 | word(input));
    default:
        return 0;
    }
}

static void check_spans(const struct tcp *connection)
{
    uint32_t window = connection->edge - connection->received;
    CHECK(connection->span_count <= SPANS);
    for (unsigned i = 0; i < connection->span_count; i++) {
        const struct span *span = &connection->spans[i];
        uint32_t start = span->start - connection->received;
        uint32_t end = span->end - connection->received;
        CHECK(start && start < end && end <= window);
        for (unsigned j = 0; j < i; j++) {
            const struct span *other = &connection->spans[j];
            CHECK(before(span->end, other->start) || before(other->end, span->start));
        }
    }
}

static void check_ring(const struct ring *ring)
{
    unsigned held = 0;
    for (unsigned i = 0; i < RING_SLOTS; i++)
        held += !!ring->pages[i];
    CHECK(held == ring->held);
}

static void check_connection(const struct tcp *connection)
{
    uint32_t unsent = connection->end - connection->acknowledged;
    uint32_t sent = connection->sent - connection->acknowledged;
    uint32_t next = connection->next - connection->acknowledged;
    bool fin_acknowledged = unsent == UINT32_MAX;
    CHECK(fin_acknowledged ? connection->state == TCP_FIN_WAIT_2 : unsent <= RING_ROOM);
    CHECK(next <= sent && sent <= unsent + 1);
    CHECK(sent != unsent + 1 || fin_acknowledged || tcp_is_closing(connection));
    CHECK(connection->received - connection->read <= RECEIVE_WINDOW);
    CHECK(connection->edge - connection->received <= RECEIVE_WINDOW);
    CHECK(connection->edge - connection->read <= RECEIVE_WINDOW);
    CHECK(connection->mss >= 64 && connection->mss <= FRAME_MTU - 40);
    CHECK(connection->congestion_window >= connection->mss);
    CHECK(!connection->active && !connection->ack_due);
    bool waits = (unsent && !fin_acknowledged) || next || connection->state == TCP_FIN_WAIT_2;
    CHECK(waits == !!connection->timer);
    CHECK(connection->due && (!connection->timer || connection->due <= connection->timer));
    check_ring(&connection->sending);
    check_ring(&connection->receiving);
    CHECK(unsent || !connection->sending.held);
    CHECK(connection->received != connection->read || connection->span_count ||
          !connection->receiving.held);
    check_spans(connection);
}

static uint64_t run_round(void)
{
    uint64_t rest = net_round();
    for (unsigned i = 0; i < TCP_CONNECTIONS; i++) {
        const struct tcp *connection = &tcp_connections[i];
        CHECK((connection->state == TCP_FREE) == !connection->key);
        CHECK(services_has(i) == (connection->state != TCP_FREE));
        if (connection->state != TCP_FREE && connection->state != TCP_CLOSED) {
            CHECK(tcp_find(connection->key) == connection);
            check_connection(connection);
        }
    }
    return rest;
}

static void raw_frame(struct input *input)
{
    uint8_t frame[RAW];
    size_t length = byte(input) % RAW;
    for (size_t i = 0; i < length; i++)
        frame[i] = byte(input);
    if (!length)
        return;
    memcpy(frame, host_mac, length < MAC_SIZE ? length : MAC_SIZE);
    peers_raw(frame, length);
}

static void open_peer(unsigned number, int scale)
{
    peers[number].scale = scale;
    peers_syn(number);
    run_round();
    peers_segment(number, TCP_ACK, 0, 0, 0xffff, 0);
}

static void answer_arp(void)
{
    peers_arp(ARP_REPLY, GATEWAY, OWN_ADDRESS);
}

static void step(struct input *input)
{
    uint8_t operation = byte(input);
    unsigned number = byte(input) % PEERS;
    switch (operation % 16) {
    case 0:
        host_sleep(1ull << byte(input) % 36);
        run_round();
        break;
    case 1:
        host_sleep(run_round());
        run_round();
        break;
    case 2:
        open_peer(number, byte(input) % 18 - 1);
        break;
    case 3:
        for (unsigned left = byte(input) % PEERS; left; left--)
            open_peer((number + left) % PEERS, -1);
        break;
    case 4:
        peers_syn(number);
        break;
    case 5:
        peers_segment(number, TCP_ACK, 0, 0, 0xffff, word(input) % 2048);
        break;
    case 6: {
        uint8_t flags = byte(input);
        int32_t sequence = offset(input), ack = offset(input);
        uint16_t window = word(input);
        peers_segment(number, flags, sequence, ack, window, word(input) % 2048);
        break;
    }
    case 7:
        peers_segment(number, TCP_ACK | TCP_FIN, 0, 0, 0xffff, 0);
        break;
    case 8:
        peers_datagram(number, byte(input), word(input) % (FRAME_MTU - 28));
        peers_ping(number, word(input) % (FRAME_MTU - 28));
        break;
    case 9:
        if (byte(input) % 2)
            answer_arp();
        else
            peers_arp(word(input), GATEWAY + (uint32_t)offset(input),
                      OWN_ADDRESS + (uint32_t)offset(input));
        break;
    case 10:
        peers_corrupt(word(input), byte(input));
        break;
    case 11:
        raw_frame(input);
        break;
    case 12:
        peers[number].losses = byte(input) % 4;
        peers[number].answers = byte(input) % 2;
        break;
    case 13:
        peers_gaps(number, byte(input));
        break;
    case 14:
        for (unsigned left = byte(input) % PEERS; left; left--) {
            peers_syn((number + left) % PEERS);
            run_round();
        }
        break;
    case 15: {
        uint16_t fragment = word(input), options = word(input);
        peers_fragment(number, byte(input) % 4, fragment, options, word(input) % (FRAME_MTU - 24));
        break;
    }
    }
    if (operation & 0x80)
        run_round();
}

static void echo_datagram(uint16_t port, struct endpoint from, const uint8_t *data, size_t length)
{
    udp_send(port, from, data, length);
}

/* With no more frames, what is in flight is given up, and what is open once it was asked for. */
static void check_rest(void)
{
    for (unsigned i = 0; i < PEERS; i++)
        peers[i].answers = false;
    uint64_t rest = run_round();
    for (unsigned i = 0; rest != HOUR; i++) {
        CHECK(i < ROUNDS_TO_REST);
        host_sleep(rest);
        rest = net_round();
    }
    run_round();
    for (unsigned i = 0; i < TCP_CONNECTIONS; i++)
        CHECK(tcp_connections[i].state == TCP_FREE);
}

/* Options of any kind end in a start or in status 2. */
static void fuzz_options(struct input *input)
{
    char line[64] = "--ipv4=";
    size_t used = strlen(line), left = (size_t)(input->end - input->at);
    if (left > sizeof line - 1 - used)
        left = sizeof line - 1 - used;
    memcpy(line + used, input->at, left);
    options_start(line);
    int status = setjmp(host_exit);
    if (!status)
        net_start(NULL, "net");
    CHECK(!status || status == 2 + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, data + size};
    host_start();
    if (byte(&input) == 0xff) {
        fuzz_options(&input);
        return 0;
    }
    options_start("--ipv4=10.0.0.2/24 --ipv4-gateway=10.0.0.1");
    net_start(NULL, "net");
    services_start();
    peers_start();
    udp_listen(7, echo_datagram);
    answer_arp();
    host_accept(data[0] != 0xfe);
    while (input.at < input.end)
        step(&input);
    check_rest();
    return 0;
}
