/* Keeps a ledger on the console and on its disk: every line depends on the clocks and on all
 * lines before, so that any input lost, doubled or changed on the way shows.
 *
 *   --lines=N    how many lines, each a block on the disk (200)
 *   --work=N     rounds of computation for each line (20000)
 *   --pause=MS   sleep between lines (10); with 0 the guest never polls
 *
 * Status: 0; 1 if a block read back is not what was written; 2 if the disk is too small. */
#include "boot.h"
#include "console.h"
#include "cpu.h"
#include "hash.h"
#include "hypercall.h"
#include "manifest.h"
#include "memory.h"
#include "options.h"
#include "runtime.h"

GUEST_MANIFEST(BLOCK_DEVICE("disk"));

enum {
    BLOCK = 512,
    READ_EVERY = 16,
};

struct block {
    char magic[8];
    uint64_t number;   /* from 1; block number - 1 of the disk */
    uint64_t previous; /* checksum of the block before; 0 in the first */
    uint64_t wall, tsc, sum;
    uint32_t text_len;
    char text[448]; /* the line on the console, zero-filled */
    char zero[4];
    uint64_t checksum; /* FNV-1a of all before */
} __attribute__((packed));
_Static_assert(sizeof(struct block) == BLOCK, "ledger block");

static const char magic[8] = {'V', 'L', 'E', 'D', 'G', 'E', 'R', '1'};

static uint64_t checksum_of(const struct block *block)
{
    return fnv1a(FNV1A_START, block, BLOCK - sizeof block->checksum);
}

static uint64_t compute(uint64_t sum, uint64_t wall, uint64_t tsc, uint64_t rounds)
{
    sum = mix(sum ^ wall) ^ rotate(tsc, 32);
    for (uint64_t i = 0; i <= rounds; i++)
        sum = mix(sum + i);
    return sum;
}

static void write_block(uint64_t disk, const struct block *block)
{
    int32_t result = hypercall_block_write(disk, (block->number - 1) * BLOCK, block, BLOCK);
    if (result == RESULT_OK)
        return;
    print("ledger block %lu cannot be written: result %d\n", block->number, result);
    guest_exit(1);
}

static void check_block(uint64_t disk, uint64_t number)
{
    static struct block block;
    uint64_t length = BLOCK;
    int32_t result = hypercall_block_read(disk, (number - 1) * BLOCK, &block, &length);
    if (result == RESULT_OK && length == BLOCK && block.number == number &&
        !memcmp(block.magic, magic, sizeof magic) && block.checksum == checksum_of(&block))
        return;
    print("ledger block %lu is damaged: result %d\n", number, result);
    guest_exit(1);
}

int guest_main(const struct boot_info *boot)
{
    OPTIONS_ALLOW("lines", "work", "pause");
    uint64_t lines = option_number("lines", 200, 999999);
    uint64_t work = option_number("work", 20000, UINT64_MAX);
    uint64_t pause_ms = option_number("pause", 10, 3600000);

    uint64_t disk = device_find(boot->manifest, "disk");
    uint64_t capacity = boot->manifest->devices[disk].block.capacity;
    if (capacity / BLOCK < lines) {
        print("ledger needs a disk of %lu bytes, this one has %lu\n", lines * BLOCK, capacity);
        return 2;
    }

    uint64_t sum = 0, chain = 0;
    for (uint64_t number = 1; number <= lines; number++) {
        if (pause_ms && number > 1)
            hypercall_poll(pause_ms * 1000000, NULL);
        static struct block block;
        uint64_t wall = hypercall_walltime(), tsc = rdtsc();
        sum = compute(sum, wall, tsc, work);
        block = (struct block){.number = number, .previous = chain, .wall = wall, .tsc = tsc,
                               .sum = sum};
        memcpy(block.magic, magic, sizeof magic);
        block.text_len = (uint32_t)format(block.text, sizeof block.text,
                                          "ledger %06u wall=%lu tsc=%lu sum=%016lx\n",
                                          (unsigned)number, wall, tsc, sum);
        block.checksum = chain = checksum_of(&block);

        print_text(block.text, block.text_len);
        write_block(disk, &block);
        if (number % READ_EVERY == 0)
            check_block(disk, 1 + sum % number);
    }
    print("ledger done lines=%u chain=%016lx\n", (unsigned)lines, chain);
    return 0;
}
