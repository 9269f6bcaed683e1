#ifndef GLOB_H
#define GLOB_H

#include "bytes.h"

/* * any bytes, ? one, [a-z] and [^a-z] one of or not of these, \x the byte x. The time is at most
 * the product of both lengths. */
bool glob_match(struct bytes pattern, struct bytes text);

#endif
