#include "glob.h"

static bool set_matches(struct bytes pattern, size_t *at, uint8_t c)
{
    bool inverse = *at < pattern.length && pattern.at[*at] == '^';
    bool found = false;
    *at += inverse;
    while (*at < pattern.length && pattern.at[*at] != ']') {
        if (pattern.at[*at] == '\\' && *at + 1 < pattern.length)
            ++*at;
        uint8_t low = pattern.at[(*at)++], high = low;
        if (*at + 1 < pattern.length && pattern.at[*at] == '-' && pattern.at[*at + 1] != ']') {
            high = pattern.at[*at + 1];
            *at += 2;
        }
        found |= low <= high ? c >= low && c <= high : c >= high && c <= low;
    }
    *at += *at < pattern.length;
    return found != inverse;
}

/* Matches one byte against what begins at *at, and moves behind that. */
static bool one_matches(struct bytes pattern, size_t *at, uint8_t c)
{
    uint8_t symbol = pattern.at[(*at)++];
    if (symbol == '?')
        return true;
    if (symbol == '[')
        return set_matches(pattern, at, c);
    if (symbol == '\\' && *at < pattern.length)
        symbol = pattern.at[(*at)++];
    return symbol == c;
}

/* A later star makes it needless to try an earlier one again. As with redis, a single star is all
 * that matches what is empty. */
bool glob_match(struct bytes pattern, struct bytes text)
{
    if (!text.length)
        return !pattern.length || (pattern.length == 1 && pattern.at[0] == '*');
    size_t at = 0, behind_star = 0, retry = 0;
    bool star = false;
    for (size_t i = 0; i < text.length;) {
        if (at < pattern.length && pattern.at[at] == '*') {
            star = true;
            behind_star = ++at;
            retry = i;
        } else if (at < pattern.length && one_matches(pattern, &at, text.at[i])) {
            i++;
        } else if (star) {
            at = behind_star;
            i = ++retry;
        } else {
            return false;
        }
    }
    while (at < pattern.length && pattern.at[at] == '*')
        at++;
    return at == pattern.length;
}
