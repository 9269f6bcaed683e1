/* What there is to see. */
#ifndef PAGE_H
#define PAGE_H

#include "http.h"

enum { PAGE_MAX = 4096 };

struct status {
    uint64_t uptime_ms, requests, generation, connections;
};

struct page {
    const char *type;
    size_t length;
    char content[PAGE_MAX];
};

/* False if there is nothing at this path. */
bool page_make(struct page *page, struct text path, const struct status *status);

/* "404 Not Found" and the like. */
const char *status_text(int status);

#endif
