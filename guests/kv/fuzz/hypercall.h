/* Takes the place of lib/hypercall.h where there is no machine beneath. */
#ifndef HYPERCALL_H
#define HYPERCALL_H

#include <stddef.h>
#include <stdint.h>

enum result {
    RESULT_OK = 0,
    RESULT_EINVAL = 2,
};

uint64_t hypercall_walltime(void);
uint64_t hypercall_generation(void);
void hypercall_puts(const char *text, size_t length);
_Noreturn void hypercall_halt(int32_t status, const void *cookie);
int32_t hypercall_block_write(uint64_t handle, uint64_t offset, const void *data, uint64_t length);
int32_t hypercall_block_read(uint64_t handle, uint64_t offset, void *data, uint64_t *length);

#endif
