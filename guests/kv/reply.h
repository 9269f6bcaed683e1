/* Replies in RESP2, or RESP3 if the client asked for it, straight into the connection's send buffer.
 *
 * A reply of at most REPLY_SMALL bytes always has room, since no request is begun without. For a
 * longer one reply_reserve makes room first: what the send buffer cannot take now waits in memory
 * of its own, and the next request waits for that. What replies with several of these, one after
 * the other, promises their room first. */
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
    size_t promised;         /* bytes, for small replies after the present one */
    bool resp3;
    bool muted; /* replies go nowhere */
};

/* Sends what is waiting. True if nothing waits any more and a small reply has room. */
bool reply_flush(struct reply *reply);
void reply_drop(struct reply *reply);

/* Room for so many bytes; if there is none, false after an error reply. */
bool reply_reserve(struct reply *reply, size_t size);

/* Room for the head of an array and so many small replies; false as reply_reserve. Then call
 * reply_redeem before each of these. */
bool reply_promise(struct reply *reply, size_t replies);
void reply_redeem(struct reply *reply);

void reply_text(struct reply *reply, const char *text);
/* Cut off at about 400 characters. */
void reply_error(struct reply *reply, const char *pattern, ...)
    __attribute__((format(printf, 2, 3)));
/* With %s in the pattern for the argument. */
void reply_error_about(struct reply *reply, const char *pattern, struct bytes argument);
void reply_syntax_error(struct reply *reply);
void reply_ok(struct reply *reply);
void reply_integer(struct reply *reply, int64_t value);
void reply_nil(struct reply *reply);
void reply_nil_array(struct reply *reply);

/* Reserves for itself. */
void reply_value(struct reply *reply, struct bytes value);

/* Parts of a reply that has been reserved. */
void reply_array(struct reply *reply, size_t elements);
/* Pairs of names and values; an array of both in RESP2. */
void reply_map(struct reply *reply, size_t pairs);
/* An array in RESP2. */
void reply_set(struct reply *reply, size_t elements);
void reply_bulk(struct reply *reply, struct bytes value);
/* A bulk string in parts: its head, the parts, and a line end. */
void reply_bulk_head(struct reply *reply, size_t length);
void reply_part(struct reply *reply, struct bytes part);

#endif
