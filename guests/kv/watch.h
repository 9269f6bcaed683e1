/* Keys whose changes somebody wants to know of. */
#ifndef WATCH_H
#define WATCH_H

#include "bytes.h"

enum { WATCHES_MAX = 16384 };

struct watcher {
    struct watch *first;
    size_t count;
    bool touched; /* one of its keys has changed since */
};

/* False if memory is short, or there are WATCHES_MAX. */
bool watch_add(struct watcher *watcher, uint32_t hash, struct bytes key);
/* Calls `visit` for each of its keys. */
typedef void watch_visitor(struct bytes key);
void watch_each(const struct watcher *watcher, watch_visitor *visit);
/* Clears `touched`, too. */
void watch_forget(struct watcher *watcher);

/* A key has got, lost or changed its value or its time to expire. */
void watch_touch(uint32_t hash, struct bytes key);

#endif
