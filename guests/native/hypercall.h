/* Stands in for lib/hypercall.h in a program of the host: the hypercalls that a guest without
 * devices and clocks makes. Included first. */
#ifndef HYPERCALL_H
#define HYPERCALL_H

#include <stddef.h>
#include <stdint.h>

void hypercall_puts(const char *text, size_t length);
_Noreturn void hypercall_halt(int32_t status, const void *cookie);

#endif
