#include "options.h"

#include <stdbool.h>

#include "console.h"
#include "memory.h"
#include "runtime.h"

static const char *command_line = "";

void options_start(const char *text)
{
    command_line = text;
}

/* The word at or after *at, which moves behind it; length 0 at the end. */
static struct option next_word(const char **at)
{
    while (**at == ' ')
        ++*at;
    struct option word = {*at, 0};
    for (; **at && **at != ' '; ++*at)
        word.length++;
    return word;
}

/* What follows --NAME= in the word; text NULL if it is another word. */
static struct option value_of(struct option word, const char *name)
{
    size_t length = strlen(name);
    size_t prefix = length + 3;
    if (word.length < prefix || memcmp(word.text, "--", 2) ||
        memcmp(word.text + 2, name, length) || word.text[prefix - 1] != '=')
        return (struct option){NULL, 0};
    return (struct option){word.text + prefix, word.length - prefix};
}

static bool known(struct option word, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (value_of(word, names[i]).text)
            return true;
    return false;
}

_Noreturn static void refuse(const char *why, struct option what)
{
    print("%s: ", why);
    print_text(what.text, what.length);
    print("\n");
    guest_exit(2);
}

void options_allow(const char *const *names, size_t count)
{
    const char *at = command_line;
    for (struct option word = next_word(&at); word.length; word = next_word(&at))
        if (!known(word, names, count))
            refuse("unknown option", word);
}

struct option option_text(const char *name)
{
    const char *at = command_line;
    for (struct option word = next_word(&at); word.length; word = next_word(&at)) {
        struct option value = value_of(word, name);
        if (value.text)
            return value;
    }
    return (struct option){NULL, 0};
}

uint64_t option_number(const char *name, uint64_t otherwise, uint64_t maximum)
{
    struct option value = option_text(name);
    if (!value.text)
        return otherwise;
    uint64_t number = 0;
    for (size_t i = 0; i < value.length; i++) {
        uint64_t digit = (uint64_t)(value.text[i] - '0');
        if (digit > 9 || digit > maximum || number > (maximum - digit) / 10) {
            print("--%s takes a number up to %lu, ", name, maximum);
            refuse("not", value);
        }
        number = number * 10 + digit;
    }
    if (!value.length) {
        print("--%s takes a number up to %lu", name, maximum);
        refuse("", value);
    }
    return number;
}
