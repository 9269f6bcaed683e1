/* Replies in RESP2, or RESP3 if the client asked for it, straight into the connection's send buffer.
 *
 * A reply of at most REPLY_SMALL bytes always has room, since no request is begun without. For a
 * longer one reply_reserve makes room first: what the send buffer cannot take now waits in memory
 * of its own, and the next request waits for that. */
#ifndef REPLY_H
#define REPLY_H

#include "bytes.h"

struct tcp;

enum {
    REPLY_SMALL = 512,
    REPLY_MAX = 48 << 20,
    REPLY_HEAD_MAX = 24, /* of an array or a bulk string, line ends included */
};

struct reply {
    struct tcp *connection;
    uint8_t *waiting;
    size_t size, used, sent; /* of what is waiting */
    bool resp3;
};

/* Sends what is waiting. True if nothing waits any more and a small reply has room. */
bool reply_flush(struct reply *reply);
void reply_drop(struct reply *reply);

/* Room for so many bytes; if there is none, false after an error reply. */
bool reply_reserve(struct reply *reply, size_t size);

void reply_text(struct reply *reply, const char *text);
/* Cut off at about 400 characters. */
void reply_error(struct reply *reply, const char *pattern, ...)
    __attribute__((format(printf, 2, 3)));
void reply_ok(struct reply *reply);
void reply_integer(struct reply *reply, int64_t value);
void reply_nil(struct reply *reply);

/* Reserves for itself. */
void reply_value(struct reply *reply, struct bytes value);

/* Parts of a reply that has been reserved. */
void reply_array(struct reply *reply, size_t elements);
/* Pairs of names and values; an array of both in RESP2. */
void reply_map(struct reply *reply, size_t pairs);
void reply_bulk(struct reply *reply, struct bytes value);

#endif
