/* Clients of the server, driven by the fuzzer: commands from a dictionary, raw bytes, slow readers,
 * time, restarts, crashes. Replies must be RESP2 and as many as commands; the store must be
 * consistent, and the same after a restart; after a crash the last command has happened altogether
 * or not at all. */
#include "check.h"
#include "world.h"

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum action {
    ACT_COMMAND, /* twice as likely as the others */
    ACT_COMMAND_AGAIN,
    ACT_RAW,
    ACT_READ,
    ACT_TIME,
    ACT_RESTART,
    ACT_CRASH,
    ACTIONS,
};

enum {
    ARGUMENTS_MAX = 16,
    COMMAND_MAX = 256 << 10,
    WRITES = 64, /* of one command to the disk, about */
};

static const char *const words[] = {
    "APPEND", "AUTH", "CLIENT", "COMMAND", "CONFIG", "COPY", "DBSIZE", "DECR", "DECRBY", "DEL",
    "DISCARD", "ECHO", "EXEC", "EXISTS", "EXPIRE", "EXPIREAT", "EXPIRETIME", "FLUSHALL", "FLUSHDB",
    "GET", "GETDEL", "GETEX", "GETRANGE", "GETSET", "HELLO", "INCR", "INCRBY", "INCRBYFLOAT",
    "INFO", "KEYS", "MGET", "MSET", "MSETNX", "MULTI", "PERSIST", "PEXPIRE", "PEXPIREAT",
    "PEXPIRETIME", "PING", "PSETEX", "PTTL", "RANDOMKEY", "RENAME", "RENAMENX", "RESET", "SCAN",
    "SELECT", "SET", "SETEX", "SETNX", "SETRANGE", "STRLEN", "SUBSTR", "TIME", "TOUCH", "TTL",
    "TYPE", "UNLINK", "UNWATCH", "WATCH",
    /* what they are given */
    "EX", "PX", "EXAT", "PXAT", "NX", "XX", "GT", "LT", "KEEPTTL", "REPLACE", "MATCH", "COUNT",
    "SETNAME", "GETNAME", "LIST", "ID", "KILL", "DOCS", "GETKEYS", "save", "append*", "", "0", "1",
    "2", "-1", "50", "200000", "9223372036854775807", "-9223372036854775808",
    "12345678901234567890", "1e99", "-1e-4950", "3.0000001", "*", "?", "[a-c]", "[^a]*", "\\a*",
    "a", "b", "c", "d", "key:1", "key:2", "key:3", "value", "keyspace",
};
enum { WORDS = sizeof words / sizeof *words };

struct input {
    const uint8_t *at, *end;
};

static struct peer {
    size_t commands;
    bool raw; /* has sent what is no command, so that its replies cannot be counted */
} peers[PEERS];

static uint8_t next(struct input *input)
{
    return input->at < input->end ? *input->at++ : 0;
}

static size_t put(uint8_t *to, const void *data, size_t length)
{
    memcpy(to, data, length);
    return length;
}

static size_t put_head(uint8_t *to, char kind, size_t value)
{
    char digits[12];
    size_t at = sizeof digits;
    digits[--at] = '\n';
    digits[--at] = '\r';
    do
        digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    digits[--at] = kind;
    return put(to, digits + at, sizeof digits - at);
}

/* A word, or as many bytes as the next byte of input says, of which longer ones are filled up. */
static size_t put_argument(uint8_t *to, struct input *input)
{
    uint8_t choice = next(input);
    size_t length, used;
    if (choice < WORDS) {
        length = strlen(words[choice]);
        used = put_head(to, '$', length);
        used += put(to + used, words[choice], length);
    } else {
        length = (size_t)next(input) * (choice % 4 == 0 ? 64 : 1);
        used = put_head(to, '$', length);
        memset(to + used, next(input), length);
        used += length;
    }
    return used + put(to + used, "\r\n", 2);
}

static void send_command(unsigned peer, struct input *input)
{
    static uint8_t command[COMMAND_MAX];
    size_t count = 1 + next(input) % ARGUMENTS_MAX;
    size_t used = put_head(command, '*', count);
    for (size_t i = 0; i < count; i++)
        used += put_argument(command + used, input);
    peer_send(peer, command, used);
    peers[peer].commands++;
}

static void send_raw(unsigned peer, struct input *input)
{
    size_t length = next(input), left = (size_t)(input->end - input->at);
    if (length > left)
        length = left;
    peer_send(peer, input->at, length);
    input->at += length;
    peers[peer].raw = true;
}

static void check_peers(void)
{
    for (unsigned i = 0; i < PEERS; i++) {
        bool closed = peer_drain(i);
        if (!peers[i].raw && !closed)
            CHECK(peer_replies(i) == peers[i].commands);
    }
}

static void act(struct input *input)
{
    uint8_t what = next(input);
    unsigned peer = what % PEERS;
    switch ((enum action)(what / PEERS % ACTIONS)) {
    case ACT_RAW:
        send_raw(peer, input);
        break;
    case ACT_READ:
        peer_read(peer, next(input));
        break;
    case ACT_TIME:
        world_pass_time(next(input));
        break;
    case ACT_RESTART:
        check_peers();
        world_restart();
        memset(peers, 0, sizeof peers);
        break;
    case ACT_CRASH:
        check_peers();
        world_crash_at(1 + next(input) % WRITES);
        send_command(peer, input);
        if (world_crash())
            memset(peers, 0, sizeof peers);
        break;
    default:
        send_command(peer, input);
    }
}

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count;
    (void)arguments;
    world_start();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, data + size};
    memset(peers, 0, sizeof peers);
    while (input.at < input.end)
        act(&input);
    check_peers();
    store_check();
    world_reset();
    return 0;
}
