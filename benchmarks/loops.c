/* A guest that computes in floating point: 64 orbits of the logistic map, whose chaos makes any
 * difference between two engines' rounding one of the hash.
 *
 *   --x87=N   steps of all orbits in long double (0)
 *   --sse=N   the same in double (0)
 *
 * Status: 0. */
#include "boot.h"
#include "console.h"
#include "hash.h"
#include "manifest.h"
#include "options.h"

GUEST_MANIFEST();

enum { ORBITS = 64 };

#define ORBITS_OF(TYPE, NAME)                                                                      \
    static uint64_t NAME(uint64_t steps)                                                           \
    {                                                                                              \
        static TYPE at[ORBITS];                                                                    \
        for (int i = 0; i < ORBITS; i++)                                                           \
            at[i] = (TYPE)(i + 1) / (ORBITS + 1);                                                  \
        for (; steps; steps--)                                                                     \
            for (int i = 0; i < ORBITS; i++)                                                       \
                at[i] = (TYPE)3.9 * at[i] * (1 - at[i]);                                           \
        uint64_t hash = 0;                                                                         \
        for (int i = 0; i < ORBITS; i++)                                                           \
            hash = mix(hash ^ (uint64_t)(int64_t)(at[i] * (1L << 62)));                            \
        return hash;                                                                               \
    }

ORBITS_OF(long double, in_x87)
ORBITS_OF(double, in_sse)

int guest_main(const struct boot_info *boot)
{
    (void)boot;
    OPTIONS_ALLOW("x87", "sse");
    uint64_t x87 = option_number("x87", 0, UINT64_MAX);
    uint64_t sse = option_number("sse", 0, UINT64_MAX);
    print("loops x87=%016lx sse=%016lx\n", in_x87(x87), in_sse(sse));
    return 0;
}
