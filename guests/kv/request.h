/* What clients send: RESP2 arrays of bulk strings, or plain lines of words.
 *
 * request_feed takes a request in pieces as they arrive and tells where it ends. Arguments are
 * valid only if the whole request came in one piece; otherwise the caller collects the pieces and
 * feeds them once more. A request that exceeds a limit is consumed to its end, then refused. */
#ifndef REQUEST_H
#define REQUEST_H

#include "bytes.h"

enum {
    KEY_MAX = 64 << 10,
    VALUE_MAX = 1 << 20,
    ARGUMENTS_MAX = 16384,
    REQUEST_MAX = 4 << 20,
};

enum request_state {
    REQUEST_START,
    REQUEST_COUNT,
    REQUEST_MARK,
    REQUEST_LENGTH,
    REQUEST_BODY,
    REQUEST_BODY_CR,
    REQUEST_BODY_LF,
    REQUEST_INLINE,
};

struct request {
    enum request_state state;
    uint32_t digits; /* characters of the number so far */
    bool negative, line_ends;
    int64_t number;
    size_t wanted;    /* arguments still to come */
    size_t body_left; /* of the argument that is arriving */
    size_t size;      /* bytes so far */
    size_t count;     /* arguments so far */
    const char *refusal; /* an error reply without its dash, or NULL */
};

enum progress {
    PROGRESS_MORE,     /* all was consumed, and there is more to come */
    PROGRESS_COMPLETE, /* `request` tells count and refusal */
    PROGRESS_BROKEN,   /* not the protocol: `refusal` is the last word to this client */
};

/* Begins with a zeroed request. Consumes *length bytes at most, and says how many in *length. */
enum progress request_feed(struct request *request, const uint8_t *data, size_t *length,
                           struct bytes arguments[ARGUMENTS_MAX]);

#endif
