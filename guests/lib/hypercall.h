/* The hypercalls of Solo5 hvt, and `timer` and `generation`, which vlockstep adds. Failure is a
 * result code. */
#ifndef HYPERCALL_H
#define HYPERCALL_H

#include <stddef.h>
#include <stdint.h>

enum hypercall {
    HYPERCALL_WALLTIME = 1,
    HYPERCALL_PUTS = 2,
    HYPERCALL_POLL = 3,
    HYPERCALL_BLOCK_WRITE = 4,
    HYPERCALL_BLOCK_READ = 5,
    HYPERCALL_NET_WRITE = 6,
    HYPERCALL_NET_READ = 7,
    HYPERCALL_HALT = 8,
    HYPERCALL_TIMER = 0x40,
    HYPERCALL_GENERATION = 0x41,
};

enum result {
    RESULT_OK = 0,
    RESULT_AGAIN = 1,
    RESULT_EINVAL = 2,
    RESULT_EUNSPEC = 3,
};

static inline void hypercall_raw(uint32_t number, uint32_t request)
{
    __asm__ volatile("outl %0, %w1" : : "a"(request), "d"(0x500 + number) : "memory");
}

static inline void hypercall(enum hypercall number, void *request)
{
    hypercall_raw(number, (uint32_t)(uintptr_t)request);
}

/* Nanoseconds since the epoch. */
static inline uint64_t hypercall_walltime(void)
{
    struct {
        uint64_t now;
    } request = {0};
    hypercall(HYPERCALL_WALLTIME, &request);
    return request.now;
}

static inline void hypercall_puts(const char *text, size_t length)
{
    struct {
        const char *text;
        uint64_t length;
    } request = {text, length};
    hypercall(HYPERCALL_PUTS, &request);
}

/* Waits until a network device has a frame, at most so long. Returns how many have one;
 * bit number HANDLE of *ready says which. */
static inline int32_t hypercall_poll(uint64_t timeout_ns, uint64_t *ready)
{
    struct {
        uint64_t timeout_ns, ready;
        int32_t count;
    } request = {timeout_ns, 0, 0};
    hypercall(HYPERCALL_POLL, &request);
    if (ready)
        *ready = request.ready;
    return request.count;
}

static inline int32_t hypercall_block_write(uint64_t handle, uint64_t offset, const void *data,
                                            uint64_t length)
{
    struct {
        uint64_t handle, offset;
        const void *data;
        uint64_t length;
        int32_t result;
    } request = {handle, offset, data, length, RESULT_EUNSPEC};
    hypercall(HYPERCALL_BLOCK_WRITE, &request);
    return request.result;
}

/* *length: in the bytes wanted, out the bytes read. */
static inline int32_t hypercall_block_read(uint64_t handle, uint64_t offset, void *data,
                                           uint64_t *length)
{
    struct {
        uint64_t handle, offset;
        void *data;
        uint64_t length;
        int32_t result;
    } request = {handle, offset, data, *length, RESULT_EUNSPEC};
    hypercall(HYPERCALL_BLOCK_READ, &request);
    *length = request.length;
    return request.result;
}

static inline int32_t hypercall_net_write(uint64_t handle, const void *frame, uint64_t length)
{
    struct {
        uint64_t handle;
        const void *frame;
        uint64_t length;
        int32_t result;
    } request = {handle, frame, length, RESULT_EUNSPEC};
    hypercall(HYPERCALL_NET_WRITE, &request);
    return request.result;
}

/* *length: in the size of the buffer, out that of the frame. */
static inline int32_t hypercall_net_read(uint64_t handle, void *frame, uint64_t *length)
{
    struct {
        uint64_t handle;
        void *frame;
        uint64_t length;
        int32_t result;
    } request = {handle, frame, *length, RESULT_EUNSPEC};
    hypercall(HYPERCALL_NET_READ, &request);
    *length = request.length;
    return request.result;
}

/* Ends the guest. `cookie`: NULL, or 512 bytes describing a trap. */
_Noreturn static inline void hypercall_halt(int32_t status, const void *cookie)
{
    struct {
        const void *cookie;
        int32_t status;
    } request = {cookie, status};
    hypercall(HYPERCALL_HALT, &request);
    for (;;)
        __asm__ volatile("cli; hlt");
}

/* From now on raises `vector` every `period_ns`; 0 turns the timer off. */
static inline int32_t hypercall_timer(uint64_t period_ns, uint32_t vector)
{
    struct {
        uint64_t period_ns;
        uint32_t vector;
        int32_t result;
    } request = {period_ns, vector, RESULT_EUNSPEC};
    hypercall(HYPERCALL_TIMER, &request);
    return request.result;
}

/* Which machine is in charge: a number that rises with every failover; 0 if there is no other. */
static inline uint64_t hypercall_generation(void)
{
    struct {
        uint64_t generation;
    } request = {0};
    hypercall(HYPERCALL_GENERATION, &request);
    return request.generation;
}

#endif
