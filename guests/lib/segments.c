#include "segments.h"

#include "cpu.h"

struct task_state {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7]; /* ist[0] is IST 1 */
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map;
} __attribute__((packed));
_Static_assert(sizeof(struct task_state) == 104, "TSS");

static uint8_t stacks[STACK_COUNT][8192] __attribute__((aligned(16)));
static struct task_state task_state = {.io_map = sizeof(struct task_state)};

/* Null, code, data, TSS (two slots); the accessed bits are set beforehand. */
static uint64_t gdt[5] __attribute__((aligned(16))) = {
    [SELECTOR_CODE / 8] = 0x00af9b000000ffff,
    [SELECTOR_DATA / 8] = 0x00cf93000000ffff,
};

static void describe_task_state(void)
{
    uint64_t base = (uintptr_t)&task_state, limit = sizeof task_state - 1;
    gdt[SELECTOR_TSS / 8] = limit | (base & 0xffffff) << 16 | 0x89ull << 40 |
                            (base >> 24 & 0xff) << 56;
    gdt[SELECTOR_TSS / 8 + 1] = base >> 32;
    for (int stack = 1; stack < STACK_COUNT; stack++)
        task_state.ist[stack - 1] = (uintptr_t)stacks[stack] + sizeof stacks[stack];
}

void segments_load(void)
{
    describe_task_state();
    struct table_pointer table = {sizeof gdt - 1, (uintptr_t)gdt};
    __asm__ volatile("lgdt %0\n\t"
                     "pushq %1\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "lretq\n"
                     "1:\n\t"
                     "movl %2, %%ds\n\t"
                     "movl %2, %%es\n\t"
                     "movl %2, %%ss\n\t"
                     "xorl %%eax, %%eax\n\t"
                     "movl %%eax, %%fs\n\t"
                     "movl %%eax, %%gs\n\t"
                     "ltr %w3"
                     :
                     : "m"(table), "i"(SELECTOR_CODE), "r"(SELECTOR_DATA), "r"(SELECTOR_TSS)
                     : "rax", "memory");
}

bool on_trap_stack(enum trap_stack stack, const void *address)
{
    return (uintptr_t)address - (uintptr_t)stacks[stack] < sizeof stacks[stack];
}
