#include "date.h"

#include "console.h"

enum {
    DAY = 86400, /* seconds */
    DAYS_IN_ERA = 146097, /* 400 years, after which the calendar repeats itself */
    DAYS_BEFORE_1970 = 719468, /* since the first of March of the year 0 */
};

struct date {
    uint64_t year;
    unsigned month, day; /* from 1 */
};

/* Years are counted from March, so that the day that may be missing is their last. */
static struct date date_of(uint64_t days)
{
    days += DAYS_BEFORE_1970;
    uint64_t era = days / DAYS_IN_ERA, day = days % DAYS_IN_ERA;
    uint64_t year = (day - day / 1460 + day / 36524 - day / (DAYS_IN_ERA - 1)) / 365;
    day -= 365 * year + year / 4 - year / 100;
    unsigned month = (unsigned)(5 * day + 2) / 153;
    struct date date = {
        .year = 400 * era + year + (month >= 10),
        .month = month < 10 ? month + 3 : month - 9,
        .day = (unsigned)(day - (153 * month + 2) / 5 + 1),
    };
    return date;
}

void date_format(uint64_t seconds, char text[DATE_SIZE])
{
    static const char days[][4] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct date date = date_of(seconds / DAY);
    format(text, DATE_SIZE, "%s, %02u %s %04lu %02lu:%02lu:%02lu GMT", days[seconds / DAY % 7],
           date.day, months[date.month - 1], date.year, seconds % DAY / 3600, seconds % 3600 / 60,
           seconds % 60);
}
