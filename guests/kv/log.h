/* A block device as a place for one stream of bytes that only grows, until a shorter one takes its
 * place: block 0 is a header, the rest two halves, of which the header names the valid one.
 *
 * A fault of the device ends the guest with status 1: nothing may be acknowledged any more. */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOG_DISK_MIN = 2 << 20 };

/* Takes a disk with a log, or makes one on a disk whose first block is zero; `salt` tells this log
 * from others. Ends the guest with status 2 if the disk is too small or holds anything else. */
void log_open(uint64_t handle, uint64_t disk_size, uint64_t salt);

/* Bytes in a half. */
uint64_t log_capacity(void);
/* Differs for each stream there ever was on this disk. */
uint64_t log_seed(void);

void log_rewind(void);
/* Reads on; false where the half ends. */
bool log_read(void *to, size_t length);
/* Ends reading: what is appended from now on begins here. */
void log_continue_at(uint64_t position);

/* Where the next byte goes; the caller keeps within the capacity. */
uint64_t log_position(void);
void log_append(const void *data, size_t length);
/* Everything appended is on the device when this returns. */
void log_commit(void);

/* From here on appends go to a new stream in the other half, which the next commit makes the valid
 * one, in one block write. */
void log_replace(void);

#endif
