/* Which keys may be due: their number, and a lower bound for the first time one expires. */
#ifndef EXPIRY_H
#define EXPIRY_H

#include <stdint.h>

/* A key's time to expire has changed; 0 is never, or no key. */
void expiry_change(uint64_t from, uint64_t to);

#endif
