/* Pure computation: fills an array with random numbers, sorts it, hashes it. Nothing leaves the
 * guest between its start and its last line.
 *
 *   --n=N        elements, at most 1048576 (1000000)
 *   --rounds=R   how often (3)
 *   --seed=S     of the generator (1)
 *
 * Status: 0; 1 if the array is not sorted in the end. */
#include <stdbool.h>

#include "boot.h"
#include "console.h"
#include "hash.h"
#include "manifest.h"
#include "options.h"

GUEST_MANIFEST();

enum {
    MAXIMUM = 1 << 20,
    SMALL = 16, /* below this, insertion sort */
};

static uint64_t array[MAXIMUM];

static uint64_t xorshift(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void insertion_sort(uint64_t *from, uint64_t n)
{
    for (uint64_t i = 1; i < n; i++) {
        uint64_t value = from[i], at = i;
        for (; at && from[at - 1] > value; at--)
            from[at] = from[at - 1];
        from[at] = value;
    }
}

static uint64_t median(uint64_t a, uint64_t b, uint64_t c)
{
    if (a > b) {
        uint64_t swap = a;
        a = b;
        b = swap;
    }
    return c < a ? a : c > b ? b : c;
}

/* Returns k, 0 < k < n, so that no element before k is greater than one from k on. */
static uint64_t partition(uint64_t *from, uint64_t n)
{
    uint64_t pivot = median(from[0], from[n / 2], from[n - 1]);
    uint64_t low = 0, high = n - 1;
    for (;; low++, high--) {
        while (from[low] < pivot)
            low++;
        while (from[high] > pivot)
            high--;
        if (low >= high)
            return low ? low : 1;
        uint64_t swap = from[low];
        from[low] = from[high];
        from[high] = swap;
    }
}

/* Recurs into the smaller part only, so the stack stays shallow. */
static void quicksort(uint64_t *from, uint64_t n)
{
    while (n > SMALL) {
        uint64_t k = partition(from, n);
        if (k < n - k) {
            quicksort(from, k);
            from += k;
            n -= k;
        } else {
            quicksort(from + k, n - k);
            n = k;
        }
    }
    insertion_sort(from, n);
}

static bool is_sorted(uint64_t n)
{
    for (uint64_t i = 1; i < n; i++)
        if (array[i - 1] > array[i])
            return false;
    return true;
}

int guest_main(const struct boot_info *boot)
{
    (void)boot;
    OPTIONS_ALLOW("n", "rounds", "seed");
    uint64_t n = option_number("n", 1000000, MAXIMUM);
    uint64_t rounds = option_number("rounds", 3, UINT64_MAX);
    uint64_t state = mix(option_number("seed", 1, UINT64_MAX)) | 1;

    uint64_t hash = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        for (uint64_t i = 0; i < n; i++)
            array[i] = xorshift(&state);
        quicksort(array, n);
        if (!is_sorted(n)) {
            print("sort: not sorted in round %lu\n", round);
            return 1;
        }
        for (uint64_t i = 0; i < n; i++)
            hash = mix(hash ^ array[i]);
    }
    print("sort n=%lu rounds=%lu hash=%016lx\n", n, rounds, hash);
    return 0;
}
