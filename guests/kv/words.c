#include "words.h"

static bool blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool starts_with(struct bytes line, uint8_t c)
{
    return line.length && *line.at == c;
}

static uint8_t take(struct bytes *line)
{
    line->length--;
    return *line->at++;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = upper_case(c);
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* What follows a backslash in "...". */
static uint8_t escaped(struct bytes *line)
{
    static const char names[] = "nrtba", meanings[] = "\n\r\t\b\a";
    uint8_t c = take(line);
    if (c == 'x' && line->length >= 2) {
        int high = hex_digit(line->at[0]), low = hex_digit(line->at[1]);
        if (high >= 0 && low >= 0) {
            line->at += 2;
            line->length -= 2;
            return (uint8_t)(high << 4 | low);
        }
    }
    for (size_t i = 0; names[i]; i++)
        if (c == (uint8_t)names[i])
            return (uint8_t)meanings[i];
    return c;
}

/* Up to the closing quote, which a blank or the end must follow. */
static bool quoted(struct bytes *line, uint8_t quote, uint8_t *to, size_t *length)
{
    while (line->length) {
        uint8_t c = take(line);
        if (c == quote)
            return !line->length || blank(*line->at);
        if (c == '\\' && quote == '"' && line->length)
            c = escaped(line);
        else if (c == '\\' && starts_with(*line, '\''))
            c = take(line);
        to[(*length)++] = c;
    }
    return false;
}

bool words_next(struct bytes *line, uint8_t *to, size_t *length, bool *balanced)
{
    *length = 0;
    while (line->length && blank(*line->at))
        take(line);
    if (!line->length)
        return false;
    while (line->length && !blank(*line->at)) {
        uint8_t c = take(line);
        if (c == '"' || c == '\'') {
            *balanced = quoted(line, c, to, length);
            return *balanced;
        }
        to[(*length)++] = c;
    }
    return true;
}
