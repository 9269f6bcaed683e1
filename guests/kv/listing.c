/* Commands that go through many keys. */
#include "commands.h"
#include "glob.h"
#include "number.h"
#include "store.h"

enum {
    PATTERN_MAX = 1024,
    SCAN_COUNT = 10,
};

/* Two walks: the first measures the reply, the second writes it. */
struct listing {
    struct bytes pattern;
    bool none; /* lists no key */
    struct reply *reply; /* NULL: measure */
    size_t visited, matching, size;
};

static bool pattern_fits(struct client *client, struct bytes pattern)
{
    if (pattern.length > PATTERN_MAX)
        reply_error(&client->reply, "ERR pattern exceeds maximum allowed size (1 KiB)");
    return pattern.length <= PATTERN_MAX;
}

static void visit(struct entry *entry, void *context)
{
    struct listing *listing = context;
    listing->visited++;
    if (listing->none || store_expired(entry) || !glob_match(listing->pattern, entry_key(entry)))
        return;
    listing->matching++;
    listing->size += entry->key_length + REPLY_HEAD_MAX;
    if (listing->reply)
        reply_bulk(listing->reply, entry_key(entry));
}

static void write(struct client *client, struct listing *listing, uint64_t from, uint64_t to)
{
    listing->reply = &client->reply;
    reply_array(&client->reply, listing->matching);
    uint64_t position = from;
    do
        position = store_walk(position, visit, listing);
    while (position != to);
}

void command_keys(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    if (!pattern_fits(client, arguments[1]))
        return;
    struct listing listing = {.pattern = arguments[1], .size = REPLY_HEAD_MAX};
    uint64_t position = 0;
    do
        position = store_walk(position, visit, &listing);
    while (position != STORE_END);
    if (reply_reserve(&client->reply, listing.size))
        write(client, &listing, 0, STORE_END);
}

/* Any number that fits into 64 bits, as strtoul reads it. */
static bool parse_cursor(struct bytes text, uint64_t *cursor)
{
    bool negative = text.length && *text.at == '-';
    size_t at = negative || (text.length && *text.at == '+');
    *cursor = 0;
    if (at && at == text.length)
        return false;
    for (; at < text.length; at++) {
        uint64_t digit = (uint64_t)text.at[at] - '0';
        if (digit > 9 || __builtin_mul_overflow(*cursor, 10, cursor) ||
            __builtin_add_overflow(*cursor, digit, cursor))
            return false;
    }
    if (negative)
        *cursor = -*cursor;
    return true;
}

static bool parse_scan(struct client *client, const struct bytes *arguments, size_t count,
                       struct listing *listing, int64_t *limit)
{
    for (size_t i = 2; i < count; i += 2) {
        bool more = i + 1 < count;
        if (more && bytes_spell(arguments[i], "MATCH")) {
            listing->pattern = arguments[i + 1];
        } else if (more && bytes_spell(arguments[i], "TYPE")) {
            listing->none |= !bytes_spell(arguments[i + 1], "string");
        } else if (more && bytes_spell(arguments[i], "COUNT")) {
            if (!argument_number(client, arguments[i + 1], limit))
                return false;
        } else {
            *limit = 0;
        }
        if (*limit < 1) {
            reply_syntax_error(&client->reply);
            return false;
        }
    }
    return pattern_fits(client, listing->pattern);
}

/* The cursor is a position of store_walk; only its lowest 32 bits count. */
void command_scan(struct client *client, const struct bytes *arguments, size_t count)
{
    uint64_t cursor;
    int64_t limit = SCAN_COUNT;
    struct listing listing = {.pattern = LITERAL("*"), .size = 3 * REPLY_HEAD_MAX};
    if (!parse_cursor(arguments[1], &cursor)) {
        reply_error(&client->reply, "ERR invalid cursor");
        return;
    }
    if (!parse_scan(client, arguments, count, &listing, &limit))
        return;
    cursor = (uint32_t)cursor;
    uint64_t position = cursor;
    int64_t walked = 0;
    do
        position = store_walk(position, visit, &listing);
    while (position != STORE_END && (int64_t)listing.visited < limit && walked++ / 10 < limit);
    if (!reply_reserve(&client->reply, listing.size))
        return;
    char text[NUMBER_MAX];
    struct bytes next = {(const uint8_t *)text, number_print(text, (int64_t)position)};
    reply_array(&client->reply, 2);
    reply_bulk(&client->reply, next);
    write(client, &listing, cursor, position);
}

void command_dbsize(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    reply_integer(&client->reply, (int64_t)store_count());
}
