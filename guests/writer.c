/* Writes its memory without end and checks all that it wrote; tells the longest time between two
 * readings of its cycle counter: what holding or moving the guest costs by its own clock.
 *
 *   --touch=MIB    memory that it fills once, and checks from then on (8)
 *   --rewrite=MIB  as much of that is written again in each round (1)
 *   --rounds=N     of rewriting until it ends; 0 for no end (1000)
 *   --seconds=S    after which it ends; 0 for no end (0)
 *   --beat=MS      milliseconds between lines that tell how far it is, and the longest
 *                  time since the line before; 0 for none (0)
 *
 * Status: 0; 1 if memory does not hold what was written; 2 if there is not as much memory. */
#include <stdbool.h>

#include "boot.h"
#include "console.h"
#include "cpu.h"
#include "hash.h"
#include "manifest.h"
#include "options.h"

GUEST_MANIFEST();

enum {
    PAGE = 4096,
    WORDS = PAGE / 8,
    PAGES_PER_MIB = 256,
    STACK = 1 << 20,
    BURST = 32,  /* pages between two readings of the counter */
    CHECKED = 4, /* other pages that are checked then */
};

static volatile uint64_t *memory;
static uint64_t touched, rewritten; /* pages */
static uint64_t per_us, started, last, longest, lately, bursts, checked;

static uint64_t first_word(uint64_t page, uint64_t round)
{
    return mix(page << 32 ^ round);
}

/* Whether a page has what was written in that round. */
static bool check(uint64_t page, uint64_t round)
{
    volatile uint64_t *word = memory + page * WORDS;
    uint64_t expected = first_word(page, round), different = 0;
#pragma GCC unroll 16
    for (unsigned i = 0; i < WORDS; i++)
        different |= word[i] ^ (expected + i);
    if (!different)
        return true;
    print("writer: page %lu does not hold what was written in round %lu\n", page, round);
    return false;
}

static void fill(uint64_t page, uint64_t round)
{
    volatile uint64_t *word = memory + page * WORDS;
    uint64_t value = first_word(page, round);
#pragma GCC unroll 16
    for (unsigned i = 0; i < WORDS; i++)
        word[i] = value + i;
}

static void read_clock(uint64_t round)
{
    uint64_t now = rdtsc();
    uint64_t gap = (now - last) / per_us;
    last = now;
    if (gap > lately)
        lately = gap;
    if (gap <= longest)
        return;
    longest = gap;
    print("writer longest=%lu us round=%lu\n", gap, round);
}

static uint64_t run_time(void)
{
    return (last - started) / per_us;
}

/* Some of the pages that are not written any more. */
static bool check_others(void)
{
    for (unsigned i = 0; i < CHECKED && rewritten < touched; i++) {
        if (!check(rewritten + checked, 0))
            return false;
        checked = (checked + 1) % (touched - rewritten);
    }
    return true;
}

static bool rewrite(uint64_t round)
{
    for (uint64_t page = 0; page < rewritten; page++) {
        if (!check(page, round - 1))
            return false;
        fill(page, round);
        if (++bursts % BURST)
            continue;
        read_clock(round);
        if (!check_others())
            return false;
    }
    read_clock(round);
    return true;
}

static bool place(const struct boot_info *boot)
{
    uint64_t begin = (boot->kernel_end + PAGE - 1) / PAGE * PAGE;
    memory = (volatile uint64_t *)begin;
    return begin + touched * PAGE + STACK <= boot->mem_size;
}

int guest_main(const struct boot_info *boot)
{
    OPTIONS_ALLOW("touch", "rewrite", "rounds", "seconds", "beat");
    touched = option_number("touch", 8, 1 << 20) * PAGES_PER_MIB;
    rewritten = option_number("rewrite", 1, 1 << 20) * PAGES_PER_MIB;
    uint64_t rounds = option_number("rounds", 1000, UINT64_MAX);
    uint64_t seconds = option_number("seconds", 0, 1000000000);
    uint64_t beat = option_number("beat", 0, 1000000000);
    if (rewritten > touched || !place(boot)) {
        print("writer: there is not as much memory to write\n");
        return 2;
    }
    per_us = boot->cpu_cycle_freq / 1000000;

    for (uint64_t page = 0; page < touched; page++)
        fill(page, 0);
    print("writer touched=%lu rewritten=%lu pages\n", touched, rewritten);

    uint64_t round = 0, told = started = last = rdtsc();
    while ((!rounds || round < rounds) && (!seconds || run_time() < seconds * 1000000)) {
        if (!rewrite(++round))
            return 1;
        if (beat && (last - told) / per_us >= beat * 1000) {
            told = last;
            print("writer round=%lu lately=%lu us\n", round, lately);
            lately = 0;
        }
    }
    print("writer rounds=%lu longest=%lu us in %lu us\n", round, longest, run_time());
    return 0;
}
