#include "extended.h"

#include "big.h"
#include "console.h"

enum {
    TEXT_MAX = 5 << 10, /* of what is read */
    MANTISSA_BITS = 64,
    EXPONENT_MIN = -16445, /* of the mantissa's lowest bit */
    EXPONENT_MAX = 16384,  /* of what is too large */
    EXPONENT_LIMIT = 100000, /* of what is written: a larger one makes no difference */
    DECIMALS = 17,
    CHUNK = 1000000000,
    CHUNK_DIGITS = 9,
    GUARD = 200, /* bits beyond the mantissa, of which a lower number can change only the lowest */
};

static struct extended round(struct big *number, int exponent, bool more, bool negative)
{
    int drop = (int)big_bits(number) - MANTISSA_BITS;
    if (drop < EXPONENT_MIN - exponent)
        drop = EXPONENT_MIN - exponent;
    if (drop > 0) {
        big_shift_right_rounded(number, (unsigned)drop, more);
        exponent += drop;
    }
    if (big_bits(number) > MANTISSA_BITS) {
        big_shift_right_rounded(number, 1, false);
        exponent++;
    }
    return (struct extended){
        .negative = negative,
        .infinite = number->used && (int)big_bits(number) + exponent > EXPONENT_MAX,
        .mantissa = big_low(number),
        .exponent = exponent,
    };
}

/* Reading. */

struct reader {
    const uint8_t *at, *end;
};

static bool take(struct reader *reader, uint8_t letter)
{
    bool there = reader->at < reader->end && upper_case(*reader->at) == letter;
    reader->at += there;
    return there;
}

static int digit(uint8_t c, unsigned base)
{
    c = upper_case(c);
    unsigned value = c >= 'A' ? (unsigned)(c - 'A') + 10 : (unsigned)c - '0';
    return value < base ? (int)value : -1;
}

/* Digits with a point among them; *behind is how many are behind it. */
static bool take_digits(struct reader *reader, unsigned base, struct big *number, int *behind)
{
    bool point = false, any = false;
    uint32_t chunk = 0, scale = 1;
    *behind = 0;
    for (; reader->at < reader->end; reader->at++) {
        int value = digit(*reader->at, base);
        if (value < 0 && (point || *reader->at != '.'))
            break;
        if (value < 0) {
            point = true;
            continue;
        }
        any = true;
        *behind += point;
        chunk = chunk * base + (uint32_t)value;
        scale *= base;
        if (scale > UINT32_MAX / 16) {
            big_multiply_add(number, scale, chunk);
            chunk = 0;
            scale = 1;
        }
    }
    big_multiply_add(number, scale, chunk);
    return any;
}

static bool take_exponent(struct reader *reader, int *exponent)
{
    bool negative = take(reader, '-'), any = false;
    if (!negative)
        take(reader, '+');
    *exponent = 0;
    for (; reader->at < reader->end && digit(*reader->at, 10) >= 0; reader->at++) {
        any = true;
        if (*exponent < EXPONENT_LIMIT)
            *exponent = *exponent * 10 + digit(*reader->at, 10);
    }
    if (negative)
        *exponent = -*exponent;
    return any;
}

/* Rounds number * 10^power. */
static struct extended scale(struct big *number, int power, bool negative)
{
    int exponent = 0;
    bool more = false;
    if (!number->used || power < -2 * TEXT_MAX)
        return (struct extended){.negative = negative};
    if (power > TEXT_MAX)
        return (struct extended){.negative = negative, .infinite = true};
    for (; power >= CHUNK_DIGITS; power -= CHUNK_DIGITS)
        big_multiply_add(number, CHUNK, 0);
    for (; power > 0; power--)
        big_multiply_add(number, 10, 0);
    if (power < 0) { /* first as many bits as the division takes, and GUARD more */
        exponent = (int)big_bits(number) + power * 10 / 3 - GUARD;
        if (exponent < 0)
            big_shift_left(number, (unsigned)-exponent);
        else
            exponent = 0;
    }
    for (; power <= -CHUNK_DIGITS; power += CHUNK_DIGITS)
        more |= big_divide(number, CHUNK) != 0;
    for (; power < 0; power++)
        more |= big_divide(number, 10) != 0;
    return round(number, exponent, more, negative);
}

