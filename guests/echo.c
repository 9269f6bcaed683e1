/* Sends back what it receives, on TCP and UDP port 7.
 *
 * Options: --ipv4=ADDRESS/LENGTH, --ipv4-gateway=ADDRESS, --tcp-keepalive=S,
 * --tcp-timeout=S. */
#include "boot.h"
#include "manifest.h"
#include "net.h"
#include "options.h"

GUEST_MANIFEST(NET_DEVICE("net"));

enum { PORT = 7 };

static void echo(struct tcp *connection)
{
    size_t length;
    const uint8_t *data = tcp_peek(connection, &length);
    while (length) {
        size_t written = tcp_write(connection, data, length);
        tcp_consume(connection, written);
        if (written < length)
            return;
        data = tcp_peek(connection, &length);
    }
    if (tcp_at_end(connection))
        tcp_close(connection);
}

static void echo_datagram(uint16_t port, struct endpoint from, const uint8_t *data, size_t length)
{
    udp_send(port, from, data, length);
}

int guest_main(const struct boot_info *boot)
{
    static const struct tcp_service service = {.ready = echo};
    OPTIONS_ALLOW(NET_OPTIONS);
    net_start(boot, "net");
    tcp_listen(PORT, &service);
    udp_listen(PORT, echo_datagram);
    net_serve();
}
