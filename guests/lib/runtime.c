/* From the entry point to guest_main and out again. */
#include "runtime.h"

#include "boot.h"
#include "console.h"
#include "hypercall.h"
#include "options.h"
#include "segments.h"
#include "trap.h"

_Noreturn void runtime_start(const struct boot_info *boot);

void runtime_start(const struct boot_info *boot)
{
    segments_load();
    traps_load();
    options_start(boot->command_line);
    guest_exit(guest_main(boot));
}

void guest_exit(int32_t status)
{
    print_flush();
    hypercall_halt(status, 0);
}
