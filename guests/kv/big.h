/* Natural numbers of up to BIG_BITS bits; more is for the caller to avoid. */
#ifndef BIG_H
#define BIG_H

#include <stdbool.h>
#include <stdint.h>

enum { BIG_WORDS = 1100, BIG_BITS = 32 * BIG_WORDS };

struct big {
    unsigned used; /* words; the highest of these is not 0 */
    uint32_t words[BIG_WORDS];
};

void big_set(struct big *number, uint64_t value);
unsigned big_bits(const struct big *number);
uint64_t big_low(const struct big *number); /* 64 bits */
int big_compare(const struct big *a, const struct big *b);

void big_multiply_add(struct big *number, uint32_t factor, uint32_t summand);
/* Returns the remainder. */
uint32_t big_divide(struct big *number, uint32_t divisor);
void big_add(struct big *number, const struct big *summand);
/* Of what is not larger. */
void big_subtract(struct big *number, const struct big *subtrahend);
void big_shift_left(struct big *number, unsigned bits);
/* Divides by 2^bits and rounds to nearest, halves to even; `more`: the number is in fact larger, by
 * less than one. */
void big_shift_right_rounded(struct big *number, unsigned bits, bool more);

#endif
