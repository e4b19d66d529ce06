/* date.c - dates in fields (RFC 9110, 5.6.7).
 *
 * Days are counted from 1 March of the year 0, so that a leap day is the last
 * of its year and months have the same lengths in all years. */
#include "http/internal.h"

#include <string.h>

static const char days[] = "SunMonTueWedThuFriSat";
static const char long_days[][8] = {"Sun",   "Mon", "Tues", "Wednes",
                                    "Thurs", "Fri", "Satur"};
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

#define DAY INT64_C(86400)
#define DAYS_TO_1970 INT64_C(719468)

/* Of a date of the Gregorian calendar; month from 1. */
static int64_t
days_since_1970(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year -
           DAYS_TO_1970;
}

static void
civil(int64_t since_1970, int *year, int *month, int *day)
{
    int64_t z = since_1970 + DAYS_TO_1970; /* not negative from year 0 on */
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t of_era = z - era * 146097;
    int64_t y =
        (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
    int64_t m = (5 * of_year + 2) / 153;
    *day = (int)(of_year - (153 * m + 2) / 5 + 1);
    *month = (int)(m < 10 ? m + 3 : m - 9);
    *year = (int)(y + era * 400 + (*month <= 2));
}

/* `n` digits. */
static void
put(char *out, int n, int value)
{
    while (n-- > 0) {
        out[n] = (char)('0' + value % 10);
        value /= 10;
    }
}

void
coir_http_date(int64_t seconds, char out[COIR_HTTP_DATE_SIZE])
{
    const int64_t least = days_since_1970(0, 1, 1) * DAY;
    const int64_t most = days_since_1970(10000, 1, 1) * DAY - 1;
    if (seconds < least)
        seconds = least;
    if (seconds > most)
        seconds = most;
    int64_t day = (seconds - least) / DAY + least / DAY;
    int rest = (int)(seconds - day * DAY);
    int year, month, of_month;
    civil(day, &year, &month, &of_month);
    int of_week = (int)(((day + 4) % 7 + 7) % 7);
    memcpy(out, "Sun, 00 Jan 0000 00:00:00 GMT", COIR_HTTP_DATE_SIZE);
    memcpy(out, days + of_week * 3, 3);
    put(out + 5, 2, of_month);
    memcpy(out + 8, months + (month - 1) * 3, 3);
    put(out + 12, 4, year);
    put(out + 17, 2, rest / 3600);
    put(out + 20, 2, rest / 60 % 60);
    put(out + 23, 2, rest % 60);
}

/* --- reading ------------------------------------------------------------- */

typedef struct date {
    const char *p, *end;
    int of_week, year, month, day, hour, minute, second;
} date;

static int
take(date *d, const char *text)
{
    size_t len = strlen(text);
    if ((size_t)(d->end - d->p) < len || memcmp(d->p, text, len) != 0)
        return 0;
    d->p += len;
    return 1;
}

/* `n` digits, up to `most`. */
static int
take_number(date *d, int n, int most, int *out)
{
    int value = 0;
    if (d->end - d->p < n)
        return 0;
    for (; n > 0; n--, d->p++) {
        if (!coir__is(*d->p, COIR__DIGIT))
            return 0;
        value = value * 10 + (*d->p - '0');
    }
    *out = value;
    return value <= most;
}

/* One of `count` names of three letters, from `first`. */
static int
take_name(date *d, const char *names, int count, int first, int *out)
{
    for (int i = 0; i < count; i++) {
        if (d->end - d->p >= 3 && memcmp(d->p, names + i * 3, 3) == 0) {
            d->p += 3;
            *out = i + first;
            return 1;
        }
    }
    return 0;
}

static int
take_long_day(date *d)
{
    for (int i = 0; i < 7; i++) {
        const char *begin = d->p;
        if (take(d, long_days[i]) && take(d, "day")) {
            d->of_week = i;
            return 1;
        }
        d->p = begin;
    }
    return 0;
}

static int
take_time(date *d)
{
    return take_number(d, 2, 23, &d->hour) && take(d, ":") &&
           take_number(d, 2, 59, &d->minute) && take(d, ":") &&
           take_number(d, 2, 60, &d->second);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
static int
take_fixed(date *d)
{
    return take_name(d, days, 7, 0, &d->of_week) && take(d, ", ") &&
           take_number(d, 2, 31, &d->day) && take(d, " ") &&
           take_name(d, months, 12, 1, &d->month) && take(d, " ") &&
           take_number(d, 4, 9999, &d->year) && take(d, " ") && take_time(d) &&
           take(d, " GMT");
}

/* "Sunday, 06-Nov-94 08:49:37 GMT": of the last 50 years, or the next. */
static int
take_two_digits(date *d, int64_t now)
{
    int this_year, month, day;
    if (!(take_long_day(d) && take(d, ", ") &&
          take_number(d, 2, 31, &d->day) && take(d, "-") &&
          take_name(d, months, 12, 1, &d->month) && take(d, "-") &&
          take_number(d, 2, 99, &d->year) && take(d, " ") && take_time(d) &&
          take(d, " GMT")))
        return 0;
    civil(now / DAY, &this_year, &month, &day);
    d->year += this_year / 100 * 100;
    if (d->year > this_year + 50)
        d->year -= 100;
    else if (d->year <= this_year - 50)
        d->year += 100;
    return 1;
}

/* "Sun Nov  6 08:49:37 1994" */
static int
take_asctime(date *d)
{
    return take_name(d, days, 7, 0, &d->of_week) && take(d, " ") &&
           take_name(d, months, 12, 1, &d->month) && take(d, " ") &&
           (take(d, " ") ? take_number(d, 1, 9, &d->day)
                         : take_number(d, 2, 31, &d->day)) &&
           take(d, " ") && take_time(d) && take(d, " ") &&
           take_number(d, 4, 9999, &d->year);
}

int
coir_http_parse_date(const char *text, size_t len, int64_t now,
                     int64_t *seconds)
{
    date start = {.p = text, .end = text + len}, d = start;
    if (!take_fixed(&d) || d.p != d.end) {
        d = start;
        if (!take_two_digits(&d, now) || d.p != d.end) {
            d = start;
            if (!take_asctime(&d) || d.p != d.end)
                return COIR_EINVAL;
        }
    }
    int64_t day = days_since_1970(d.year, d.month, d.day);
    int year, month, of_month;
    civil(day, &year, &month, &of_month);
    if (of_month != d.day || month != d.month) /* as 31 June, or day 0 */
        return COIR_EINVAL;
    *seconds = day * DAY + d.hour * 3600 + d.minute * 60 + d.second;
    return 0;
}
