/* Memory for all that grows: one range, split and joined again in constant time. */
#ifndef HEAP_H
#define HEAP_H

#include <stddef.h>
#include <stdint.h>

void heap_start(uintptr_t from, uintptr_t to);

/* NULL if there is none left. Aligned to 16 bytes. */
void *heap_allocate(size_t size);
/* `memory` may be NULL. */
void heap_free(void *memory);
/* How much may be used of what heap_allocate returned: at least the size asked for. */
size_t heap_usable(const void *memory);

/* Bytes not in use, and bytes altogether. */
size_t heap_left(void);
size_t heap_total(void);

#endif
