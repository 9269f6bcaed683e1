#include "manifest.h"

#include "memory.h"

uint64_t device_find(const struct manifest *manifest, const char *name)
{
    for (uint32_t handle = 1; handle < manifest->entries; handle++)
        if (string_equal(manifest->devices[handle].name, name))
            return handle;
    return 0;
}
