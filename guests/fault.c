/* Raises one error of each kind a guest can make.
 *
 *   --kind=K    which; without it the guest lists the kinds and halts with 2
 *
 * Kinds marked `tender` have to be stopped by the tender, those marked `guest` arrive in the
 * guest's own IDT and end with status 255. A kind that has no effect ends with status 3. */
#include <stdbool.h>

#include "boot.h"
#include "console.h"
#include "cpu.h"
#include "hash.h"
#include "hypercall.h"
#include "manifest.h"
#include "memory.h"
#include "options.h"
#include "runtime.h"
#include "trap.h"

GUEST_MANIFEST();

static uint64_t mem_size;

enum {
    NOT_MAPPED = 0x8000, /* below 0x10000 */
};

static void remove_idt(void)
{
    load_idt(&(struct table_pointer){0, 0});
}

static void read_at(uint64_t address)
{
    __asm__ volatile("movq (%0), %%rax" : : "r"(address) : "rax", "memory");
}

static void write_at(uint64_t address)
{
    __asm__ volatile("movq %%rax, (%0)" : : "r"(address) : "memory");
}

_Noreturn static void call_at(uint64_t address)
{
    __asm__ volatile("jmp *%0" : : "r"(address));
    __builtin_unreachable();
}

static void push_at(uint64_t stack)
{
    __asm__ volatile("movq %0, %%rsp; pushq $0" : : "r"(stack) : "memory");
}

static void raise_noidt(void)
{
    remove_idt();
    __asm__ volatile("ud2");
}

static void raise_unmapped(void)
{
    remove_idt();
    call_at(NOT_MAPPED);
}

static void raise_pointer(void)
{
    hypercall_puts((const char *)mem_size + 4096, 16);
}

static void raise_length(void)
{
    hypercall_puts((const char *)mem_size - 8, 64);
}

/* With 4 GiB of memory there is no address outside. */
static void raise_struct(void)
{
    hypercall_raw(HYPERCALL_PUTS, mem_size < 1ull << 32 ? (uint32_t)mem_size : UINT32_MAX);
}

static void raise_edge(void)
{
    hypercall_raw(HYPERCALL_PUTS, (uint32_t)mem_size - 8);
}

static void raise_port(void)
{
    __asm__ volatile("outl %0, %1" : : "a"(0), "Nd"((uint16_t)0x80));
}

static void raise_width8(void)
{
    __asm__ volatile("outb %b0, %w1" : : "a"(0), "d"(0x500 + HYPERCALL_PUTS));
}

static void raise_width16(void)
{
    __asm__ volatile("outw %w0, %w1" : : "a"(0), "d"(0x500 + HYPERCALL_PUTS));
}

static void raise_in(void)
{
    uint32_t value;
    __asm__ volatile("inl %w1, %0" : "=a"(value) : "d"(0x500 + HYPERCALL_PUTS));
}

static void raise_unknown(void)
{
    static uint64_t request[8];
    hypercall_raw(60, (uint32_t)(uintptr_t)request);
}

static void raise_spin(void)
{
    __asm__ volatile("cli; 1: jmp 1b");
}

static void raise_hlt(void)
{
    __asm__ volatile("cli; hlt");
}

/* A push faults, the delivery of the page fault faults, and so does that of the double fault. */
static void raise_stack(void)
{
    trap_use_stack(VECTOR_PAGE_FAULT, STACK_CURRENT);
    trap_use_stack(VECTOR_DOUBLE_FAULT, STACK_CURRENT);
    push_at(NOT_MAPPED);
}

/* The same, but the double fault has a stack of its own. */
static void raise_df(void)
{
    trap_use_stack(VECTOR_PAGE_FAULT, STACK_CURRENT);
    push_at(NOT_MAPPED);
}

static void raise_de(void)
{
    __asm__ volatile("xorl %%edx, %%edx; divl %%edx" : : "a"(1) : "rdx", "cc");
}

static void raise_ud(void)
{
    __asm__ volatile("ud2");
}

/* A selector behind the GDT's limit: the error code is the selector. */
static void raise_gp(void)
{
    __asm__ volatile("movl %0, %%ds" : : "r"(0x78));
}

static void raise_noncanonical(void)
{
    read_at(0x800000000000);
}

static void raise_pf(void)
{
    read_at(0x18);
}

static void raise_pfw(void)
{
    write_at(0x18);
}

static void raise_text(void)
{
    write_at((uintptr_t)raise_text);
}

static void raise_info(void)
{
    write_at(0x10000);
}

