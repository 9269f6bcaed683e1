/* Integers as clients write them. */
#ifndef NUMBER_H
#define NUMBER_H

#include "bytes.h"

/* Decimal, 64 bits, signed, in the one way it is printed: no blanks, plus or leading zeros. */
bool number_parse(struct bytes text, int64_t *value);

enum { NUMBER_MAX = 24 };
/* Returns the length. */
size_t number_print(char text[NUMBER_MAX], int64_t value);

#endif
