/* Answers numbered requests in raw Ethernet frames, each number once, so that a request or a reply
 * that is lost, doubled or changed on the way shows.
 *
 * A request of type 0x88b5 (for local experiments) holds its number, from 1, in 8 bytes, least
 * significant first. The reply holds the number, the chain before it and the chain after it: a
 * hash of everything up to here. The last request is answered again as often as it comes, all
 * others are ignored.
 *
 *   --requests=N   the request after these ends the guest (10)
 *
 * Status: 0; 2 if there is no device. */
#include "boot.h"
#include "console.h"
#include "cpu.h"
#include "hash.h"
#include "hypercall.h"
#include "manifest.h"
#include "memory.h"
#include "options.h"

GUEST_MANIFEST(NET_DEVICE("net"));

struct frame {
    uint8_t to[6], from[6], type[2];
    uint64_t number, before, after;
    uint8_t padding[22];
} __attribute__((packed));
_Static_assert(sizeof(struct frame) == 60, "the least Ethernet frame");

static const uint8_t type[2] = {0x88, 0xb5};

static void turn_round(struct frame *frame)
{
    uint8_t from[6];
    memcpy(from, frame->from, sizeof from);
    memcpy(frame->from, frame->to, sizeof from);
    memcpy(frame->to, from, sizeof from);
}

int guest_main(const struct boot_info *boot)
{
    OPTIONS_ALLOW("requests");
    uint64_t requests = option_number("requests", 10, UINT64_MAX - 1);
    uint64_t net = device_find(boot->manifest, "net");
    if (!net)
        return 2;

    static struct frame request, reply;
    uint64_t last = 0, chain = 0;
    for (;;) {
        uint64_t length = sizeof request;
        if (hypercall_net_read(net, &request, &length) != RESULT_OK) {
            hypercall_poll(1000000000, NULL);
            continue;
        }
        if (length < sizeof request || memcmp(request.type, type, sizeof type))
            continue;
        if (request.number == last + 1) {
            if (last == requests)
                return 0;
            uint64_t tsc = rdtsc();
            reply = request;
            turn_round(&reply);
            reply.before = chain;
            reply.after = chain = mix(chain ^ tsc) + request.number;
            last = request.number;
        }
        if (last && request.number == last)
            hypercall_net_write(net, &reply, sizeof reply);
    }
}
