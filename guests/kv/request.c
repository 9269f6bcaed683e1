#include "request.h"

#include "words.h"

enum {
    BODY_MAX = 512 << 20, /* what is longer is not even skipped */
    COUNT_MAX = 1 << 20,
};

static enum progress broken(struct request *request, const char *why)
{
    request->refusal = why;
    return PROGRESS_BROKEN;
}

static void refuse(struct request *request, const char *why)
{
    if (!request->refusal)
        request->refusal = why;
}

static void begin_number(struct request *request, enum request_state state)
{
    request->state = state;
    request->number = 0;
    request->digits = 0;
    request->negative = request->line_ends = false;
}

/* Takes one byte of a line that holds a number. */
static enum progress number_byte(struct request *request, uint8_t c)
{
    if (request->line_ends) {
        if (c != '\n' || !request->digits)
            return PROGRESS_BROKEN;
        if (request->negative)
            request->number = -request->number;
        return PROGRESS_COMPLETE;
    }
    if (c == '\r') {
        request->line_ends = true;
    } else if (c == '-' && !request->digits && !request->negative) {
        request->negative = true;
    } else if (c >= '0' && c <= '9' && request->digits < 12) {
        request->number = request->number * 10 + (c - '0');
        request->digits++;
    } else {
        return PROGRESS_BROKEN;
    }
    return PROGRESS_MORE;
}

static enum progress count_byte(struct request *request, uint8_t c)
{
    enum progress progress = number_byte(request, c);
    if (progress == PROGRESS_BROKEN || request->number > COUNT_MAX)
        return broken(request, "ERR Protocol error: invalid multibulk length");
    if (progress == PROGRESS_MORE)
        return PROGRESS_MORE;
    if (request->number <= 0)
        return PROGRESS_COMPLETE;
    request->wanted = (size_t)request->number;
    if (request->wanted > ARGUMENTS_MAX)
        refuse(request, "ERR too many arguments");
    request->state = REQUEST_MARK;
    return PROGRESS_MORE;
}

static enum progress length_byte(struct request *request, uint8_t c)
{
    enum progress progress = number_byte(request, c);
    if (progress == PROGRESS_BROKEN || request->negative || request->number > BODY_MAX)
        return broken(request, "ERR Protocol error: invalid bulk length");
    if (progress == PROGRESS_MORE)
        return PROGRESS_MORE;
    request->body_left = (size_t)request->number;
    if (request->body_left > VALUE_MAX)
        refuse(request, "ERR string exceeds maximum allowed size (1 MiB)");
    request->state = request->body_left ? REQUEST_BODY : REQUEST_BODY_CR;
    return PROGRESS_MORE;
}

static void add_argument(struct request *request, struct bytes *arguments, struct bytes argument)
{
    if (request->count < ARGUMENTS_MAX)
        arguments[request->count++] = argument;
    else
        refuse(request, "ERR too many arguments");
}

static enum progress split_line(struct request *request, struct bytes line,
                                struct bytes *arguments)
{
    static uint8_t words[WORDS_LINE_MAX];
    size_t used = 0, length;
    bool balanced = true;
    while (words_next(&line, words + used, &length, &balanced)) {
        add_argument(request, arguments, (struct bytes){words + used, length});
        used += length;
    }
    return balanced ? PROGRESS_COMPLETE
                    : broken(request, "ERR Protocol error: unbalanced quotes in request");
}

/* Takes bytes up to the end of the line; returns how many. Only a line in one piece is split. */
static size_t inline_bytes(struct request *request, const uint8_t *data, size_t length,
                           struct bytes *arguments, enum progress *progress)
{
    size_t end = 0;
    while (end < length && data[end] != '\n')
        end++;
    *progress = PROGRESS_MORE;
    if (request->size + end > WORDS_LINE_MAX)
        *progress = broken(request, "ERR Protocol error: too big inline request");
    else if (end < length)
        *progress = request->size ? PROGRESS_COMPLETE
                                  : split_line(request, (struct bytes){data, end}, arguments);
    return end + (end < length);
}

static size_t body_bytes(struct request *request, const uint8_t *data, size_t length,
                         size_t whole, struct bytes *arguments)
{
    if (request->body_left == whole)
        add_argument(request, arguments, (struct bytes){data, whole});
    size_t taken = length < request->body_left ? length : request->body_left;
    request->body_left -= taken;
    if (!request->body_left)
        request->state = REQUEST_BODY_CR;
    return taken;
}

static enum progress body_end(struct request *request, uint8_t c)
{
    bool first = request->state == REQUEST_BODY_CR;
    if (c != (first ? '\r' : '\n'))
        return broken(request, "ERR Protocol error: no line end after an argument");
    request->state = first ? REQUEST_BODY_LF : REQUEST_MARK;
    return !first && --request->wanted == 0 ? PROGRESS_COMPLETE : PROGRESS_MORE;
}

/* One step: at least one of `length` bytes. */
static size_t step(struct request *request, const uint8_t *data, size_t length,
                   struct bytes *arguments, enum progress *progress)
{
    switch (request->state) {
    case REQUEST_START:
        if (*data == '*') {
            begin_number(request, REQUEST_COUNT);
            break;
        }
        request->state = REQUEST_INLINE;
        return 0;
    case REQUEST_COUNT:
        *progress = count_byte(request, *data);
        break;
    case REQUEST_MARK:
        if (*data == '$')
            begin_number(request, REQUEST_LENGTH);
        else
            *progress = broken(request, "ERR Protocol error: expected '$'");
        break;
    case REQUEST_LENGTH:
        *progress = length_byte(request, *data);
        if (request->state == REQUEST_BODY_CR)
            add_argument(request, arguments, (struct bytes){data, 0});
        break;
    case REQUEST_BODY:
        return body_bytes(request, data, length, (size_t)request->number, arguments);
    case REQUEST_BODY_CR:
    case REQUEST_BODY_LF:
        *progress = body_end(request, *data);
        break;
    case REQUEST_INLINE:
        return inline_bytes(request, data, length, arguments, progress);
    }
    return 1;
}

enum progress request_feed(struct request *request, const uint8_t *data, size_t *length,
                           struct bytes arguments[ARGUMENTS_MAX])
{
    enum progress progress = PROGRESS_MORE;
    size_t used = 0;
    while (used < *length && progress == PROGRESS_MORE) {
        size_t taken = step(request, data + used, *length - used, arguments, &progress);
        used += taken;
        request->size += taken;
        if (request->size > REQUEST_MAX)
            refuse(request, "ERR request exceeds maximum allowed size (4 MiB)");
    }
    *length = used;
    return progress;
}
