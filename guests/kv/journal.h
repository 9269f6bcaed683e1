/* Every change of the store as a record in the log, so that the store is there again after a
 * restart. Without a disk all of this does nothing.
 *
 * The order for each change: a record with journal_record, then the change in the store, and
 * journal_commit before the reply leaves. */
#ifndef JOURNAL_H
#define JOURNAL_H

#include "bytes.h"

enum record_kind {
    RECORD_START = 1, /* the guest has started: no two runs write the same chain of checksums */
    RECORD_SET,
    RECORD_APPEND,
    RECORD_EXPIRE,
    RECORD_DELETE,
    RECORD_CLEAR,
    RECORD_END, /* of several that count only together */
    RECORD_MORE = 0x80, /* added to a kind: counts only together with the next record */
};

/* Takes the disk and fills the store, which is empty, from its log. */
void journal_start(uint64_t handle, uint64_t disk_size, uint64_t salt);
bool journal_active(void);

/* False if the log has no room for this change. */
bool journal_record(enum record_kind kind, struct bytes key, struct bytes value, uint64_t expires);

/* For several changes that must all be possible: room first, then each of so many records, whose
 * keys and values have so many bytes together. */
bool journal_reserve(size_t records, uint64_t bytes);
void journal_write(unsigned kind, struct bytes key, struct bytes value, uint64_t expires);

/* All records in between count only together. Does not nest; no commit in between. */
void journal_begin(void);
void journal_end(void);

void journal_commit(void);

#endif
