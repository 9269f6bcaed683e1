/* Numbers of the 80-bit format that INCRBYFLOAT computes with, by integer arithmetic alone. */
#ifndef EXTENDED_H
#define EXTENDED_H

#include "bytes.h"

/* mantissa * 2^exponent, rounded to nearest, halves to even. */
struct extended {
    bool negative, infinite;
    uint64_t mantissa;
    int exponent;
};

/* Decimal or hexadecimal, as strtold reads it. False if it is no number, or one out of range. */
bool extended_parse(struct bytes text, struct extended *number);
/* Of finite numbers. */
struct extended extended_add(struct extended a, struct extended b);

enum { EXTENDED_TEXT_MAX = 4984 };
/* With up to 17 digits behind the point, and none that is not needed. Returns the length. */
size_t extended_print(char text[EXTENDED_TEXT_MAX], struct extended number);

#endif
