/* Bodies of requests, which nobody reads: where they end (RFC 9112 6 and 7.1). */
#include "http.h"

enum {
    DIGITS_MAX = 8,
    EXTRA_MAX = 1024, /* of a chunk's extensions, or of the trailer */
};

static int digit_of(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 'a' - 'A';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void begin_chunk(struct http_body *body)
{
    body->total += body->left;
    body->digits = body->extra = 0;
    if (body->total > BODY_MAX)
        body->state = BODY_BROKEN;
    else
        body->state = body->left ? BODY_CHUNK : BODY_TRAILER;
}

static void take_size(struct http_body *body, uint8_t c)
{
    int digit = digit_of(c);
    if (digit >= 0 && body->digits < DIGITS_MAX) {
        body->left = body->left * 16 + (uint64_t)digit;
        body->digits++;
    } else if (!body->digits || digit >= 0) {
        body->state = BODY_BROKEN;
    } else if (c == '\n') {
        begin_chunk(body);
    } else {
        body->state = c == '\r' || c == ';' || c == ' ' || c == '\t' ? BODY_EXTENSION : BODY_BROKEN;
    }
}

static void take_extension(struct http_body *body, uint8_t c)
{
    if (c == '\n')
        begin_chunk(body);
    else if (++body->extra > EXTRA_MAX)
        body->state = BODY_BROKEN;
}

static void take_chunk_end(struct http_body *body, uint8_t c)
{
    if (c == '\n')
        *body = (struct http_body){.state = BODY_SIZE, .total = body->total};
    else if (c != '\r' || body->extra++)
        body->state = BODY_BROKEN;
}

/* Lines up to an empty one. */
static void take_trailer(struct http_body *body, uint8_t c)
{
    if (c == '\n' && !body->digits)
        body->state = BODY_END;
    else if (++body->extra > EXTRA_MAX)
        body->state = BODY_BROKEN;
    if (c == '\n')
        body->digits = 0;
    else if (c != '\r')
        body->digits++;
}

static size_t take_some(struct http_body *body, size_t length)
{
    if (length > body->left)
        length = (size_t)body->left;
    body->left -= length;
    if (!body->left)
        body->state = body->state == BODY_PLAIN ? BODY_END : BODY_CHUNK_END;
    return length;
}

size_t http_body_take(struct http_body *body, const uint8_t *data, size_t length)
{
    size_t at = 0;
    while (at < length) {
        switch (body->state) {
        case BODY_PLAIN:
        case BODY_CHUNK:
            at += take_some(body, length - at);
            break;
        case BODY_SIZE:
            take_size(body, data[at++]);
            break;
        case BODY_EXTENSION:
            take_extension(body, data[at++]);
            break;
        case BODY_CHUNK_END:
            take_chunk_end(body, data[at++]);
            break;
        case BODY_TRAILER:
            take_trailer(body, data[at++]);
            break;
        case BODY_END:
        case BODY_BROKEN:
            return at;
        }
    }
    return at;
}
