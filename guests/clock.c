/* Reads the clocks as fast as it can: what an exit costs, and whether time ever runs backwards.
 *
 *   --reads=N      of RDTSC (100000)
 *   --walltime=N   of the walltime hypercall (1000)
 *   --puts=N       hypercalls that print a line of 32 bytes (0)
 *
 * Status: 0; 1 if the TSC went backwards. The wall clock may; it is only counted. */
#include "boot.h"
#include "console.h"
#include "cpu.h"
#include "hypercall.h"
#include "manifest.h"
#include "options.h"

GUEST_MANIFEST();

struct steps {
    uint64_t last, reads, minimum, maximum, backwards;
};

static void steps_start(struct steps *steps, uint64_t now)
{
    *steps = (struct steps){.last = now, .minimum = UINT64_MAX};
}

static void steps_add(struct steps *steps, uint64_t now)
{
    if (now < steps->last) {
        steps->backwards++;
    } else {
        uint64_t step = now - steps->last;
        if (step < steps->minimum)
            steps->minimum = step;
        if (step > steps->maximum)
            steps->maximum = step;
    }
    steps->last = now;
    steps->reads++;
}

static void steps_print(const struct steps *steps, const char *name)
{
    print("clock %s reads=%lu minimum=%lu maximum=%lu backwards=%lu\n", name, steps->reads,
          steps->reads > steps->backwards ? steps->minimum : 0, steps->maximum, steps->backwards);
}

int guest_main(const struct boot_info *boot)
{
    (void)boot;
    OPTIONS_ALLOW("reads", "walltime", "puts");
    uint64_t reads = option_number("reads", 100000, UINT64_MAX);
    uint64_t walltimes = option_number("walltime", 1000, UINT64_MAX);
    uint64_t puts = option_number("puts", 0, UINT64_MAX);

    struct steps tsc, wall, late;
    steps_start(&tsc, rdtsc());
    for (uint64_t i = 0; i < reads; i++)
        steps_add(&tsc, rdtsc());

    late = tsc; /* from here on the TSC is compared across the other hypercalls */
    steps_start(&wall, hypercall_walltime());
    for (uint64_t i = 0; i < walltimes; i++)
        steps_add(&wall, hypercall_walltime());
    steps_add(&late, rdtsc());

    static const char line[32] = "clock says that it is about now\n";
    for (uint64_t i = 0; i < puts; i++)
        hypercall_puts(line, sizeof line);
    steps_add(&late, rdtsc());

    steps_print(&tsc, "tsc");
    steps_print(&wall, "wall");
    if (!late.backwards)
        return 0;
    print("clock: the TSC went backwards\n");
    return 1;
}
