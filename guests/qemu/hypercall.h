/* Stands in for lib/hypercall.h where QEMU boots the guest: the hypercalls that a guest without
 * devices and clocks makes, on QEMU's devices. Included first, in assembly too. */
#if !defined HYPERCALL_H && !defined __ASSEMBLER__
#define HYPERCALL_H

#include <stddef.h>
#include <stdint.h>

enum {
    PORT_DEBUG_CONSOLE = 0xe9, /* -device isa-debugcon,iobase=0xe9 */
    PORT_DEBUG_EXIT = 0xf4,    /* -device isa-debug-exit,iobase=0xf4,iosize=4 */
};

static inline void hypercall_puts(const char *text, size_t length)
{
    for (; length; length--, text++)
        __asm__ volatile("outb %0, %1" : : "a"(*text), "i"(PORT_DEBUG_CONSOLE) : "memory");
}

/* QEMU ends with 2 * status + 1. */
_Noreturn static inline void hypercall_halt(int32_t status, const void *cookie)
{
    (void)cookie;
    __asm__ volatile("outl %0, %1" : : "a"(status), "i"(PORT_DEBUG_EXIT) : "memory");
    for (;;)
        __asm__ volatile("cli; hlt");
}

#endif
