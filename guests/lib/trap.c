#include "trap.h"

#include "console.h"
#include "cpu.h"
#include "hypercall.h"
#include "memory.h"
#include "runtime.h"

enum {
    VECTORS = 256,
    STUB_SIZE = 16,
};

struct gate {
    uint16_t offset_low;
    uint16_t selector;
    uint8_t stack;
    uint8_t type;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};
_Static_assert(sizeof(struct gate) == 16, "IDT gate");

extern const uint8_t trap_stubs[VECTORS][STUB_SIZE];
struct trap_frame *trap_dispatch(struct trap_frame *frame);

static struct gate idt[VECTORS] __attribute__((aligned(16)));
static trap_handler *handlers[VECTORS];
static struct trap_report report;

void traps_load(void)
{
    for (unsigned vector = 0; vector < VECTORS; vector++) {
        uintptr_t stub = (uintptr_t)trap_stubs[vector];
        idt[vector] = (struct gate){
            .offset_low = (uint16_t)stub,
            .offset_middle = (uint16_t)(stub >> 16),
            .offset_high = (uint32_t)(stub >> 32),
            .selector = SELECTOR_CODE,
            .type = 0x8e, /* present, interrupt gate */
        };
    }
    trap_use_stack(VECTOR_DOUBLE_FAULT, STACK_DOUBLE_FAULT);
    trap_use_stack(VECTOR_PAGE_FAULT, STACK_PAGE_FAULT);
    load_idt(&(struct table_pointer){sizeof idt - 1, (uintptr_t)idt});
}

void trap_handle(unsigned vector, trap_handler *handler)
{
    handlers[vector] = handler;
}

void trap_use_stack(unsigned vector, enum trap_stack stack)
{
    idt[vector].stack = (uint8_t)stack;
}

_Noreturn static void report_and_halt(const struct trap_frame *frame)
{
    uint64_t cr2 = read_cr2();
    report = (struct trap_report){
        .magic = {'V', 'L', 'T', 'R', 'A', 'P', '0', '1'},
        .vector = frame->vector,
        .error = frame->error,
        .rip = frame->rip,
        .rflags = frame->rflags,
        .rsp = frame->rsp,
        .cr2 = cr2,
        .rax = frame->rax,
        .rbx = frame->rbx,
        .rcx = frame->rcx,
        .rdx = frame->rdx,
        .rsi = frame->rsi,
        .rdi = frame->rdi,
        .rbp = frame->rbp,
        .r8 = frame->r8,
        .r9 = frame->r9,
        .r10 = frame->r10,
        .r11 = frame->r11,
        .r12 = frame->r12,
        .r13 = frame->r13,
        .r14 = frame->r14,
        .r15 = frame->r15,
    };
    print_flush();
    print("trap %lu error=%lx rip=%lx cr2=%lx\n", frame->vector, frame->error, frame->rip, cr2);
    hypercall_halt(255, &report);
}

struct trap_frame *trap_dispatch(struct trap_frame *frame)
{
    trap_handler *handler = handlers[frame->vector];
    if (!handler)
        report_and_halt(frame);
    return handler(frame);
}
