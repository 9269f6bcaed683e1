/* Calls every hypercall of Solo5 hvt, rightly and wrongly, and prints what comes back. Needs a
 * disk of at least 1024 bytes, of which it overwrites the first and the last block.
 *
 *   --timer=1   also tries vlockstep's timer hypercall (0)
 *
 * Status: 0; 1 at the first unexpected result. */
#include <stdbool.h>

#include "boot.h"
#include "console.h"
#include "cpu.h"
#include "hypercall.h"
#include "manifest.h"
#include "memory.h"
#include "options.h"
#include "runtime.h"

GUEST_MANIFEST(BLOCK_DEVICE("disk"));

enum {
    BLOCK = 512,
};

static uint8_t pattern[2 * BLOCK], buffer[2 * BLOCK];

static void expect(bool right, const char *what)
{
    if (right)
        return;
    print("abi: wrong: %s\n", what);
    guest_exit(1);
}

static void expect_result(const char *what, int32_t result, int32_t expected)
{
    print("%s: result %d\n", what, result);
    expect(result == expected, what);
}

static void show_boot(const struct boot_info *boot)
{
    print("mem_size=%lu kernel_end=%lx cpu_cycle_freq=%lu\n", boot->mem_size, boot->kernel_end,
          boot->cpu_cycle_freq);
    expect(boot->mem_size % (2 << 20) == 0, "mem_size is a multiple of 2 MiB");
    expect(boot->kernel_end % 4096 == 0, "kernel_end is a multiple of 4096");
    expect(boot->kernel_end < boot->mem_size, "kernel_end is below mem_size");
    expect(boot->kernel_end >= (uintptr_t)(buffer + sizeof buffer), "kernel_end is behind .bss");
    expect(boot->cpu_cycle_freq, "cpu_cycle_freq is not 0");
    print("features host=%x guest=%x net_ring=%lx\n", boot->host_features, boot->guest_features,
          boot->net_ring);
    print_text("command line: ", 14);
    print_text(boot->command_line, strlen(boot->command_line));
    print("\n");
}

static void show_manifest(const struct manifest *manifest)
{
    print("manifest version=%u entries=%u\n", manifest->version, manifest->entries);
    expect(manifest->version == 1 && manifest->entries == 2, "manifest");
    for (uint32_t handle = 0; handle < manifest->entries; handle++) {
        const struct device *device = &manifest->devices[handle];
        print("device %u name=%s type=%x attached=%u", handle, device->name, device->type,
              device->attached);
        if (device->type == DEVICE_BLOCK)
            print(" capacity=%lu block_size=%u", device->block.capacity,
                  device->block.block_size);
        print("\n");
    }
    expect(manifest->devices[0].type == DEVICE_RESERVED, "entry 0 is the reserved one");
    expect(manifest->devices[1].attached == 1, "the disk is attached");
    expect(manifest->devices[1].block.block_size == BLOCK, "block size 512");
    expect(manifest->devices[1].block.capacity >= 2 * BLOCK, "a disk of at least 1024 bytes");
}

static int32_t read_disk(uint64_t handle, uint64_t offset, uint64_t length)
{
    uint64_t got = length;
    memset(buffer, 0xee, sizeof buffer);
    int32_t result = hypercall_block_read(handle, offset, buffer, &got);
    if (result == RESULT_OK)
        expect(got == length, "block read gives the length read");
    return result;
}

static void check_block(uint64_t disk, uint64_t offset, const char *what)
{
    expect_result(what, hypercall_block_write(disk, offset, pattern, BLOCK), RESULT_OK);
    expect(read_disk(disk, offset, BLOCK) == RESULT_OK, "block read");
    expect(!memcmp(buffer, pattern, BLOCK), "the block read is the block written");
    expect(buffer[BLOCK] == 0xee, "nothing is written behind the block");
}

/* Both directions must refuse this request. */
static void refuse(const char *what, uint64_t handle, uint64_t offset, uint64_t length)
{
    print("write ");
    expect_result(what, hypercall_block_write(handle, offset, pattern, length), RESULT_EINVAL);
    print("read ");
    expect_result(what, read_disk(handle, offset, length), RESULT_EINVAL);
}

static void check_disk(uint64_t disk, uint64_t capacity)
{
    uint64_t last = capacity / BLOCK * BLOCK - BLOCK;
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (uint8_t)(i * 7 + i / 256);
    check_block(disk, 0, "write first block");
    check_block(disk, last, "write last block");
    refuse("at the end", disk, last + BLOCK, BLOCK);
    refuse("far behind the end", disk, 1ull << 62, BLOCK);
    refuse("where offset + length overflows", disk, -(uint64_t)BLOCK, BLOCK);
    refuse("across the end", disk, last, 2 * BLOCK);
    refuse("at unaligned offset", disk, 100, BLOCK);
    refuse("of unaligned length", disk, 0, 100);
    refuse("on the reserved handle", 0, 0, BLOCK);
    refuse("on an unknown handle", 2, 0, BLOCK);
    refuse("on a huge handle", UINT64_MAX, 0, BLOCK);
    expect(read_disk(disk, 0, BLOCK) == RESULT_OK && !memcmp(buffer, pattern, BLOCK),
           "refused writes change nothing");

    /* Tenders may accept several blocks at once, or refuse. */
    int32_t result = hypercall_block_write(disk, 0, pattern, 2 * BLOCK);
    print("write two blocks: result %d\n", result);
    expect(read_disk(disk, 0, 2 * BLOCK) == result, "reads take what writes take");
    if (result == RESULT_OK)
        expect(!memcmp(buffer, pattern, 2 * BLOCK), "two blocks come back");
    else
        expect(result == RESULT_EINVAL, "two blocks are accepted or EINVAL");
}

static void check_net(uint64_t disk)
{
    uint64_t length = sizeof buffer;
    expect_result("net write to a disk", hypercall_net_write(disk, pattern, 60), RESULT_EINVAL);
    expect_result("net read from a disk", hypercall_net_read(disk, buffer, &length),
                  RESULT_EINVAL);
}

static void check_clocks(void)
{
    uint64_t wall = hypercall_walltime(), tsc = rdtsc();
    expect(wall, "walltime is not 0");
    uint64_t ready = 99;
    int32_t count = hypercall_poll(1000000, &ready);
    print("poll of 1 ms: count %d ready %lx\n", count, ready);
    expect(count == 0 && ready == 0, "poll without network devices");
    count = hypercall_poll(0, &ready);
    print("poll of 0: count %d ready %lx\n", count, ready);
    expect(count == 0 && ready == 0, "poll without waiting");
    expect(rdtsc() > tsc, "RDTSC advances during a poll of 1 ms");
}

static void check_timer(void)
{
    expect_result("timer off", hypercall_timer(0, 0x20), RESULT_OK);
    expect_result("timer on", hypercall_timer(1000000, 0x20), RESULT_OK);
    expect_result("timer off again", hypercall_timer(0, 0x20), RESULT_OK);
}

int guest_main(const struct boot_info *boot)
{
    OPTIONS_ALLOW("timer");
    show_boot(boot);
    show_manifest(boot->manifest);
    uint64_t disk = device_find(boot->manifest, "disk");
    check_clocks();
    check_disk(disk, boot->manifest->devices[disk].block.capacity);
    check_net(disk);
    hypercall_puts("", 0);
    if (option_number("timer", 0, 1))
        check_timer();
    print("abi ok\n");
    return 0;
}
