/* What takes the place of the machine: frames from a queue, a clock set by hand, no console. */
#ifndef FUZZ_HOST_H
#define FUZZ_HOST_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device.h"

extern const uint8_t host_mac[MAC_SIZE];
extern jmp_buf host_exit; /* guest_exit goes there with status + 1 */

void host_start(void);
/* False if the queue is full. */
bool host_queue(const uint8_t *frame, size_t length);
void host_sleep(uint64_t ns);
/* Whether the device takes frames. */
void host_accept(bool yes);

/* Called with every frame sent. */
void check_frame(const uint8_t *frame, size_t length);

#define CHECK(CONDITION)                                                                           \
    do {                                                                                           \
        if (!(CONDITION))                                                                          \
            host_fail(#CONDITION, __FILE__, __LINE__);                                             \
    } while (0)
_Noreturn void host_fail(const char *condition, const char *file, int line);

#endif
