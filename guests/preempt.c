/* Two threads race on shared memory while timer interrupts switch between them: the result
 * depends on the exact instruction, and the exact byte of a REP MOVSB, of every interrupt.
 *
 *   --work=N      loop iterations of each thread (4000000)
 *   --period=NS   of the timer (1000000)
 *   --tsc=1       the threads read RDTSC from time to time, too (0)
 *
 * Status: 0; 1 if there is no timer or a switch lost a thread's registers. */
#include <stdbool.h>

#include "boot.h"
#include "console.h"
#include "cpu.h"
#include "hash.h"
#include "hypercall.h"
#include "manifest.h"
#include "options.h"
#include "runtime.h"
#include "trap.h"

GUEST_MANIFEST();

enum {
    VECTOR_TIMER = 0x20,
    THREADS = 2,
    COUNTERS = 8,
    BUFFER = 256,
    STRETCH = 48,      /* bytes copied at a time */
    COPY_EVERY = 64,   /* iterations */
    CLOCK_EVERY = 256, /* iterations */
};

typedef uint64_t pair __attribute__((vector_size(16)));

static struct {
    volatile uint64_t counters[COUNTERS];
    volatile uint64_t state;
    volatile pair sums;
    volatile uint8_t buffers[THREADS][BUFFER + STRETCH];
} shared;

static struct thread {
    struct trap_frame *frame; /* while it does not run */
    volatile bool finished;
    uint64_t result;
} threads[THREADS];

static uint8_t second_stack[16384] __attribute__((aligned(16)));
static unsigned running;
static volatile unsigned switches;
static uint64_t work;
static bool use_tsc;

/* The timer's handler: the other thread's turn, unless it has finished before this one. */
static struct trap_frame *tick(struct trap_frame *frame)
{
    unsigned other = !running;
    if (threads[other].finished && !threads[running].finished)
        return frame;
    threads[running].frame = frame;
    running = other;
    switches++;
    return threads[other].frame;
}

static void copy(volatile uint8_t *to, const volatile uint8_t *from, uint64_t length)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
}

static void race(unsigned self)
{
    uint64_t result = self;
    pair private = {0, 0};
    const pair step = {3, 5};
    for (uint64_t i = 0; i < work; i++) {
        volatile uint64_t *counter = &shared.counters[result % COUNTERS];
        uint64_t count = *counter * 3 + self + 1;
        *counter = count;
        shared.state = rotate(shared.state, 7) ^ (count + i);
        pair sums = shared.sums;
        sums += (pair){count, i};
        shared.sums = sums ^ sums >> 9;
        __asm__ volatile("paddq %1, %0" : "+x"(private) : "x"(step));
        result = rotate(result, 11) + (shared.state ^ i);

        if (i % COPY_EVERY == 0) {
            uint64_t at = result % BUFFER;
            shared.buffers[self][at] = (uint8_t)result;
            copy(shared.buffers[!self] + i / COPY_EVERY % BUFFER, shared.buffers[self] + at,
                 STRETCH);
        }
        if (use_tsc && i % CLOCK_EVERY == 0)
            result ^= rdtsc();
    }
    if (private[0] != work * 3 || private[1] != work * 5) {
        interrupts_off();
        print("preempt: thread %u lost its XMM registers\n", self);
        guest_exit(1);
    }
    threads[self].result = result;
    threads[self].finished = true;
}

static void second_thread(void)
{
    race(1);
    for (;;)
        __asm__ volatile("pause");
}

/* Lays a frame on the second thread's stack as if an interrupt had stopped it at its start. */
static void prepare_second(void)
{
    struct trap_frame *frame = (struct trap_frame *)(second_stack + sizeof second_stack) - 1;
    __asm__ volatile("fxsave64 %0" : "=m"(frame->floating));
    frame->rip = (uintptr_t)second_thread;
    frame->cs = SELECTOR_CODE;
    frame->rflags = 0x202;
    frame->rsp = (uintptr_t)frame - 8; /* as after a call */
    frame->ss = SELECTOR_DATA;
    threads[1].frame = frame;
}

static void start_timer(uint64_t period_ns)
{
    trap_handle(VECTOR_TIMER, tick);
    int32_t result = hypercall_timer(period_ns, VECTOR_TIMER);
    if (result != RESULT_OK) {
        print("preempt: no timer of %lu ns: result %d\n", period_ns, result);
        guest_exit(1);
    }
    interrupts_on();
}

int guest_main(const struct boot_info *boot)
{
    (void)boot;
    OPTIONS_ALLOW("work", "period", "tsc");
    work = option_number("work", 4000000, UINT64_MAX / 5);
    uint64_t period_ns = option_number("period", 1000000, UINT64_MAX);
    use_tsc = option_number("tsc", 0, 1);

    prepare_second();
    start_timer(period_ns);
    race(0);
    while (!threads[1].finished)
        __asm__ volatile("pause");
    interrupts_off();
    hypercall_timer(0, VECTOR_TIMER);

    uint64_t hash = fnv1a(FNV1A_START, (const void *)&shared, sizeof shared);
    for (unsigned i = 0; i < THREADS; i++) {
        print("preempt thread=%u result=%016lx\n", i, threads[i].result);
        hash = fnv1a(hash, &threads[i].result, sizeof threads[i].result);
    }
    print("preempt hash=%016lx switches=%u\n", hash, switches);
    return 0;
}
