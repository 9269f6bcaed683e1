#include "settings.h"

#include "commands.h"
#include "console.h"
#include "glob.h"
#include "journal.h"
#include "net.h"
#include "number.h"
#include "options.h"
#include "runtime.h"
#include "store.h"

enum { PASSWORD_MAX = 512 };

static uint8_t password[PASSWORD_MAX];
static size_t password_length;

static bool is_password(struct bytes text)
{
    return text.length <= PASSWORD_MAX;
}

static void set_password(struct bytes text)
{
    memcpy(password, text.at, text.length);
    password_length = text.length;
}

void settings_start(void)
{
    struct option option = option_text("requirepass");
    struct bytes text = {(const uint8_t *)option.text, option.length};
    if (!text.at)
        return;
    if (!is_password(text)) {
        print("--requirepass takes up to %u characters\n", (unsigned)PASSWORD_MAX);
        guest_exit(2);
    }
    set_password(text);
}

struct bytes settings_password(void)
{
    return (struct bytes){password, password_length};
}

bool settings_password_is(struct bytes text)
{
    size_t differences = text.length ^ password_length;
    for (size_t i = 0; i < text.length; i++)
        differences |= password_length ? text.at[i] ^ password[i % password_length] : 1;
    return !differences;
}

/* CONFIG */

enum {
    NUMBER_TEXT_MAX = 24,
    PATTERN_MAX = 128,
};

struct setting {
    const char *name; /* NULL behind the last one */
    struct bytes value;
    bool (*valid)(struct bytes value); /* NULL: it stays as it is */
    void (*set)(struct bytes value);
    const char *takes;
};

static struct bytes number_text(char text[NUMBER_TEXT_MAX], uint64_t number)
{
    return (struct bytes){(uint8_t *)text, format(text, NUMBER_TEXT_MAX, "%lu", number)};
}

/* Bytes, with a unit as redis has them. */
static bool parse_memory(struct bytes text, uint64_t *bytes)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = {
        {"", 1},        {"b", 1},        {"k", 1000},       {"kb", 1 << 10},
        {"m", 1000000}, {"mb", 1 << 20}, {"g", 1000000000}, {"gb", 1 << 30},
    };
    struct bytes number = text;
    while (number.length && number.at[number.length - 1] > '9')
        number.length--;
    struct bytes unit = {text.at + number.length, text.length - number.length};
    int64_t value;
    if (!number_parse(number, &value) || value < 0)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (bytes_spell(unit, units[i].name))
            return !__builtin_mul_overflow((uint64_t)value, units[i].factor, bytes);
    return false;
}

static bool is_memory(struct bytes text)
{
    uint64_t bytes;
    return parse_memory(text, &bytes);
}

static void set_memory(struct bytes text)
{
    uint64_t bytes;
    if (parse_memory(text, &bytes))
        store_set_limit(bytes);
}

/* As they are now. */
static const struct setting *settings(void)
{
    static char clients[NUMBER_TEXT_MAX], memory[NUMBER_TEXT_MAX], length[NUMBER_TEXT_MAX];
    static struct setting list[9];
    const struct setting now[] = {
        {"appendonly", bytes_of(journal_active() ? "yes" : "no"), NULL, NULL, NULL},
        {"databases", LITERAL("1"), NULL, NULL, NULL},
        {"maxclients", number_text(clients, TCP_CONNECTIONS), NULL, NULL, NULL},
        {"maxmemory", number_text(memory, store_limit()), is_memory, set_memory,
         "argument must be a memory value"},
        {"maxmemory-policy", LITERAL("noeviction"), NULL, NULL, NULL},
        {"proto-max-bulk-len", number_text(length, VALUE_MAX), NULL, NULL, NULL},
        {"requirepass", settings_password(), is_password, set_password,
         "at most 512 characters"},
        {"save", LITERAL(""), NULL, NULL, NULL},
        {0},
    };
    _Static_assert(sizeof list == sizeof now, "room for all");
    memcpy(list, now, sizeof now);
    return list;
}

static bool asked_for(const struct setting *setting, const struct bytes *patterns, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t pattern[PATTERN_MAX];
        size_t length = 0;
        for (; length < patterns[i].length && length < PATTERN_MAX; length++) {
            uint8_t c = patterns[i].at[length];
            pattern[length] = c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
        }
        if (glob_match((struct bytes){pattern, length}, bytes_of(setting->name)))
            return true;
    }
    return false;
}

void config_get(struct client *client, const struct bytes *arguments, size_t count)
{
    const struct setting *all = settings(), *setting;
    size_t matching = 0;
    for (setting = all; setting->name; setting++)
        matching += asked_for(setting, arguments + 2, count - 2);
    if (!reply_reserve(&client->reply, 2 * REPLY_SMALL + PASSWORD_MAX))
        return;
    reply_map(&client->reply, matching);
    for (setting = all; setting->name; setting++) {
        if (asked_for(setting, arguments + 2, count - 2)) {
            reply_bulk(&client->reply, bytes_of(setting->name));
            reply_bulk(&client->reply, setting->value);
        }
    }
}

static const struct setting *find(struct bytes name)
{
    const struct setting *setting = settings();
    while (setting->name && !bytes_spell(name, setting->name))
        setting++;
    return setting->name ? setting : NULL;
}

/* What stays as it is may be set to what it is. */
static bool can_set(struct client *client, struct bytes name, struct bytes value)
{
    const struct setting *setting = find(name);
    if (!setting) {
        reply_error_about(&client->reply,
                          "ERR Unknown option or number of arguments for CONFIG SET - '%s'", name);
        return false;
    }
    bool can = setting->valid ? setting->valid(value) : bytes_equal(value, setting->value);
    if (!can)
        reply_error(&client->reply,
                    "ERR CONFIG SET failed (possibly related to argument '%s') - %s",
                    setting->name, setting->valid ? setting->takes : "can't set immutable config");
    return can;
}

/* All of them, or none. */
void config_set(struct client *client, const struct bytes *arguments, size_t count)
{
    if (count % 2) {
        reply_syntax_error(&client->reply);
        return;
    }
    for (size_t i = 2; i < count; i += 2)
        if (!can_set(client, arguments[i], arguments[i + 1]))
            return;
    for (size_t i = 2; i < count; i += 2) {
        const struct setting *setting = find(arguments[i]);
        if (setting->set)
            setting->set(arguments[i + 1]);
    }
    reply_ok(&client->reply);
}

void config_resetstat(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    commands_reset_count();
    reply_ok(&client->reply);
}
