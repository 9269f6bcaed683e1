/* Stands in for lib/hypercall.h where QEMU boots the guest: the hypercalls that a guest without
 * devices and clocks makes, on QEMU's devices. Included first, in assembly too. */
#if !defined HYPERCALL_H && !defined __ASSEMBLER__
#define HYPERCALL_H

#include <stddef.h>
#include <stdint.h>

enum {
    PORT_DEBUG_CONSOLE = 0xe9, /* -device isa-debugcon,iobase=0xe9 */
    PORT_DEBUG_EXIT = 0xf4,    /* -device isa-debug-exit,iobase=0xf4,iosize=4 */
    PORT_PIC = 0x20,           /* the first interrupt controller */
    PORT_PIT = 0x40,           /* the interval timer, at input 0 of that */
};

enum result {
    RESULT_OK = 0,
};

static inline void port_write(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void hypercall_puts(const char *text, size_t length)
{
    for (; length; length--, text++)
        __asm__ volatile("outb %0, %1" : : "a"(*text), "i"(PORT_DEBUG_CONSOLE) : "memory");
}

/* Of at most 54 ms; 0 is none. No handler has to tell the controller of its end. */
static inline int32_t hypercall_timer(uint64_t period_ns, uint32_t vector)
{
    uint64_t ticks = period_ns * 1193182 / 1000000000;
    port_write(PORT_PIC, 0x11); /* set it up: */
    port_write(PORT_PIC + 1, (uint8_t)vector);
    port_write(PORT_PIC + 1, 4);    /* where the second one is, */
    port_write(PORT_PIC + 1, 3);    /* that interrupts end by themselves, */
    port_write(PORT_PIC + 1, period_ns ? 0xfe : 0xff); /* and which inputs are masked */
    port_write(PORT_PIT + 3, 0x34); /* periodically */
    port_write(PORT_PIT, (uint8_t)ticks);
    port_write(PORT_PIT, (uint8_t)(ticks >> 8));
    return RESULT_OK;
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
