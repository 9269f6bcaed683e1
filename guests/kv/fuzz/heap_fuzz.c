/* heap.c: allocations do not overlap, and memory comes back whole. */
#include "check.h"
#include "heap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    MEMORY = 1 << 20,
    POINTERS = 64,
    EDGE = 32,    /* where every byte is looked at ... */
    STRIDE = 509, /* ... and how many are passed over elsewhere */
};

static uint8_t memory[MEMORY];

struct allocation {
    uint8_t *at;
    size_t size;
};

static void allocate(struct allocation *allocation, size_t size, uint8_t mark)
{
    allocation->at = heap_allocate(size);
    allocation->size = size;
    if (!allocation->at)
        return;
    CHECK((uintptr_t)allocation->at % 16 == 0);
    CHECK(allocation->at >= memory && allocation->at + size <= memory + MEMORY);
    CHECK(heap_usable(allocation->at) >= size);
    allocation->size = heap_usable(allocation->at);
    memset(allocation->at, mark, allocation->size);
}

static void release(struct allocation *allocation, uint8_t mark)
{
    for (size_t i = 0; allocation->at && i < allocation->size; i += i < EDGE ? 1 : STRIDE)
        CHECK(allocation->at[i] == mark);
    CHECK(!allocation->at || allocation->at[allocation->size - 1] == mark);
    heap_free(allocation->at);
    allocation->at = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct allocation allocations[POINTERS] = {0};
    static bool started;
    if (!started)
        heap_start((uintptr_t)memory, (uintptr_t)memory + MEMORY);
    started = true;
    for (size_t i = 0; i + 2 < size; i += 3) {
        uint8_t mark = data[i] % POINTERS;
        release(&allocations[mark], mark);
        if (data[i] < 200)
            allocate(&allocations[mark], (size_t)data[i + 1] << data[i + 2] % 13, mark);
    }
    for (uint8_t mark = 0; mark < POINTERS; mark++)
        release(&allocations[mark], mark);
    CHECK(heap_left() == heap_total());
    void *all = heap_allocate(heap_total() / 4 * 3);
    CHECK(all);
    heap_free(all);
    return 0;
}
