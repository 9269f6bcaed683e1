/* The devices a guest declares (GUEST_MANIFEST) and what the tender attached to them. */
#ifndef MANIFEST_H
#define MANIFEST_H

#include <stdint.h>

enum device_type {
    DEVICE_BLOCK = 1,
    DEVICE_NET = 2,
    DEVICE_RESERVED = 0x40000000,
};

struct device {
    char name[68];
    uint32_t type;
    union {
        struct {
            uint64_t capacity; /* bytes */
            uint16_t block_size;
        } block;
        struct {
            uint8_t mac[6];
            uint16_t mtu;
        } net;
    };
    uint64_t tender_use;
    uint8_t attached;
    uint8_t padding[7];
};
_Static_assert(sizeof(struct device) == 104, "manifest entry");

struct manifest {
    uint32_t version;
    uint32_t entries;
    struct device devices[];
};

#define BLOCK_DEVICE(NAME) {.name = NAME, .type = DEVICE_BLOCK}
#define NET_DEVICE(NAME) {.name = NAME, .type = DEVICE_NET}
#define DEVICES(...) {{.type = DEVICE_RESERVED}, __VA_ARGS__}

/* At file scope, once per guest: GUEST_MANIFEST() or GUEST_MANIFEST(BLOCK_DEVICE("disk"), ...). */
#define GUEST_MANIFEST(...)                                                                        \
    const struct __attribute__((packed)) {                                                         \
        uint32_t name_size, size, type;                                                            \
        char owner[8];                                                                             \
        uint32_t padding, version, entries;                                                        \
        struct device                                                                              \
            devices[sizeof((struct device[])DEVICES(__VA_ARGS__)) / sizeof(struct device)];        \
    } manifest_note __attribute__((section(".note.solo5.manifest"), used, aligned(4))) = {         \
        .name_size = 6,                                                                            \
        .size = sizeof manifest_note - 20,                                                         \
        .type = 0x3154464d,                                                                        \
        .owner = "Solo5",                                                                          \
        .version = 1,                                                                              \
        .entries = sizeof manifest_note.devices / sizeof(struct device),                           \
        .devices = DEVICES(__VA_ARGS__),                                                           \
    }

/* The handle of the device with this name, or 0, which no device has. */
uint64_t device_find(const struct manifest *manifest, const char *name);

#endif
