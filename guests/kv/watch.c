#include "watch.h"

#include "heap.h"

enum { BUCKETS = 4096 };

struct watch {
    struct watch *next, **link; /* in the bucket */
    struct watch *sibling;      /* of the same watcher */
    struct watcher *watcher;
    uint32_t hash;
    size_t key_length;
    uint8_t key[];
};

static struct watch *table[BUCKETS];

static struct bytes key_of(const struct watch *watch)
{
    return (struct bytes){watch->key, watch->key_length};
}

static struct watch **bucket_of(uint32_t hash)
{
    return &table[hash % BUCKETS];
}

static bool watches(const struct watcher *watcher, uint32_t hash, struct bytes key)
{
    const struct watch *watch = *bucket_of(hash);
    while (watch && (watch->watcher != watcher || !bytes_equal(key_of(watch), key)))
        watch = watch->next;
    return watch;
}

static void link(struct watch *watch)
{
    struct watch **bucket = bucket_of(watch->hash);
    watch->next = *bucket;
    watch->link = bucket;
    if (*bucket)
        (*bucket)->link = &watch->next;
    *bucket = watch;
}

bool watch_add(struct watcher *watcher, uint32_t hash, struct bytes key)
{
    if (watches(watcher, hash, key))
        return true;
    if (watcher->count == WATCHES_MAX)
        return false;
    struct watch *watch = heap_allocate(sizeof *watch + key.length);
    if (!watch)
        return false;
    *watch = (struct watch){
        .sibling = watcher->first,
        .watcher = watcher,
        .hash = hash,
        .key_length = key.length,
    };
    memcpy(watch->key, key.at, key.length);
    link(watch);
    watcher->first = watch;
    watcher->count++;
    return true;
}

void watch_each(const struct watcher *watcher, watch_visitor *visit)
{
    for (const struct watch *watch = watcher->first; watch; watch = watch->sibling)
        visit(key_of(watch));
}

void watch_forget(struct watcher *watcher)
{
    for (struct watch *watch = watcher->first, *sibling; watch; watch = sibling) {
        sibling = watch->sibling;
        *watch->link = watch->next;
        if (watch->next)
            watch->next->link = watch->link;
        heap_free(watch);
    }
    *watcher = (struct watcher){0};
}

void watch_touch(uint32_t hash, struct bytes key)
{
    for (const struct watch *watch = *bucket_of(hash); watch; watch = watch->next)
        if (watch->hash == hash && bytes_equal(key_of(watch), key))
            watch->watcher->touched = true;
}
