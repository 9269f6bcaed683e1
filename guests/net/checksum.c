#include "checksum.h"

typedef uint64_t __attribute__((may_alias, aligned(1))) word64;
typedef uint16_t __attribute__((may_alias, aligned(1))) word16;

/* Adding in the order of memory gives a result in the order of memory. The halves of 64-bit words
 * cannot overflow the sum within 2^31 words. */
uint64_t checksum_add(uint64_t sum, const void *data, size_t length)
{
    const uint8_t *at = data;
    for (; length >= 8; length -= 8, at += 8) {
        uint64_t word = *(const word64 *)at;
        sum += (uint32_t)word;
        sum += word >> 32;
    }
    for (; length >= 2; length -= 2, at += 2)
        sum += *(const word16 *)at;
    return length ? sum + *at : sum;
}

uint16_t checksum_end(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}
