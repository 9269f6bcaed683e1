/* Two-level segregated fit: free blocks hang in lists by size, 16 classes to a power of two; a bit
 * for each list that has a block finds the smallest class that fits. Neighbours are joined when a
 * block is freed, which the word before a block makes possible: while the block in front is free,
 * that word, its last, points to its start. */
#include "heap.h"

#include <stdbool.h>

enum {
    ALIGN = 16,
    CLASSES = 16,      /* to a power of two */
    SMALL = 256,       /* below, a class for every multiple of ALIGN */
    SMALL_BITS = 8,
    GROUPS = 33 - SMALL_BITS,
    SMALLEST = 32,
    FREE = 1,          /* flags in the low bits of `size` */
    FREE_BEFORE = 2,
    FLAGS = 15,
};

struct block {
    struct block *before; /* of the block in front, and valid only if that is free */
    size_t size;          /* from here to the next block, and flags */
    struct block *next, *previous; /* in the list while free; memory in use begins here */
};

static struct block *lists[GROUPS][CLASSES];
static uint32_t groups;
static uint32_t classes[GROUPS];
static size_t left, total;

struct list {
    unsigned group, class;
};

static size_t size_of(const struct block *block)
{
    return block->size & ~(size_t)FLAGS;
}

static struct block *after(const struct block *block)
{
    return (struct block *)((uintptr_t)block + size_of(block));
}

static struct list list_of(size_t size)
{
    if (size < SMALL)
        return (struct list){0, (unsigned)(size / ALIGN)};
    unsigned bits = 63 - (unsigned)__builtin_clzl(size);
    return (struct list){bits - SMALL_BITS + 1, (unsigned)(size >> (bits - 4)) % CLASSES};
}

static void put_in_list(struct block *block)
{
    struct list list = list_of(size_of(block));
    struct block **head = &lists[list.group][list.class];
    block->previous = NULL;
    block->next = *head;
    if (*head)
        (*head)->previous = block;
    *head = block;
    groups |= 1u << list.group;
    classes[list.group] |= 1u << list.class;
    block->size |= FREE;
    after(block)->before = block;
    after(block)->size |= FREE_BEFORE;
    left += size_of(block);
}

static void take_from_list(struct block *block)
{
    struct list list = list_of(size_of(block));
    if (block->next)
        block->next->previous = block->previous;
    if (block->previous)
        block->previous->next = block->next;
    else
        lists[list.group][list.class] = block->next;
    if (!lists[list.group][list.class])
        classes[list.group] &= ~(1u << list.class);
    if (!classes[list.group])
        groups &= ~(1u << list.group);
    block->size &= ~(size_t)FREE;
    after(block)->size &= ~(size_t)FREE_BEFORE;
    left -= size_of(block);
}

/* Any block of the first list whose blocks are all large enough. */
static struct block *find(size_t size)
{
    if (size >= SMALL)
        size += ((size_t)1 << (63 - __builtin_clzl(size) - 4)) - 1;
    struct list list = list_of(size);
    if (list.group >= GROUPS)
        return NULL;
    uint32_t fitting = classes[list.group] & ~0u << list.class;
    if (!fitting) {
        uint32_t larger = list.group + 1 < GROUPS ? groups & ~0u << (list.group + 1) : 0;
        if (!larger)
            return NULL;
        list.group = (unsigned)__builtin_ctz(larger);
        fitting = classes[list.group];
    }
    return lists[list.group][__builtin_ctz(fitting)];
}

void heap_start(uintptr_t from, uintptr_t to)
{
    struct block *first = (struct block *)((from + ALIGN - 1) / ALIGN * ALIGN);
    struct block *end = (struct block *)(to / ALIGN * ALIGN - ALIGN);
    first->size = (uintptr_t)end - (uintptr_t)first;
    end->size = 0;
    put_in_list(first);
    total = left;
}

void *heap_allocate(size_t size)
{
    if (size > total)
        return NULL;
    size = (size + sizeof(size_t) + ALIGN - 1) / ALIGN * ALIGN;
    if (size < SMALLEST)
        size = SMALLEST;
    struct block *block = find(size);
    if (!block)
        return NULL;
    take_from_list(block);
    size_t rest = size_of(block) - size;
    if (rest >= SMALLEST) {
        block->size -= rest;
        struct block *remainder = after(block);
        remainder->size = rest;
        put_in_list(remainder);
    }
    return &block->next;
}

void heap_free(void *memory)
{
    if (!memory)
        return;
    struct block *block = (struct block *)((uintptr_t)memory - offsetof(struct block, next));
    if (block->size & FREE_BEFORE) {
        struct block *before = block->before;
        take_from_list(before);
        before->size += size_of(block);
        block = before;
    }
    struct block *next = after(block);
    if (next->size & FREE) {
        take_from_list(next);
        block->size += size_of(next);
    }
    put_in_list(block);
}

/* The first word of the next block is the last of this one. */
size_t heap_usable(const void *memory)
{
    const struct block *block =
        (const struct block *)((uintptr_t)memory - offsetof(struct block, next));
    return size_of(block) - sizeof(size_t);
}

size_t heap_left(void)
{
    return left;
}

size_t heap_total(void)
{
    return total;
}
