/* Plain loops over words: REP string instructions are slow under an emulator. */
#include "memory.h"

#include <stdint.h>

typedef uint64_t __attribute__((may_alias, aligned(1))) word;

void *memcpy(void *restrict to, const void *restrict from, size_t length)
{
    return memmove(to, from, length);
}

static void copy_up(uint8_t *to, const uint8_t *from, size_t length)
{
    for (; length >= sizeof(word); length -= sizeof(word)) {
        *(word *)to = *(const word *)from;
        to += sizeof(word);
        from += sizeof(word);
    }
    while (length--)
        *to++ = *from++;
}

static void copy_down(uint8_t *to, const uint8_t *from, size_t length)
{
    while (length--)
        to[length] = from[length];
}

void *memmove(void *to, const void *from, size_t length)
{
    if ((uintptr_t)to - (uintptr_t)from >= length)
        copy_up(to, from, length);
    else
        copy_down(to, from, length);
    return to;
}

void *memset(void *to, int byte, size_t length)
{
    uint8_t *at = to;
    for (; length >= sizeof(word); length -= sizeof(word)) {
        *(word *)at = (uint8_t)byte * 0x0101010101010101u;
        at += sizeof(word);
    }
    while (length--)
        *at++ = (uint8_t)byte;
    return to;
}

int memcmp(const void *a, const void *b, size_t length)
{
    const uint8_t *x = a, *y = b;
    for (; length; length--, x++, y++)
        if (*x != *y)
            return *x < *y ? -1 : 1;
    return 0;
}

size_t strlen(const char *text)
{
    size_t length = 0;
    while (text[length])
        length++;
    return length;
}

bool string_equal(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}
