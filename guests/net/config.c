#include "config.h"

#include <stdbool.h>
#include <stddef.h>

#include "console.h"
#include "options.h"
#include "runtime.h"

_Noreturn static void refuse(const char *takes, struct option value)
{
    print("%s, not: ", takes);
    print_text(value.text, value.length);
    print("\n");
    guest_exit(2);
}

/* A decimal number up to 255 at the start of *text, which moves behind it. */
static bool take_number(struct option *text, uint32_t *number)
{
    size_t digits = 0;
    *number = 0;
    for (; digits < text->length && digits < 3; digits++) {
        uint32_t digit = (uint32_t)(text->text[digits] - '0');
        if (digit > 9)
            break;
        *number = *number * 10 + digit;
    }
    text->text += digits;
    text->length -= digits;
    return digits && *number <= 255;
}

static bool take(struct option *text, char expected)
{
    if (!text->length || *text->text != expected)
        return false;
    text->text++;
    text->length--;
    return true;
}

static bool take_address(struct option *text, uint32_t *address)
{
    *address = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint32_t number;
        if ((i && !take(text, '.')) || !take_number(text, &number))
            return false;
        *address = *address << 8 | number;
    }
    return true;
}

/* A host's address, neither that of the network nor the broadcast address. */
static bool is_host(uint32_t address, uint32_t mask)
{
    uint32_t first = address >> 24;
    if (!first || first == 127 || first >= 224)
        return false;
    return ~mask <= 1 || ((address & ~mask) && (address & ~mask) != ~mask);
}

static struct config read_address(void)
{
    static const char takes[] = "--ipv4 takes a host's ADDRESS/LENGTH, like 10.0.0.2/24";
    struct option value = option_text("ipv4"), text = value;
    if (!value.text) {
        print("no address: %s\n", takes);
        guest_exit(2);
    }
    struct config config = {0};
    uint32_t length;
    if (!take_address(&text, &config.address) || !take(&text, '/') ||
        !take_number(&text, &length) || text.length || length < 1 || length > 32)
        refuse(takes, value);
    config.mask = 0xffffffffu << (32 - length);
    if (!is_host(config.address, config.mask))
        refuse(takes, value);
    return config;
}

struct config config_read(void)
{
    struct config config = read_address();
    struct option value = option_text("ipv4-gateway"), text = value;
    if (!value.text)
        return config;
    if (!take_address(&text, &config.gateway) || text.length ||
        !is_host(config.gateway, config.mask) || config.gateway == config.address ||
        (config.gateway ^ config.address) & config.mask)
        refuse("--ipv4-gateway takes the address of another host in the network of --ipv4", value);
    return config;
}
