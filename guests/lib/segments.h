/* The guest's own GDT and its TSS with the stacks for grave traps. */
#ifndef SEGMENTS_H
#define SEGMENTS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    SELECTOR_CODE = 0x08,
    SELECTOR_DATA = 0x10,
    SELECTOR_TSS = 0x18,
};

/* Numbers of stacks in the TSS (IST); 0 in a gate means: stay on the interrupted stack. */
enum trap_stack {
    STACK_CURRENT = 0,
    STACK_DOUBLE_FAULT = 1,
    STACK_PAGE_FAULT = 2,
    STACK_COUNT = 3,
};

void segments_load(void);
bool on_trap_stack(enum trap_stack stack, const void *address);

#endif
