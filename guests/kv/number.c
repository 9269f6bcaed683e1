#include "number.h"

#include "console.h"

bool number_parse(struct bytes text, int64_t *value)
{
    bool negative = text.length && *text.at == '-';
    size_t at = negative;
    if (at == text.length || (text.at[at] == '0' && text.length > 1))
        return false;
    int64_t sum = 0;
    for (; at < text.length; at++) {
        int digit = text.at[at] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(sum, 10, &sum) ||
            __builtin_sub_overflow(sum, digit, &sum))
            return false;
    }
    if (!negative && sum == INT64_MIN)
        return false;
    *value = negative ? sum : -sum;
    return true;
}

size_t number_print(char text[NUMBER_MAX], int64_t value)
{
    return format(text, NUMBER_MAX, "%ld", value);
}
