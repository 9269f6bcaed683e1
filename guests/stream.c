/* Sends every client an endless stream in which each missing, doubled or changed byte shows: at
 * offset 8 * n the number n in 8 bytes, big-endian. What clients send is dropped.
 *
 *   --port=N     TCP port (7007)
 *
 * And --ipv4=ADDRESS/LENGTH, --ipv4-gateway=ADDRESS, --tcp-keepalive=S,
 * --tcp-timeout=S. */
#include "boot.h"
#include "manifest.h"
#include "net.h"
#include "options.h"

GUEST_MANIFEST(NET_DEVICE("net"));

static uint64_t sent[TCP_CONNECTIONS]; /* bytes */

/* Writes a piece of the stream from `offset` on; returns its length. */
static size_t write_piece(struct tcp *connection, uint64_t offset)
{
    static uint64_t words[1024];
    size_t skip = offset % 8, wanted = skip + tcp_room(connection);
    size_t length = wanted < sizeof words ? wanted : sizeof words;
    for (size_t i = 0; i * 8 < length; i++)
        words[i] = __builtin_bswap64(offset / 8 + i);
    return tcp_write(connection, (const uint8_t *)words + skip, length - skip);
}

static void stream(struct tcp *connection)
{
    size_t unread;
    for (tcp_peek(connection, &unread); unread; tcp_peek(connection, &unread))
        tcp_consume(connection, unread);
    if (tcp_at_end(connection)) {
        tcp_close(connection);
        return;
    }
    uint64_t *offset = &sent[tcp_index(connection)];
    while (tcp_room(connection))
        *offset += write_piece(connection, *offset);
}

static void begin(struct tcp *connection)
{
    sent[tcp_index(connection)] = 0;
}

int guest_main(const struct boot_info *boot)
{
    static const struct tcp_service service = {.opened = begin, .ready = stream};
    OPTIONS_ALLOW("port", NET_OPTIONS);
    uint16_t port = (uint16_t)option_number("port", 7007, 65535);
    net_start(boot, "net");
    tcp_listen(port, &service);
    net_serve();
}
