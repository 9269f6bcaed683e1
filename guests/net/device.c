#include "device.h"

#include "boot.h"
#include "cpu.h"
#include "hypercall.h"
#include "manifest.h"
#include "memory.h"

static struct {
    uint64_t handle;
    uint64_t start;
    uint64_t scale; /* nanoseconds in a cycle, times 2^32 */
} device;

bool device_open(const struct boot_info *boot, const char *name, uint8_t mac[MAC_SIZE],
                 size_t *mtu)
{
    device.handle = device_find(boot->manifest, name);
    const struct device *entry = &boot->manifest->devices[device.handle];
    if (!device.handle || entry->type != DEVICE_NET)
        return false;
    memcpy(mac, entry->net.mac, MAC_SIZE);
    *mtu = entry->net.mtu;
    device.scale = (1000000000ull << 32) / boot->cpu_cycle_freq;
    device.start = rdtsc();
    return true;
}

bool device_read(uint8_t *frame, size_t *length)
{
    return hypercall_net_read(device.handle, frame, length) == RESULT_OK;
}

bool device_write(const uint8_t *frame, size_t length)
{
    return hypercall_net_write(device.handle, frame, length) == RESULT_OK;
}

void device_wait(uint64_t timeout_ns)
{
    hypercall_poll(timeout_ns, NULL);
}

uint64_t device_clock(void)
{
    unsigned __int128 scaled = (unsigned __int128)(rdtsc() - device.start) * device.scale;
    return (uint64_t)(scaled >> 32) + 1;
}

uint64_t device_seed(void)
{
    return hypercall_walltime() ^ rdtsc();
}
