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

struct http_request {
    struct text method, path; /* without the query */
    uint64_t body;            /* bytes that follow the head */
    bool close;               /* after the reply */
    int status;               /* 200, or why it is refused; then `close` is true */
};

/* From the request line to the empty line. */
struct http_request http_parse(struct text head);

#endif
