/* What marks an ELF file as a Solo5 hvt image of ABI version 2; the manifest is the guest's own. */
#include <stdint.h>

const char interpreter[] __attribute__((section(".interp"), used)) = "/nonexistent/solo5/";

const struct {
    uint32_t name_size, size, type;
    char owner[8];
    uint32_t target, version, reserved[2];
} abi_note __attribute__((section(".note.solo5.abi"), used, aligned(4))) = {
    .name_size = 6,
    .size = 16,
    .type = 0x31494241,
    .owner = "Solo5",
    .target = 1,
    .version = 2,
};
