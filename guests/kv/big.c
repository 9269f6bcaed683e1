#include "big.h"

#include "memory.h"

static void trim(struct big *number)
{
    while (number->used && !number->words[number->used - 1])
        number->used--;
}

void big_set(struct big *number, uint64_t value)
{
    number->words[0] = (uint32_t)value;
    number->words[1] = (uint32_t)(value >> 32);
    number->used = 2;
    trim(number);
}

unsigned big_bits(const struct big *number)
{
    if (!number->used)
        return 0;
    return 32 * number->used - (unsigned)__builtin_clz(number->words[number->used - 1]);
}

static uint32_t word(const struct big *number, unsigned at)
{
    return at < number->used ? number->words[at] : 0;
}

uint64_t big_low(const struct big *number)
{
    return (uint64_t)word(number, 1) << 32 | word(number, 0);
}

int big_compare(const struct big *a, const struct big *b)
{
    if (a->used != b->used)
        return a->used < b->used ? -1 : 1;
    for (unsigned i = a->used; i--;)
        if (a->words[i] != b->words[i])
            return a->words[i] < b->words[i] ? -1 : 1;
    return 0;
}

static void append(struct big *number, uint32_t highest)
{
    if (!highest)
        return;
    if (number->used == BIG_WORDS)
        __builtin_trap();
    number->words[number->used++] = highest;
}

void big_multiply_add(struct big *number, uint32_t factor, uint32_t summand)
{
    uint64_t carry = summand;
    for (unsigned i = 0; i < number->used; i++) {
        carry += (uint64_t)number->words[i] * factor;
        number->words[i] = (uint32_t)carry;
        carry >>= 32;
    }
    append(number, (uint32_t)carry);
}

uint32_t big_divide(struct big *number, uint32_t divisor)
{
    uint64_t rest = 0;
    for (unsigned i = number->used; i--;) {
        rest = rest << 32 | number->words[i];
        number->words[i] = (uint32_t)(rest / divisor);
        rest %= divisor;
    }
    trim(number);
    return (uint32_t)rest;
}

void big_add(struct big *number, const struct big *summand)
{
    while (number->used < summand->used)
        number->words[number->used++] = 0;
    uint64_t carry = 0;
    for (unsigned i = 0; i < number->used; i++) {
        carry += (uint64_t)number->words[i] + word(summand, i);
        number->words[i] = (uint32_t)carry;
        carry >>= 32;
    }
    append(number, (uint32_t)carry);
}

void big_subtract(struct big *number, const struct big *subtrahend)
{
    int64_t borrow = 0;
    for (unsigned i = 0; i < number->used; i++) {
        borrow += (int64_t)number->words[i] - word(subtrahend, i);
        number->words[i] = (uint32_t)borrow;
        borrow >>= 32;
    }
    trim(number);
}

static void move_up(struct big *number, unsigned words)
{
    if (!number->used)
        return;
    if (words > BIG_WORDS - number->used)
        __builtin_trap();
    memmove(number->words + words, number->words, number->used * sizeof(uint32_t));
    memset(number->words, 0, words * sizeof(uint32_t));
    number->used += words;
}

void big_shift_left(struct big *number, unsigned bits)
{
    move_up(number, bits / 32);
    big_multiply_add(number, 1u << bits % 32, 0);
}

static bool bit(const struct big *number, unsigned at)
{
    return word(number, at / 32) >> at % 32 & 1;
}

static bool any_below(const struct big *number, unsigned bits)
{
    for (unsigned i = 0; i < bits / 32 && i < number->used; i++)
        if (number->words[i])
            return true;
    return word(number, bits / 32) & ((1u << bits % 32) - 1);
}

void big_shift_right_rounded(struct big *number, unsigned bits, bool more)
{
    if (!bits)
        return;
    bool half = bit(number, bits - 1);
    bool beyond = more || any_below(number, bits - 1);
    unsigned words = bits / 32 < number->used ? bits / 32 : number->used;
    number->used -= words;
    memmove(number->words, number->words + words, number->used * sizeof(uint32_t));
    if (bits % 32)
        big_divide(number, 1u << bits % 32);
    if (half && (beyond || bit(number, 0)))
        big_multiply_add(number, 1, 1);
}
