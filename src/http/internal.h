/* internal.h - what the files of the parser share. See parse.c. */
#ifndef COIR__HTTP_INTERNAL_H
#define COIR__HTTP_INTERNAL_H

#include <coir/http.h>

#include "base/platform.h"

/* Classes of bytes (RFC 9110, 5.6.2; RFC 3986, appendix A). */
enum {
    COIR__TOKEN = 1, /* tchar */
    COIR__HOST = 2,  /* reg-name, but for % */
    COIR__HEX = 4,
    COIR__ALPHA = 8,
    COIR__DIGIT = 16
};

extern const uint8_t coir__http_class[256];

static inline int
coir__is(char c, unsigned classes)
{
    return (coir__http_class[(uint8_t)c] & classes) != 0;
}

static inline int
coir__is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* What a field's value may hold: all but controls; tab is no control here. */
static inline int
coir__is_text(char c)
{
    return (uint8_t)c >= 0x20 ? c != 0x7f : c == '\t';
}

static inline char
coir__lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Defaults stand for what is 0. */
static inline uint32_t
coir__limit(uint32_t value, uint32_t fallback)
{
    return value != 0 ? value : fallback;
}

extern const coir_http_options coir__http_defaults;

static inline uint64_t
coir__max_body(const coir_http_options *options)
{
    return options->max_body != 0 ? options->max_body : INT64_MAX;
}

/* A name that has been found to be a token. */
int coir__http_known(const char *name, size_t len);

/* Why a byte that ended the scan of a value does not belong there. */
int coir__http_bad_text(char c);

/* A host with an optional port: sets host and port of `head`, with offsets
 * from `buf`. Returns 0 or `error`. */
int coir__http_authority(coir_http_head *head, const char *buf,
                         coir_http_span authority, int error);

/* Take apart head->target. Returns 0 or an error. */
int coir__http_target(coir_http_head *head, const char *buf);

/* What the fields of a complete head mean together. `repeated`: a field that
 * has an id is there more than once. */
int coir__http_finish_request(coir_http_head *head, const char *buf,
                              const coir_http_options *options, int repeated);
int coir__http_finish_response(coir_http_head *head, const char *buf,
                               const coir_http_options *options, int repeated,
                               int method);

#endif