static void raise_nx(void)
{
    static volatile uint8_t code[16] = {0xc3};
    code[1] = 0xc3;
    call_at((uintptr_t)code);
}

static void raise_bp(void)
{
    __asm__ volatile("int3");
}

static void raise_int(void)
{
    __asm__ volatile("int $0x80");
}

static void raise_rdrand(void)
{
    uint64_t value;
    __asm__ volatile("rdrand %0" : "=r"(value) : : "cc");
}

static void raise_rdseed(void)
{
    uint64_t value;
    __asm__ volatile("rdseed %0" : "=r"(value) : : "cc");
}

/* ---- resume: handlers that return, and registers that survive it ---- */

struct registers {
    uint64_t general[15]; /* all but RSP */
    uint64_t flags;
    uint64_t xmm[16][2];
};

struct registers resume_before __attribute__((aligned(16)));
struct registers resume_after __attribute__((aligned(16)));

void resume_page_fault(void);
void resume_breakpoint(void);
extern const uint8_t resume_at[], resume_behind[], resume_trapped[];

__asm__(".macro each_general instruction\n"
        "    .set offset, 0\n"
        "    .irp name, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15\n"
        "        \\instruction \\name, offset\n"
        "        .set offset, offset + 8\n"
        "    .endr\n"
        ".endm\n"
        ".macro each_xmm instruction\n"
        "    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
        "        \\instruction \\n\n"
        "    .endr\n"
        ".endm\n"
        ".macro load_general name, at\n"
        "    movq resume_before + \\at(%rip), %\\name\n"
        ".endm\n"
        ".macro store_general name, at\n"
        "    movq %\\name, resume_after + \\at(%rip)\n"
        ".endm\n"
        ".macro load_xmm n\n"
        "    movdqa resume_before + 128 + 16 * \\n(%rip), %xmm\\n\n"
        ".endm\n"
        ".macro store_xmm n\n"
        "    movdqa %xmm\\n, resume_after + 128 + 16 * \\n(%rip)\n"
        ".endm\n"
        ".macro round_begin\n"
        "    pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
        "    each_xmm load_xmm\n"
        "    pushq resume_before + 120(%rip)\n"
        "    popfq\n"
        "    each_general load_general\n"
        ".endm\n"
        ".macro round_end\n"
        "    each_general store_general\n"
        "    pushfq\n"
        "    popq resume_after + 120(%rip)\n"
        "    each_xmm store_xmm\n"
        "    cli\n"
        "    cld\n"
        "    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx\n"
        "    ret\n"
        ".endm\n"
        ".text\n"
        ".type resume_page_fault, @function\n"
        "resume_page_fault:\n"
        "    round_begin\n"
        "resume_at:\n"
        "    movq 0x18, %rax\n"
        "resume_behind:\n"
        "    round_end\n"
        ".type resume_breakpoint, @function\n"
        "resume_breakpoint:\n"
        "    round_begin\n"
        "    int3\n"
        "resume_trapped:\n"
        "    round_end\n");

static unsigned page_faults, breakpoints;
static bool frame_wrong;

