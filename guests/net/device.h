/* The network device and the clock: all that the stack asks of the machine it runs on. */
#ifndef NET_DEVICE_H
#define NET_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct boot_info;

enum {
    MAC_SIZE = 6,
    FRAME_MTU = 1500, /* a device that takes more is not used beyond this */
    FRAME_SIZE = FRAME_MTU + 14,
};

/* False if there is no network device with this name. */
bool device_open(const struct boot_info *boot, const char *name, uint8_t mac[MAC_SIZE],
                 size_t *mtu);

/* *length: in the size of the buffer, out that of the frame. False if no frame waits. */
bool device_read(uint8_t *frame, size_t *length);
bool device_write(const uint8_t *frame, size_t length);
/* Until a frame waits, at most so long. */
void device_wait(uint64_t timeout_ns);

/* Nanoseconds since device_open, which is at 1. */
uint64_t device_clock(void);
/* A number that differs from start to start. */
uint64_t device_seed(void);

#endif
