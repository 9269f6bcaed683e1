#include "log.h"

#include "bytes.h"
#include "console.h"
#include "hypercall.h"
#include "runtime.h"

enum {
    BLOCK = 512,
    BUFFER = 64 << 10,
};

struct header {
    char magic[8];
    uint64_t half_blocks;
    uint64_t epoch; /* how many streams there have been; its lowest bit is the half */
    uint64_t salt;
    uint64_t checksum; /* of all before */
    uint8_t zero[BLOCK - 40];
};
_Static_assert(sizeof(struct header) == BLOCK, "header block");

static const char magic[8] = {'V', 'L', 'K', 'V', 'L', 'O', 'G', '1'};

static uint64_t disk;
static struct header header;

static uint8_t buffer[BUFFER];
static uint64_t base;  /* of the buffer in the half, a multiple of BLOCK */
static size_t used;    /* bytes of the stream in the buffer */
static size_t read_to; /* bytes of these that were read */
static bool dirty;
static bool replacing; /* the header does not name this stream yet */

static void transfer(bool write, uint64_t offset, void *data, uint64_t length)
{
    uint64_t moved = length;
    int32_t result = write ? hypercall_block_write(disk, offset, data, length)
                           : hypercall_block_read(disk, offset, data, &moved);
    if (result == RESULT_OK && moved == length)
        return;
    print("kv: the disk cannot be %s at byte %lu: result %d\n", write ? "written" : "read",
          offset, result);
    guest_exit(1);
}

static uint64_t offset_in_disk(uint64_t position)
{
    return BLOCK + (header.epoch & 1) * log_capacity() + position;
}

static uint64_t checksum(void)
{
    return hash_bytes(0, &header, offsetof(struct header, checksum));
}

static void write_header(void)
{
    header.checksum = checksum();
    transfer(true, 0, &header, BLOCK);
}

static bool all_zero(void)
{
    static const struct header zero;
    return !memcmp(&header, &zero, BLOCK);
}

void log_open(uint64_t handle, uint64_t disk_size, uint64_t salt)
{
    disk = handle;
    if (disk_size < LOG_DISK_MIN) {
        print("kv: the disk has %lu bytes, and needs %u\n", disk_size, (unsigned)LOG_DISK_MIN);
        guest_exit(2);
    }
    uint64_t half_blocks = (disk_size / BLOCK - 1) / 2;
    transfer(false, 0, &header, BLOCK);
    if (all_zero()) {
        memcpy(header.magic, magic, sizeof magic);
        header.half_blocks = half_blocks;
        header.salt = salt;
        write_header();
    } else if (memcmp(header.magic, magic, sizeof magic) || header.checksum != checksum()) {
        print("kv: the disk holds something else; its first block must be zeros\n");
        guest_exit(2);
    } else if (header.half_blocks > half_blocks) {
        print("kv: the disk is smaller than when its log was made\n");
        guest_exit(2);
    }
}

uint64_t log_capacity(void)
{
    return header.half_blocks * BLOCK;
}

uint64_t log_seed(void)
{
    return mix(header.salt + header.epoch);
}

void log_rewind(void)
{
    base = used = read_to = 0;
}

static bool refill(void)
{
    base += used;
    uint64_t left = log_capacity() - base;
    used = left < BUFFER ? left : BUFFER;
    read_to = 0;
    if (used)
        transfer(false, offset_in_disk(base), buffer, used);
    return used;
}

bool log_read(void *to, size_t length)
{
    while (length) {
        if (read_to == used && !refill())
            return false;
        size_t piece = used - read_to < length ? used - read_to : length;
        memcpy(to, buffer + read_to, piece);
        read_to += piece;
        to = (uint8_t *)to + piece;
        length -= piece;
    }
    return true;
}

void log_continue_at(uint64_t position)
{
    base = position / BLOCK * BLOCK;
    used = position % BLOCK;
    if (used)
        transfer(false, offset_in_disk(base), buffer, BLOCK);
}

uint64_t log_position(void)
{
    return base + used;
}

/* A block that is not full stays in the buffer, to be written again when there is more in it. */
static void flush(void)
{
    if (!dirty)
        return;
    size_t full = used / BLOCK * BLOCK, rest = used - full;
    size_t length = full;
    if (rest) {
        length += BLOCK;
        memset(buffer + used, 0, length - used);
    }
    transfer(true, offset_in_disk(base), buffer, length);
    memmove(buffer, buffer + full, rest);
    base += full;
    used = rest;
    dirty = false;
}

void log_commit(void)
{
    flush();
    if (replacing)
        write_header();
    replacing = false;
}

void log_append(const void *data, size_t length)
{
    while (length) {
        size_t piece = BUFFER - used < length ? BUFFER - used : length;
        memcpy(buffer + used, data, piece);
        used += piece;
        dirty = true;
        data = (const uint8_t *)data + piece;
        length -= piece;
        if (used == BUFFER)
            flush();
    }
}

/* A stream that is given up before it was valid leaves its half, but not its seed, to the next. */
void log_replace(void)
{
    header.epoch += replacing ? 2 : 1;
    replacing = true;
    base = used = 0;
    dirty = false;
}
