#include "services.h"

#include <string.h>

#include "host.h"

/* Its branches are none that the fuzzer should look for. */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)

enum {
    BRIEF = 3000,
    STREAM_STEP = 20000,
};

const uint16_t service_ports[SERVICE_PORTS] = {7, 7007, 80, 81, 82};

static struct {
    bool open;
    bool echoes;
    uint32_t shift; /* from the sequence numbers of an echo to those of the original */
} states[TCP_CONNECTIONS];

bool services_has(unsigned index)
{
    return states[index].open;
}

uint8_t services_byte(const struct tcp *connection, uint32_t sequence)
{
    unsigned index = tcp_index(connection);
    return pattern(states[index].echoes ? sequence + states[index].shift : sequence);
}

static void opened(struct tcp *connection)
{
    unsigned index = tcp_index(connection);
    CHECK(!states[index].open);
    states[index].open = true;
    states[index].echoes = false;
}

static void closed(struct tcp *connection)
{
    CHECK(states[tcp_index(connection)].open);
    states[tcp_index(connection)].open = false;
}

static const uint8_t *peek(const struct tcp *connection, size_t *length)
{
    CHECK(states[tcp_index(connection)].open);
    const uint8_t *data = tcp_peek(connection, length);
    for (size_t i = 0; i < *length; i++)
        CHECK(data[i] == pattern(connection->read + (uint32_t)i));
    return data;
}

static void write_pattern(struct tcp *connection, size_t length)
{
    uint8_t data[4096];
    while (length) {
        size_t part = length < sizeof data ? length : sizeof data;
        for (size_t i = 0; i < part; i++)
            data[i] = pattern(connection->end + (uint32_t)i);
        size_t room = tcp_room(connection), written = tcp_write(connection, data, part);
        CHECK(written == (part < room ? part : room));
        if (written < part)
            return;
        length -= part;
    }
}

static void open_echo(struct tcp *connection)
{
    opened(connection);
    states[tcp_index(connection)].echoes = true;
    states[tcp_index(connection)].shift = connection->read - connection->end;
}

static void echo(struct tcp *connection)
{
    size_t length;
    for (const uint8_t *data = peek(connection, &length); length;
         data = peek(connection, &length)) {
        size_t written = tcp_write(connection, data, length);
        tcp_consume(connection, written);
        if (written < length)
            return;
    }
    if (tcp_at_end(connection))
        tcp_close(connection);
}

static void stream(struct tcp *connection)
{
    size_t length;
    peek(connection, &length);
    tcp_consume(connection, length);
    write_pattern(connection, STREAM_STEP);
}

static void brief(struct tcp *connection)
{
    write_pattern(connection, BRIEF);
    tcp_close(connection);
    CHECK(!tcp_room(connection) && !tcp_write(connection, "", 1));
}

static void fussy(struct tcp *connection)
{
    size_t length;
    peek(connection, &length);
    if (length)
        tcp_abort(connection);
    if (length % 2)
        tcp_close(connection);
}

static void lazy(struct tcp *connection)
{
    size_t length;
    peek(connection, &length);
    tcp_consume(connection, 1 + length / 16);
    if (tcp_at_end(connection))
        tcp_abort(connection);
}

void services_start(void)
{
    static const struct tcp_service services[SERVICE_PORTS] = {
        {open_echo, echo, closed, false},
        {opened, stream, closed, false},
        {opened, brief, closed, true},
        {opened, fussy, closed, true},
        {opened, lazy, closed, false},
    };
    memset(states, 0, sizeof states);
    for (unsigned i = 0; i < SERVICE_PORTS; i++)
        tcp_listen(service_ports[i], &services[i]);
}

#pragma clang attribute pop
