#include "console.h"

#include <stdbool.h>
#include <stdint.h>

#include "hypercall.h"
#include "memory.h"

struct output {
    char *to;
    size_t size, used;
};

static void put(struct output *out, char c)
{
    if (out->used + 1 < out->size)
        out->to[out->used++] = c;
}

static void put_padded(struct output *out, const char *text, size_t length, size_t width, char pad)
{
    for (; width > length; width--)
        put(out, pad);
    while (length--)
        put(out, *text++);
}

static void put_number(struct output *out, uint64_t value, bool negative, unsigned base,
                       size_t width, char pad)
{
    char digits[24];
    size_t at = sizeof digits;
    do
        digits[--at] = "0123456789abcdef"[value % base];
    while (value /= base);
    if (negative && pad == '0') {
        put(out, '-');
        width -= width > 0;
    } else if (negative) {
        digits[--at] = '-';
    }
    put_padded(out, digits + at, sizeof digits - at, width, pad);
}

size_t format_list(char *to, size_t size, const char *pattern, va_list arguments)
{
    struct output out = {to, size, 0};
    for (; *pattern; pattern++) {
        if (*pattern != '%') {
            put(&out, *pattern);
            continue;
        }
        char pad = ' ';
        size_t width = 0;
        bool wide = false;
        if (*++pattern == '0') {
            pad = '0';
            pattern++;
        }
        for (; *pattern >= '0' && *pattern <= '9'; pattern++)
            width = width * 10 + (size_t)(*pattern - '0');
        if (*pattern == 'l') {
            wide = true;
            pattern++;
        }
        switch (*pattern) {
        case 'c':
            put(&out, (char)va_arg(arguments, int));
            break;
        case 's': {
            const char *text = va_arg(arguments, const char *);
            put_padded(&out, text, strlen(text), width, ' ');
            break;
        }
        case 'd': {
            int64_t value = wide ? va_arg(arguments, long) : va_arg(arguments, int);
            put_number(&out, value < 0 ? -(uint64_t)value : (uint64_t)value, value < 0, 10, width,
                       pad);
            break;
        }
        case 'u':
        case 'x': {
            uint64_t value = wide ? va_arg(arguments, unsigned long) : va_arg(arguments, unsigned);
            put_number(&out, value, false, *pattern == 'u' ? 10 : 16, width, pad);
            break;
        }
        default:
            put(&out, *pattern);
        }
    }
    if (size)
        to[out.used] = '\0';
    return out.used;
}

size_t format(char *to, size_t size, const char *pattern, ...)
{
    va_list arguments;
    va_start(arguments, pattern);
    size_t length = format_list(to, size, pattern, arguments);
    va_end(arguments);
    return length;
}

static char line[1024];
static size_t line_used;

void print_flush(void)
{
    if (line_used)
        hypercall_puts(line, line_used);
    line_used = 0;
}

void print_text(const char *text, size_t length)
{
    for (; length; length--, text++) {
        line[line_used++] = *text;
        if (*text == '\n' || line_used == sizeof line)
            print_flush();
    }
}

void print(const char *pattern, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, pattern);
    size_t length = format_list(text, sizeof text, pattern, arguments);
    va_end(arguments);
    print_text(text, length);
}
