/* What the tender leaves for the guest at 0x10000. */
#ifndef BOOT_H
#define BOOT_H

#include <stdint.h>

struct manifest;

struct boot_info {
    uint64_t mem_size;
    uint64_t kernel_end;
    uint64_t cpu_cycle_freq; /* Hz of RDTSC */
    const char *command_line;
    const struct manifest *manifest;
    uint32_t host_features;
    uint32_t guest_features;
    uint64_t net_ring;
};

/* Every guest defines this; what it returns is the guest's exit status. */
int guest_main(const struct boot_info *boot);

#endif
