/* The guest's command line: words separated by blanks, options of the form --name=value. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stddef.h>
#include <stdint.h>

/* A stretch of the command line; `text` is NULL when the option is not given. */
struct option {
    const char *text;
    size_t length;
};

void options_start(const char *command_line);

/* Halts with status 2 and a message if a word is not --NAME=... with a NAME of this list. */
void options_allow(const char *const *names, size_t count);
#define OPTIONS_ALLOW(...)                                                                         \
    options_allow((const char *const[]){__VA_ARGS__},                                              \
                  sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

struct option option_text(const char *name);
/* Decimal; a value that is no number, or above `maximum`, halts with status 2 and a message. */
uint64_t option_number(const char *name, uint64_t otherwise, uint64_t maximum);

#endif