static void spoil_xmm(void)
{
    __asm__ volatile(".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
                     "pcmpeqd %%xmm\\n, %%xmm\\n\n"
                     ".endr"
                     :
                     :
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

static struct trap_frame *skip_page_fault(struct trap_frame *frame)
{
    frame_wrong |= frame->rip != (uintptr_t)resume_at || frame->error != 0 ||
                   read_cr2() != 0x18 || !on_trap_stack(STACK_PAGE_FAULT, frame) ||
                   on_trap_stack(STACK_PAGE_FAULT, (const void *)frame->rsp);
    page_faults++;
    spoil_xmm();
    frame->rip = (uintptr_t)resume_behind;
    return frame;
}

static struct trap_frame *count_breakpoint(struct trap_frame *frame)
{
    frame_wrong |= frame->rip != (uintptr_t)resume_trapped ||
                   on_trap_stack(STACK_PAGE_FAULT, frame) ||
                   frame->rsp - (uintptr_t)(frame + 1) > 8; /* the same stack, aligned to 16 */
    breakpoints++;
    spoil_xmm();
    return frame;
}

/* Carry, parity, auxiliary, zero, sign, interrupt, direction, overflow. */
enum {
    FLAGS = 0xed5 & ~0x100,
};

static void fill_registers(uint64_t seed)
{
    uint64_t *word = (uint64_t *)&resume_before;
    for (unsigned i = 0; i < sizeof resume_before / sizeof *word; i++)
        word[i] = mix(seed * 64 + i + 1);
    resume_before.flags = (resume_before.flags & FLAGS) | 2;
    memset(&resume_after, 0, sizeof resume_after);
}

static bool registers_survived(void)
{
    resume_after.flags = (resume_after.flags & FLAGS) | 2;
    return !memcmp(&resume_before, &resume_after, sizeof resume_before);
}

static void raise_resume(void)
{
    enum { ROUNDS = 1000 };
    trap_handle(VECTOR_PAGE_FAULT, skip_page_fault);
    trap_handle(VECTOR_BREAKPOINT, count_breakpoint);
    for (unsigned round = 0; round < 2 * ROUNDS; round++) {
        fill_registers(round);
        if (round % 2)
            resume_breakpoint();
        else
            resume_page_fault();
        if (!registers_survived() || frame_wrong) {
            print("fault resume wrong %s in round %u\n", frame_wrong ? "frame" : "registers",
                  round);
            guest_exit(1);
        }
    }
    if (page_faults != ROUNDS || breakpoints != ROUNDS) {
        print("fault resume wrong count=%u breakpoints=%u\n", page_faults, breakpoints);
        guest_exit(1);
    }
    print("fault resume ok count=%u\n", page_faults);
    guest_exit(0);
}

/* ---- the kinds ---- */

static const struct kind {
    const char *name;
    void (*raise)(void);
    const char *who;
    const char *what;
} kinds[] = {
    {"noidt", raise_noidt, "tender", "a fault while the IDT is empty"},
    {"unmapped", raise_unmapped, "tender", "a jump to where nothing is, while the IDT is empty"},
    {"pointer", raise_pointer, "tender", "a hypercall's data outside memory"},
    {"length", raise_length, "tender", "a hypercall's data leaving memory"},
    {"struct", raise_struct, "tender", "a hypercall's struct outside memory"},
    {"edge", raise_edge, "tender", "a hypercall's struct leaving memory"},
    {"port", raise_port, "tender", "OUT to a port that is no hypercall"},
    {"width8", raise_width8, "tender", "OUT of 8 bits to a hypercall"},
    {"width", raise_width16, "tender", "OUT of 16 bits to a hypercall"},
    {"in", raise_in, "tender", "IN"},
    {"unknown", raise_unknown, "tender", "hypercall 60"},
    {"spin", raise_spin, "tender", "an endless loop with interrupts off"},
    {"hlt", raise_hlt, "tender", "HLT with interrupts off"},
    {"stack", raise_stack, "tender", "a triple fault: no stack to deliver to"},
    {"df", raise_df, "guest", "8: a double fault, delivered on a stack of its own"},
    {"de", raise_de, "guest", "0: division by zero"},
    {"bp", raise_bp, "guest", "3: INT3"},
    {"ud", raise_ud, "guest", "6: UD2"},
    {"rdrand", raise_rdrand, "guest", "6: RDRAND, which the CPU model lacks"},
    {"rdseed", raise_rdseed, "guest", "6: RDSEED, which the CPU model lacks"},
    {"gp", raise_gp, "guest", "13: a selector behind the GDT, error 78"},
    {"noncanonical", raise_noncanonical, "guest", "13: an address that is not canonical"},
    {"pf", raise_pf, "guest", "14: a read from page 0, error 0"},
    {"pfw", raise_pfw, "guest", "14: a write to page 0, error 2"},
    {"text", raise_text, "guest", "14: a write to code, error 3"},
    {"info", raise_info, "guest", "14: a write to the boot info, error 3"},
    {"nx", raise_nx, "guest", "14: execution of data, error 11"},
    {"int", raise_int, "guest", "128: INT 0x80"},
    {"resume", raise_resume, "resume", "1000 page faults and 1000 INT3 that return; ends with 0"},
};

int guest_main(const struct boot_info *boot)
{
    mem_size = boot->mem_size;
    OPTIONS_ALLOW("kind");
    struct option wanted = option_text("kind");
    for (size_t i = 0; wanted.text && i < sizeof kinds / sizeof *kinds; i++) {
        if (strlen(kinds[i].name) != wanted.length ||
            memcmp(kinds[i].name, wanted.text, wanted.length))
            continue;
        kinds[i].raise();
        print("fault %s had no effect\n", kinds[i].name);
        return 3;
    }
    print("fault --kind=K, one of:\n");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        print("  %s (%s) %s\n", kinds[i].name, kinds[i].who, kinds[i].what);
    return 2;
}
