/* Until when a key lives, as clients say it. */
#ifndef LIFETIME_H
#define LIFETIME_H

#include "client.h"

/* One of EX, PX, EXAT, PXAT. */
struct expiry_option {
    const char *name;
    int64_t unit;  /* milliseconds */
    bool absolute; /* since the epoch; otherwise from now on */
};

/* NULL if it is none. */
const struct expiry_option *lifetime_option(struct bytes text);

/* The time of an option, as entry.expires; false after an error reply. */
bool lifetime_parse(struct client *client, const struct expiry_option *option, struct bytes text,
                    uint64_t *expires);

/* In the unit; false after an error reply if it overflows milliseconds since the epoch. */
bool lifetime_end(struct client *client, int64_t number, int64_t unit, int64_t base,
                  int64_t *milliseconds);

#endif
