#include "check.h"

#include "store.h"

static void element_complete(struct replies *replies)
{
    replies->state = REPLY_KIND;
    while (replies->depth) {
        if (--replies->elements_left[replies->depth - 1])
            return;
        replies->depth--;
    }
    replies->complete++;
}

static void line_complete(struct replies *replies)
{
    bool has_number = replies->kind == ':' || replies->kind == '$' || replies->kind == '*' ||
                      replies->kind == '~' || replies->kind == '%';
    CHECK(!has_number || replies->line_length > replies->negative);
    if (replies->kind == '$' && !replies->negative) {
        replies->state = REPLY_BODY;
        replies->body_left = replies->number + 2;
    } else if ((replies->kind == '*' || replies->kind == '~' || replies->kind == '%') &&
               replies->number && !replies->negative) {
        CHECK(replies->depth < DEPTH_MAX);
        replies->elements_left[replies->depth++] = replies->number << (replies->kind == '%');
        replies->state = REPLY_KIND;
    } else {
        element_complete(replies);
    }
}

static void line_byte(struct replies *replies, uint8_t c)
{
    if (replies->after_cr) {
        CHECK(c == '\n');
        line_complete(replies);
    } else if (c == '\r') {
        replies->after_cr = true;
    } else {
        CHECK(c != '\n');
        if (replies->kind != '+' && replies->kind != '-') {
            bool sign = c == '-' && !replies->line_length;
            CHECK(sign || (c >= '0' && c <= '9'));
            replies->negative |= sign;
            replies->number = replies->number * 10 + (sign ? 0 : c - '0');
        }
        replies->line_length++;
    }
}

static void body_byte(struct replies *replies, uint8_t c)
{
    replies->body_left--;
    CHECK(replies->body_left != 1 || c == '\r');
    CHECK(replies->body_left != 0 || c == '\n');
    if (!replies->body_left)
        element_complete(replies);
}

void replies_check(struct replies *replies, const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        switch (replies->state) {
        case REPLY_KIND:
            replies->kind = data[i];
            CHECK(data[i] == '+' || data[i] == '-' || data[i] == ':' || data[i] == '$' ||
                  data[i] == '*' || data[i] == '~' || data[i] == '%' || data[i] == '_');
            replies->state = REPLY_LINE;
            replies->line_length = replies->number = 0;
            replies->negative = replies->after_cr = false;
            break;
        case REPLY_LINE:
            line_byte(replies, data[i]);
            break;
        case REPLY_BODY:
            body_byte(replies, data[i]);
            break;
        }
    }
}

struct contents {
    size_t count, expiring;
    uint64_t bytes, hash;
};

static void visit(struct entry *entry, void *context)
{
    struct contents *contents = context;
    struct bytes key = entry_key(entry), value = entry_value(entry);
    contents->count++;
    contents->expiring += entry->expires != 0;
    contents->bytes += key.length + value.length;
    uint64_t hash = hash_bytes(entry->expires, key.at, key.length);
    contents->hash += hash_bytes(hash, value.at, value.length);
    CHECK(value.length <= entry->room);
    CHECK(store_expired(entry) || store_find(key) == entry);
}

uint64_t store_check(void)
{
    struct contents contents = {0};
    uint64_t position = 0;
    do
        position = store_walk(position, visit, &contents);
    while (position != STORE_END);
    CHECK(contents.count == store_count());
    CHECK(contents.expiring == store_expiring_count());
    CHECK(contents.bytes == store_bytes());
    return contents.hash;
}
