/* What must hold at any time. A violation ends the program. */
#ifndef CHECK_H
#define CHECK_H

#include "bytes.h"

#define CHECK(CONDITION)                                                                           \
    do {                                                                                           \
        if (!(CONDITION))                                                                          \
            __builtin_trap();                                                                      \
    } while (0)

enum { DEPTH_MAX = 4 };

/* Follows a stream of replies byte by byte. */
struct replies {
    enum { REPLY_KIND, REPLY_LINE, REPLY_BODY } state;
    uint8_t kind;
    size_t line_length;
    bool negative, after_cr;
    uint64_t number;
    size_t body_left; /* line end included */
    unsigned depth;
    uint64_t elements_left[DEPTH_MAX];
    size_t complete;
};

/* Checks that it is RESP2. */
void replies_check(struct replies *replies, const uint8_t *data, size_t length);

/* Checks that what the store counts is what it holds; returns a hash of that. */
uint64_t store_check(void);

#endif
