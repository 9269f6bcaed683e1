/* The head of an HTTP/1 request, and what it asks for. */
#ifndef HTTP_H
#define HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    const char *at;
    size_t length;
};

bool text_equal(struct text text, const char *other);

enum { BODY_MAX = 1 << 20 };

/* Bytes `first` to `last` of a page; with `suffix` the last `last` bytes. */
struct http_range {
    bool given, suffix;
    uint64_t first, last;
};

enum http_body_state {
    BODY_END, /* or there is none */
    BODY_PLAIN,
    BODY_SIZE, /* of a chunk */
    BODY_EXTENSION,
    BODY_CHUNK,
    BODY_CHUNK_END,
    BODY_TRAILER,
    BODY_BROKEN,
};

/* What follows a head, as far as it is still to come. */
struct http_body {
    enum http_body_state state;
    uint64_t left;   /* of the body, or of the chunk */
    uint64_t total;  /* of all chunks so far */
    unsigned digits; /* of the chunk's size, or in this line of the trailer */
    unsigned extra;  /* bytes beside sizes and chunks since the last */
};

struct http_request {
    struct text method, path; /* without the query */
    struct http_range range;
    struct http_body body;
    bool close; /* after the reply */
    int status; /* 200, or why it is refused; then `close` is true */
};

/* From the request line to the empty line. */
struct http_request http_parse(struct text head);

/* Whether the page, of this length, has something of the range; then *first and *length are what. */
bool http_range_of(const struct http_range *range, size_t page, size_t *first, size_t *length);

/* Takes bytes of a body, until its end at most; returns how many. */
size_t http_body_take(struct http_body *body, const uint8_t *data, size_t length);

#endif
