/* Executes machine code on this processor: of stdin the text, mapped at TEXT, and the data, mapped
 * at DATA; then the data as it is after, on stdout. Code begins at TEXT and ends by a jump to where
 * FINISH points. What it raises is stored at RAISED, and it goes on where RESUME points. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static void *map(uintptr_t address, size_t size)
{
    void *at = mmap((void *)address, size, PROT_READ | PROT_WRITE | PROT_EXEC,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (at != (void *)address)
        exit(2);
    return at;
}

static uint64_t own_stack;

__attribute__((used)) static void finish(void)
{
    fwrite((void *)DATA, DATA_SIZE, 1, stdout);
    fflush(stdout);
    _exit(0);
}

static void raised(int number, siginfo_t *info, void *context)
{
    ucontext_t *state = context;
    uint64_t vector = 13;
    if (number == SIGILL)
        vector = 6;
    else if (number == SIGFPE)
        vector = info->si_code == FPE_INTDIV ? 0 : state->uc_mcontext.gregs[REG_TRAPNO];
    else if (number == SIGSEGV)
        vector = state->uc_mcontext.gregs[REG_TRAPNO];
    *(volatile uint64_t *)RAISED = vector;
    state->uc_mcontext.gregs[REG_RIP] = *(volatile uint64_t *)RESUME;
    state->uc_mcontext.gregs[REG_EFL] &= ~0x40100L;
}

int main(void)
{
    static char stack[1 << 16];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = raised, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigaltstack(&alternate, NULL);
    for (int number = 1; number < 32; number++)
        if (number == SIGILL || number == SIGFPE || number == SIGSEGV || number == SIGBUS || number == SIGTRAP)
            sigaction(number, &action, NULL);
    if (fread(map(TEXT, TEXT_SIZE), TEXT_SIZE, 1, stdin) != 1)
        return 3;
    if (fread(map(DATA, DATA_SIZE), DATA_SIZE, 1, stdin) != 1)
        return 3;
    __asm__ volatile("lea 1f(%%rip), %%rcx\n\t"
                     "mov %%rcx, (%1)\n\t"
                     "and $-16, %%rsp\n\t"
                     "mov %%rsp, %2\n\t"
                     "jmp *%0\n"
                     "1:\tmov %2, %%rsp\n\t"
                     "cld\n\t"
                     "call finish"
                     :: "r"((uintptr_t)TEXT), "r"((uintptr_t)FINISH), "m"(own_stack) : "rcx", "memory");
    return 0;
}
