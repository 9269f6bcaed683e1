#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console.h"
#include "runtime.h"

enum { QUEUE = 64 };

const uint8_t host_mac[MAC_SIZE] = {2, 0, 0, 0, 0, 5};
jmp_buf host_exit;

static struct {
    size_t length;
    uint8_t frame[FRAME_SIZE];
} queue[QUEUE];
static unsigned first, count;
static uint64_t now;
static bool accepting;

void host_start(void)
{
    first = count = 0;
    now = 1;
    accepting = true;
}

void host_fail(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
    abort();
}

bool host_queue(const uint8_t *frame, size_t length)
{
    if (count == QUEUE)
        return false;
    unsigned slot = (first + count++) % QUEUE;
    memcpy(queue[slot].frame, frame, length);
    queue[slot].length = length;
    return true;
}

void host_sleep(uint64_t ns)
{
    now += ns;
}

void host_accept(bool yes)
{
    accepting = yes;
}

bool device_open(const struct boot_info *boot, const char *name, uint8_t mac[MAC_SIZE],
                 size_t *mtu)
{
    (void)boot;
    (void)name;
    memcpy(mac, host_mac, MAC_SIZE);
    *mtu = FRAME_MTU;
    return true;
}

bool device_read(uint8_t *frame, size_t *length)
{
    if (!count)
        return false;
    CHECK(*length == FRAME_SIZE);
    *length = queue[first].length;
    memcpy(frame, queue[first].frame, *length);
    first = (first + 1) % QUEUE;
    count--;
    return true;
}

bool device_write(const uint8_t *frame, size_t length)
{
    check_frame(frame, length);
    return accepting;
}

void device_wait(uint64_t timeout_ns)
{
    host_sleep(timeout_ns);
}

uint64_t device_clock(void)
{
    return now;
}

uint64_t device_seed(void)
{
    return 1;
}

void print(const char *pattern, ...)
{
    (void)pattern;
}

void print_text(const char *text, size_t length)
{
    (void)text;
    (void)length;
}

void guest_exit(int32_t status)
{
    longjmp(host_exit, status + 1);
}
