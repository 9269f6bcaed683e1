/* Formatted text, and the console: one `puts` hypercall for each line. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdarg.h>
#include <stddef.h>

/* Knows %c %s %d %u %x, the latter three with `l`, a width and zero padding, and %%.
 * Cuts off what does not fit and ends with NUL; returns the length without the NUL. */
size_t format(char *to, size_t size, const char *pattern, ...)
    __attribute__((format(printf, 3, 4)));
size_t format_list(char *to, size_t size, const char *pattern, va_list arguments);

/* At most 1023 characters in one call. */
void print(const char *pattern, ...) __attribute__((format(printf, 1, 2)));
void print_text(const char *text, size_t length);
/* Emits a line that has not ended yet. */
void print_flush(void);

#endif
