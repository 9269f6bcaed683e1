#include "http.h"

#include "memory.h"

struct headers {
    unsigned hosts;
    bool has_length, chunked, close, keep_alive, expects, conditional;
    uint64_t length;
    struct http_range range;
};

bool text_equal(struct text text, const char *other)
{
    return text.length == strlen(other) && !memcmp(text.at, other, text.length);
}

static char lower_case(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* `word` in small letters; letters of `text` in either case. */
static bool spells(struct text text, const char *word)
{
    size_t at = 0;
    while (at < text.length && word[at] && lower_case(text.at[at]) == word[at])
        at++;
    return at == text.length && !word[at];
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_token(struct text text)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < text.length; i++) {
        char c = lower_case(text.at[i]);
        bool found = is_digit(c) || (c >= 'a' && c <= 'z');
        for (const char *other = others; !found && *other; other++)
            found = c == *other;
        if (!found)
            return false;
    }
    return text.length;
}

/* Cuts `rest` behind the first `mark` and returns what was before; all of it if there is none. */
static struct text cut(struct text *rest, char mark)
{
    size_t at = 0;
    while (at < rest->length && rest->at[at] != mark)
        at++;
    struct text before = {rest->at, at};
    at += at < rest->length;
    *rest = (struct text){rest->at + at, rest->length - at};
    return before;
}

static struct text trim(struct text text)
{
    while (text.length && (*text.at == ' ' || *text.at == '\t'))
        text = (struct text){text.at + 1, text.length - 1};
    while (text.length && (text.at[text.length - 1] == ' ' || text.at[text.length - 1] == '\t'))
        text.length--;
    return text;
}

static struct text cut_line(struct text *rest)
{
    struct text line = cut(rest, '\n');
    line.length -= line.length && line.at[line.length - 1] == '\r';
    return line;
}

static bool printable(struct text text)
{
    for (size_t i = 0; i < text.length; i++)
        if (((uint8_t)text.at[i] < ' ' && text.at[i] != '\t') || text.at[i] == 0x7f)
            return false;
    return true;
}

static int parse_version(struct text version, struct http_request *request)
{
    bool named = version.length == 8 && !memcmp(version.at, "HTTP/", 5);
    if (!named || !is_digit(version.at[5]) || version.at[6] != '.' || !is_digit(version.at[7]))
        return 400;
    request->close = version.at[7] == '0';
    return version.at[5] == '1' ? 200 : 505;
}

static int parse_target(struct text target, struct http_request *request)
{
    static const char scheme[] = "http://";
    size_t length = sizeof scheme - 1;
    if (target.length > length && spells((struct text){target.at, length}, scheme)) {
        while (length < target.length && target.at[length] != '/' && target.at[length] != '?')
            length++;
        target = (struct text){target.at + length, target.length - length};
        if (!target.length || *target.at == '?')
            target = (struct text){"/", 1};
    }
    request->path = cut(&target, '?');
    bool asterisk = text_equal(request->path, "*") && text_equal(request->method, "OPTIONS");
    return asterisk || (request->path.length && *request->path.at == '/') ? 200 : 400;
}

static int parse_line(struct text line, struct http_request *request)
{
    request->method = cut(&line, ' ');
    struct text target = cut(&line, ' ');
    if (!is_token(request->method) || !target.length || !printable(target))
        return 400;
    int status = parse_version(line, request);
    return status == 200 ? parse_target(target, request) : status;
}

static int parse_length(struct text value, struct headers *headers)
{
    uint64_t length = 0;
    for (size_t i = 0; i < value.length; i++) {
        if (!is_digit(value.at[i]))
            return 400;
        if (length <= BODY_MAX)
            length = length * 10 + (uint64_t)(value.at[i] - '0');
    }
    if (!value.length || (headers->has_length && headers->length != length))
        return 400;
    headers->has_length = true;
    headers->length = length;
    return length > BODY_MAX ? 413 : 200;
}

static bool take_number(struct text *text, uint64_t *number)
{
    size_t digits = 0;
    for (*number = 0; digits < text->length && is_digit(text->at[digits]); digits++)
        if (*number < UINT64_MAX / 100)
            *number = *number * 10 + (uint64_t)(text->at[digits] - '0');
    *text = (struct text){text->at + digits, text->length - digits};
    return digits;
}

/* One range of bytes. What is anything else is ignored (RFC 9110 14.2). */
static struct http_range parse_range(struct text value)
{
    struct http_range range = {.last = UINT64_MAX};
    if (!spells(cut(&value, '='), "bytes"))
        return range;
    bool from = take_number(&value, &range.first);
    if (!value.length || *value.at != '-')
        return range;
    value = (struct text){value.at + 1, value.length - 1};
    bool to = value.length && take_number(&value, &range.last);
    range.suffix = !from;
    range.given = !value.length && (from || to) && (!from || range.first <= range.last);
    return range;
}

static int parse_coding(struct text value, struct headers *headers)
{
    if (headers->chunked || !spells(value, "chunked"))
        return 501;
    headers->chunked = true;
    return 200;
}

static int parse_header(struct text line, struct headers *headers)
{
    size_t length = line.length;
    struct text name = cut(&line, ':');
    if (name.length == length || !is_token(name) || !printable(line))
        return 400;
    struct text value = trim(line);
    if (spells(name, "host"))
        return ++headers->hosts > 1 ? 400 : 200;
    if (spells(name, "content-length"))
        return parse_length(value, headers);
    if (spells(name, "transfer-encoding"))
        return parse_coding(value, headers);
    if (spells(name, "range"))
        headers->range = parse_range(value);
    headers->conditional |= spells(name, "if-range");
    if (spells(name, "expect")) {
        headers->expects = true;
        return spells(value, "100-continue") ? 200 : 417;
    }
    while (spells(name, "connection") && value.length) {
        struct text option = trim(cut(&value, ','));
        headers->close |= spells(option, "close");
        headers->keep_alive |= spells(option, "keep-alive");
    }
    return 200;
}

static int parse(struct text head, struct http_request *request)
{
    struct headers headers = {0};
    int status = parse_line(cut_line(&head), request);
    for (struct text line = cut_line(&head); status == 200 && line.length; line = cut_line(&head))
        status = parse_header(line, &headers);
    if (status != 200)
        return status;
    bool version_0 = request->close;
    if (headers.chunked && (headers.has_length || version_0))
        return 400; /* RFC 9112 6.1 */
    if (headers.chunked)
        request->body.state = BODY_SIZE;
    else if (headers.length)
        request->body = (struct http_body){.state = BODY_PLAIN, .left = headers.length};
    /* Whoever hears the reply instead of "100 Continue" may send no body. */
    request->close = headers.close || (version_0 && !headers.keep_alive) ||
                     (headers.expects && request->body.state != BODY_END);
    if (!headers.conditional && text_equal(request->method, "GET"))
        request->range = headers.range;
    return headers.hosts || version_0 ? 200 : 400;
}

struct http_request http_parse(struct text head)
{
    struct http_request request = {0};
    request.status = parse(head, &request);
    request.close |= request.status != 200;
    return request;
}

bool http_range_of(const struct http_range *range, size_t page, size_t *first, size_t *length)
{
    if (range->suffix) {
        *length = range->last < page ? (size_t)range->last : page;
        *first = page - *length;
        return *length;
    }
    if (range->first >= page)
        return false;
    *first = (size_t)range->first;
    *length = (range->last < page ? (size_t)range->last + 1 : page) - *first;
    return true;
}
