#include "reply.h"

#include <stdarg.h>

#include "console.h"
#include "heap.h"
#include "net.h"

static void send(struct reply *reply, const void *data, size_t length)
{
    if (reply->muted)
        return;
    if (!reply->used) {
        size_t written = tcp_write(reply->connection, data, length);
        data = (const uint8_t *)data + written;
        length -= written;
    }
    if (!length)
        return;
    if (length > reply->size - reply->used)
        __builtin_trap();
    memcpy(reply->waiting + reply->used, data, length);
    reply->used += length;
}

void reply_drop(struct reply *reply)
{
    heap_free(reply->waiting);
    reply->waiting = NULL;
    reply->size = reply->used = reply->sent = 0;
}

bool reply_flush(struct reply *reply)
{
    if (reply->waiting) {
        reply->sent += tcp_write(reply->connection, reply->waiting + reply->sent,
                                 reply->used - reply->sent);
        if (reply->sent < reply->used)
            return false;
        reply_drop(reply);
    }
    return tcp_room(reply->connection) >= REPLY_SMALL;
}

/* Room for `more` bytes behind those that are waiting. */
static bool enlarge(struct reply *reply, size_t more)
{
    size_t size = more + 2 * reply->used;
    uint8_t *larger = heap_allocate(size);
    if (!larger)
        return false;
    if (reply->used)
        memcpy(larger, reply->waiting, reply->used);
    heap_free(reply->waiting);
    reply->waiting = larger;
    reply->size = size;
    return true;
}

bool reply_reserve(struct reply *reply, size_t size)
{
    size_t room = reply->used ? 0 : tcp_room(reply->connection);
    size_t needed = size + reply->promised;
    if (needed <= room + reply->size - reply->used)
        return true;
    if (reply->used + needed > REPLY_MAX) {
        reply_error(reply, "ERR reply of %lu bytes is too long", size);
        return false;
    }
    if (!enlarge(reply, needed > room ? needed - room : 0)) {
        reply_error(reply, "OOM no memory for a reply of %lu bytes", size);
        return false;
    }
    return true;
}

bool reply_promise(struct reply *reply, size_t replies)
{
    if (!reply_reserve(reply, REPLY_HEAD_MAX + replies * REPLY_SMALL))
        return false;
    reply->promised = replies * REPLY_SMALL;
    return true;
}

void reply_redeem(struct reply *reply)
{
    reply->promised -= REPLY_SMALL;
}

void reply_text(struct reply *reply, const char *text)
{
    send(reply, text, strlen(text));
}

void reply_error(struct reply *reply, const char *pattern, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, pattern);
    size_t length = format_list(text, sizeof text, pattern, arguments);
    va_end(arguments);
    for (size_t i = 0; i < length; i++)
        if (text[i] == '\r' || text[i] == '\n')
            text[i] = ' ';
    send(reply, "-", 1);
    send(reply, text, length);
    send(reply, "\r\n", 2);
}

void reply_error_about(struct reply *reply, const char *pattern, struct bytes argument)
{
    char shown[129];
    bytes_copy(shown, sizeof shown, argument);
    reply_error(reply, pattern, shown);
}

void reply_syntax_error(struct reply *reply)
{
    reply_error(reply, "ERR syntax error");
}

void reply_ok(struct reply *reply)
{
    send(reply, "+OK\r\n", 5);
}

void reply_nil(struct reply *reply)
{
    if (reply->resp3)
        send(reply, "_\r\n", 3);
    else
        send(reply, "$-1\r\n", 5);
}

void reply_nil_array(struct reply *reply)
{
    if (reply->resp3)
        send(reply, "_\r\n", 3);
    else
        send(reply, "*-1\r\n", 5);
}

static size_t head(char text[REPLY_HEAD_MAX], char kind, int64_t value)
{
    return format(text, REPLY_HEAD_MAX, "%c%ld\r\n", kind, value);
}

void reply_integer(struct reply *reply, int64_t value)
{
    char text[REPLY_HEAD_MAX];
    send(reply, text, head(text, ':', value));
}

void reply_array(struct reply *reply, size_t elements)
{
    char text[REPLY_HEAD_MAX];
    send(reply, text, head(text, '*', (int64_t)elements));
}

void reply_map(struct reply *reply, size_t pairs)
{
    char text[REPLY_HEAD_MAX];
    send(reply, text, reply->resp3 ? head(text, '%', (int64_t)pairs)
                                   : head(text, '*', 2 * (int64_t)pairs));
}

void reply_set(struct reply *reply, size_t elements)
{
    char text[REPLY_HEAD_MAX];
    send(reply, text, head(text, reply->resp3 ? '~' : '*', (int64_t)elements));
}

void reply_bulk(struct reply *reply, struct bytes value)
{
    char text[REPLY_HEAD_MAX + REPLY_SMALL];
    size_t length = head(text, '$', (int64_t)value.length);
    if (value.length <= REPLY_SMALL - REPLY_HEAD_MAX) {
        memcpy(text + length, value.at, value.length);
        length += value.length;
        memcpy(text + length, "\r\n", 2);
        send(reply, text, length + 2);
        return;
    }
    send(reply, text, length);
    send(reply, value.at, value.length);
    send(reply, "\r\n", 2);
}

void reply_bulk_head(struct reply *reply, size_t length)
{
    char text[REPLY_HEAD_MAX];
    send(reply, text, head(text, '$', (int64_t)length));
}

void reply_part(struct reply *reply, struct bytes part)
{
    send(reply, part.at, part.length);
}

void reply_value(struct reply *reply, struct bytes value)
{
    if (reply_reserve(reply, value.length + REPLY_HEAD_MAX))
        reply_bulk(reply, value);
}
