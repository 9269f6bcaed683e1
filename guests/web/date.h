/* The time of day. */
#ifndef DATE_H
#define DATE_H

#include <stdint.h>

enum { DATE_SIZE = 32 };

/* Writes the time, in seconds since 1970, as HTTP has it (RFC 9110 5.6.7). */
void date_format(uint64_t seconds, char text[DATE_SIZE]);

#endif
