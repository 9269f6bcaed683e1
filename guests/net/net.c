/* Start, and the rounds: read what has come, let the services run, send, sleep. */
#include "net.h"

#include "arp.h"
#include "config.h"
#include "console.h"
#include "counters.h"
#include "device.h"
#include "ethernet.h"
#include "ipv4.h"
#include "options.h"
#include "round.h"
#include "runtime.h"
#include "tcp.h"
#include "udp.h"

enum { FRAMES_IN_ROUND = 256 };

#define MINIMUM_MTU 576 /* RFC 791: what every host must take */
#define SECOND 1000000000ull
#define LONGEST_SLEEP (3600 * SECOND)
#define LONGEST_OPTION 1000000 /* seconds */

struct net_counters counters;
static uint64_t now;

void net_start(const struct boot_info *boot, const char *name)
{
    struct config config = config_read();
    uint8_t mac[MAC_SIZE];
    size_t mtu;
    if (!device_open(boot, name, mac, &mtu)) {
        print("no network device %s\n", name);
        guest_exit(2);
    }
    if (mtu < MINIMUM_MTU) {
        print("the MTU of %s is %lu, below %d\n", name, mtu, MINIMUM_MTU);
        guest_exit(2);
    }
    counters = (struct net_counters){0};
    now = device_clock();
    ethernet_start(mac);
    arp_start();
    ipv4_start(&config, mtu < FRAME_MTU ? mtu : FRAME_MTU);
    udp_start();
    tcp_start(device_seed());
    tcp_set_keepalive(option_number("tcp-keepalive", 300, LONGEST_OPTION) * SECOND);
    tcp_set_timeout(option_number("tcp-timeout", 0, LONGEST_OPTION) * SECOND);
    arp_announce();
}

uint64_t net_now(void)
{
    return now;
}

const struct net_counters *net_counters(void)
{
    return &counters;
}

uint64_t net_round(void)
{
    static uint8_t frame[FRAME_SIZE];
    now = device_clock();
    for (unsigned i = 0; i < FRAMES_IN_ROUND; i++) {
        size_t length = sizeof frame;
        if (!device_read(frame, &length))
            break;
        ethernet_input(frame, length);
    }
    uint64_t due = tcp_round();
    if (!due)
        return LONGEST_SLEEP;
    return due > now ? due - now : 0;
}

void net_serve(void)
{
    for (;;)
        device_wait(net_round());
}
