/* The IDT: every vector leads to a handler in C, by default to one that reports and halts. */
#ifndef TRAP_H
#define TRAP_H

#include <stdint.h>

#include "segments.h"

enum vector {
    VECTOR_DIVIDE = 0,
    VECTOR_BREAKPOINT = 3,
    VECTOR_INVALID_OPCODE = 6,
    VECTOR_DOUBLE_FAULT = 8,
    VECTOR_GENERAL_PROTECTION = 13,
    VECTOR_PAGE_FAULT = 14,
};

/* What trap_entry.S saves, from the lowest address up. */
struct trap_frame {
    uint8_t floating[512] __attribute__((aligned(16))); /* as FXSAVE64 lays it out */
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};
_Static_assert(sizeof(struct trap_frame) == 512 + 22 * 8, "trap frame");

/* Runs with interrupts off. Returns the frame to go on with: usually its argument, another
 * thread's to switch to that thread. */
typedef struct trap_frame *trap_handler(struct trap_frame *frame);

void traps_load(void);
void trap_handle(unsigned vector, trap_handler *handler);
void trap_use_stack(unsigned vector, enum trap_stack stack);

/* The cookie of the halt that ends a guest after a trap without a handler: 512 bytes. */
struct trap_report {
    char magic[8]; /* "VLTRAP01" */
    uint64_t vector, error, rip, rflags, rsp, cr2;
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t padding[42];
};
_Static_assert(sizeof(struct trap_report) == 512, "trap report");

#endif