static bool parse_hexadecimal(struct reader *reader, bool negative, struct extended *number)
{
    static struct big big;
    int behind, exponent = 0;
    big_set(&big, 0);
    if (!take_digits(reader, 16, &big, &behind) ||
        (take(reader, 'P') && !take_exponent(reader, &exponent)))
        return false;
    bool zero = !big.used;
    *number = round(&big, exponent - 4 * behind, false, negative);
    return zero || number->mantissa;
}

static bool parse_decimal(struct reader *reader, bool negative, struct extended *number)
{
    static struct big big;
    int behind, exponent = 0;
    big_set(&big, 0);
    if (!take_digits(reader, 10, &big, &behind) ||
        (take(reader, 'E') && !take_exponent(reader, &exponent)))
        return false;
    bool zero = !big.used;
    *number = scale(&big, exponent - behind, negative);
    return zero || number->mantissa;
}

bool extended_parse(struct bytes text, struct extended *number)
{
    struct reader reader = {text.at, text.at + text.length};
    if (text.length >= TEXT_MAX)
        return false;
    bool negative = take(&reader, '-');
    if (!negative)
        take(&reader, '+');
    struct bytes rest = {reader.at, (size_t)(reader.end - reader.at)};
    if (bytes_spell(rest, "INF") || bytes_spell(rest, "INFINITY")) {
        *number = (struct extended){.negative = negative, .infinite = true};
        return true;
    }
    struct reader hexadecimal = reader;
    bool prefix = take(&hexadecimal, '0') && take(&hexadecimal, 'X');
    bool read = prefix ? parse_hexadecimal(&hexadecimal, negative, number)
                       : parse_decimal(&reader, negative, number);
    return read && (prefix ? hexadecimal : reader).at == reader.end && !number->infinite;
}

/* Computing. */

struct extended extended_add(struct extended a, struct extended b)
{
    static struct big high, low;
    if (a.exponent < b.exponent) {
        struct extended swapped = a;
        a = b;
        b = swapped;
    }
    if (!a.mantissa || !b.mantissa)
        return a.mantissa ? a : b;
    int distance = a.exponent - b.exponent;
    if (distance > GUARD + MANTISSA_BITS) {
        distance = GUARD;
        b.mantissa = 1;
    }
    big_set(&high, a.mantissa);
    big_set(&low, b.mantissa);
    big_shift_left(&high, (unsigned)distance);
    int exponent = a.exponent - distance;
    if (a.negative == b.negative) {
        big_add(&high, &low);
        return round(&high, exponent, false, a.negative);
    }
    bool swap = big_compare(&high, &low) < 0;
    struct big *larger = swap ? &low : &high, *smaller = swap ? &high : &low;
    big_subtract(larger, smaller);
    return round(larger, exponent, false, a.negative != swap);
}

/* Writing. */

/* Decimal digits from the end of `text` on; at least so many. Returns where they begin. */
static size_t print_digits(char text[EXTENDED_TEXT_MAX], struct big *number, size_t least)
{
    size_t at = EXTENDED_TEXT_MAX;
    while (number->used) {
        uint32_t chunk = big_divide(number, CHUNK);
        for (unsigned i = 0; i < CHUNK_DIGITS; i++, chunk /= 10)
            text[--at] = (char)('0' + chunk % 10);
    }
    while (at < EXTENDED_TEXT_MAX && text[at] == '0')
        at++;
    while (EXTENDED_TEXT_MAX - at < least)
        text[--at] = '0';
    return at;
}

size_t extended_print(char text[EXTENDED_TEXT_MAX], struct extended number)
{
    static struct big big;
    static char digits[EXTENDED_TEXT_MAX];
    big_set(&big, number.mantissa);
    big_multiply_add(&big, CHUNK, 0);
    big_multiply_add(&big, CHUNK / 10, 0);
    if (number.exponent >= 0)
        big_shift_left(&big, (unsigned)number.exponent);
    else
        big_shift_right_rounded(&big, (unsigned)-number.exponent, false);
    size_t length = 0, end = EXTENDED_TEXT_MAX, point = EXTENDED_TEXT_MAX - DECIMALS;
    if (number.negative && big.used)
        text[length++] = '-';
    size_t at = print_digits(digits, &big, DECIMALS + 1);
    while (end > point && digits[end - 1] == '0')
        end--;
    for (; at < end; at++) {
        if (at == point)
            text[length++] = '.';
        text[length++] = digits[at];
    }
    return length;
}
