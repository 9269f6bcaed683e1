/* CLIENT: the connections that there are. */
#include "clients.h"

#include "commands.h"
#include "console.h"
#include "net.h"
#include "number.h"
#include "options.h"

bool client_set_name(struct client *client, struct bytes name)
{
    bool valid = true;
    for (size_t i = 0; valid && i < name.length; i++)
        valid = name.at[i] > ' ' && name.at[i] <= '~';
    if (!valid)
        reply_error(&client->reply, "ERR Client names cannot contain spaces, newlines or special "
                                    "characters.");
    else if (name.length > CLIENT_NAME_MAX)
        reply_error(&client->reply, "ERR a client's name is at most %u characters",
                    (unsigned)CLIENT_NAME_MAX);
    if (!valid || name.length > CLIENT_NAME_MAX)
        return false;
    memcpy(client->name, name.at, name.length);
    client->name_length = name.length;
    return true;
}

void client_setname(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    if (client_set_name(client, arguments[2]))
        reply_ok(&client->reply);
}

void client_getname(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    if (client->name_length)
        reply_value(&client->reply, (struct bytes){(const uint8_t *)client->name,
                                                   client->name_length});
    else
        reply_nil(&client->reply);
}

void client_setinfo(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    reply_ok(&client->reply);
}

void client_id(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    reply_integer(&client->reply, (int64_t)client->id);
}

void client_reply(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)count;
    if (bytes_spell(arguments[2], "ON")) {
        client->silent = client->reply.muted = false;
        reply_ok(&client->reply);
    } else if (bytes_spell(arguments[2], "OFF")) {
        client->silent = client->reply.muted = true;
    } else if (bytes_spell(arguments[2], "SKIP")) {
        client->skip_next = client->reply.muted = true;
    } else {
        reply_syntax_error(&client->reply);
    }
}

/* What CLIENT LIST and INFO tell. */

enum {
    ADDRESS_MAX = 24,
    LINE_MAX = 384,
};

static size_t print_address(char text[ADDRESS_MAX], const struct client *client)
{
    struct endpoint peer = tcp_peer(client->reply.connection);
    return format(text, ADDRESS_MAX, "%u.%u.%u.%u:%u", peer.address >> 24,
                  peer.address >> 16 & 255, peer.address >> 8 & 255, peer.address & 255,
                  (unsigned)peer.port);
}

/* The server's own, the same for all. */
static void print_own_address(char text[ADDRESS_MAX])
{
    struct option option = option_text("ipv4");
    size_t length = 0;
    while (length < option.length && option.text[length] != '/')
        length++;
    bytes_copy(text, ADDRESS_MAX, (struct bytes){(const uint8_t *)option.text, length});
    format(text + length, ADDRESS_MAX - length, ":%u", (unsigned)PORT);
}

static uint64_t seconds_since(uint64_t then)
{
    return (net_now() - then) / 1000000000;
}

static size_t print_client(char text[LINE_MAX], const struct client *client)
{
    char name[CLIENT_NAME_MAX + 1], address[ADDRESS_MAX], own_address[ADDRESS_MAX];
    memcpy(name, client->name, client->name_length);
    name[client->name_length] = '\0';
    print_address(address, client);
    print_own_address(own_address);
    const struct transaction *transaction = &client->transaction;
    char queued[NUMBER_MAX];
    number_print(queued, transaction->open ? (int64_t)transaction->count : -1);
    return format(text, LINE_MAX,
                  "id=%lu addr=%s laddr=%s name=%s age=%lu idle=%lu flags=%s db=0 multi=%s "
                  "omem=%lu cmd=%s user=default resp=%d\n",
                  client->id, address, own_address, name, seconds_since(client->opened),
                  seconds_since(client->active), transaction->open ? "x" : "N", queued,
                  client->reply.used, client->command ? client->command->name : "NULL",
                  client->reply.resp3 ? 3 : 2);
}

void client_info(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    char text[LINE_MAX];
    size_t length = print_client(text, client);
    reply_value(&client->reply, (struct bytes){(const uint8_t *)text, length});
}

/* What CLIENT LIST and KILL choose by. */
struct filter {
    const struct bytes *ids; /* those of `id_count` */
    size_t id_count;
    uint64_t id; /* 0: any */
    struct bytes address; /* at NULL: any */
    bool nobody;          /* asked for what no client here is */
    bool not_me;
};

static bool among(const struct bytes *ids, size_t count, uint64_t id)
{
    int64_t number;
    for (size_t i = 0; i < count; i++)
        if (number_parse(ids[i], &number) && (uint64_t)number == id)
            return true;
    return false;
}

static bool chosen(const struct client *me, const struct client *client,
                   const struct filter *filter)
{
    char address[ADDRESS_MAX];
    print_address(address, client);
    return !filter->nobody && !client->quit && !(filter->not_me && client == me) &&
           (!filter->ids || among(filter->ids, filter->id_count, client->id)) &&
           (!filter->id || client->id == filter->id) &&
           (!filter->address.at || bytes_equal(filter->address, bytes_of(address)));
}

/* The next one from this index on that is chosen; NULL: there is none. */
static struct client *next_client(const struct client *me, unsigned *index,
                                  const struct filter *filter)
{
    while (*index < TCP_CONNECTIONS) {
        struct client *client = client_at((*index)++);
        if (client && chosen(me, client, filter))
            return client;
    }
    return NULL;
}

static bool parse_type(struct client *client, struct bytes type, struct filter *filter)
{
    static const char *const others[] = {"SLAVE", "REPLICA", "PUBSUB", "MASTER"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (bytes_spell(type, others[i]))
            return filter->nobody = true;
    if (bytes_spell(type, "NORMAL"))
        return true;
    reply_error_about(&client->reply, "ERR Unknown client type '%s'", type);
    return false;
}

static bool parse_list(struct client *client, const struct bytes *arguments, size_t count,
                       struct filter *filter)
{
    if (count == 2)
        return true;
    if (count == 4 && bytes_spell(arguments[2], "TYPE"))
        return parse_type(client, arguments[3], filter);
    if (count < 4 || !bytes_spell(arguments[2], "ID")) {
        reply_syntax_error(&client->reply);
        return false;
    }
    filter->ids = arguments + 3;
    filter->id_count = count - 3;
    int64_t id;
    for (size_t i = 3; i < count; i++) {
        if (!number_parse(arguments[i], &id)) {
            reply_error(&client->reply, "ERR Invalid client ID");
            return false;
        }
    }
    return true;
}

void client_list(struct client *client, const struct bytes *arguments, size_t count)
{
    struct filter filter = {0};
    if (!parse_list(client, arguments, count, &filter))
        return;
    char text[LINE_MAX];
    size_t length = 0;
    const struct client *each;
    for (unsigned i = 0; (each = next_client(client, &i, &filter));)
        length += print_client(text, each);
    if (!reply_reserve(&client->reply, length + REPLY_SMALL))
        return;
    reply_bulk_head(&client->reply, length);
    for (unsigned i = 0; (each = next_client(client, &i, &filter));)
        reply_part(&client->reply, (struct bytes){(uint8_t *)text, print_client(text, each)});
    reply_text(&client->reply, "\r\n");
}

/* One option of CLIENT KILL, and its value. */
static bool parse_kill_option(struct client *client, struct bytes option, struct bytes value,
                              struct filter *filter)
{
    int64_t id;
    if (bytes_spell(option, "ID")) {
        bool valid = number_parse(value, &id) && id > 0;
        if (!valid)
            reply_error(&client->reply, "ERR client-id should be greater than 0");
        filter->id = valid ? (uint64_t)id : 0;
        return valid;
    }
    if (bytes_spell(option, "TYPE"))
        return parse_type(client, value, filter);
    if (bytes_spell(option, "USER")) {
        bool known = bytes_equal(value, LITERAL("default"));
        if (!known)
            reply_error_about(&client->reply, "ERR No such user '%s'", value);
        return known;
    }
    if (bytes_spell(option, "ADDR")) {
        filter->address = value;
        return true;
    }
    if (bytes_spell(option, "LADDR")) {
        char own_address[ADDRESS_MAX];
        print_own_address(own_address);
        filter->nobody |= !bytes_equal(value, bytes_of(own_address));
        return true;
    }
    bool skip = bytes_spell(value, "YES");
    if (bytes_spell(option, "SKIPME") && (skip || bytes_spell(value, "NO"))) {
        filter->not_me = skip;
        return true;
    }
    reply_syntax_error(&client->reply);
    return false;
}

static bool parse_kill(struct client *client, const struct bytes *arguments, size_t count,
                       struct filter *filter)
{
    for (size_t i = 2; i < count; i += 2) {
        if (i + 1 == count) {
            reply_syntax_error(&client->reply);
            return false;
        }
        if (!parse_kill_option(client, arguments[i], arguments[i + 1], filter))
            return false;
    }
    return true;
}

static int64_t kill(struct client *client, const struct filter *filter)
{
    int64_t killed = 0;
    struct client *each;
    for (unsigned i = 0; (each = next_client(client, &i, filter)); killed++) {
        if (each != client)
            tcp_abort(each->reply.connection);
        each->quit = true;
    }
    return killed;
}

/* With one argument that is an address, one's own, too. */
void client_kill(struct client *client, const struct bytes *arguments, size_t count)
{
    struct filter filter = {.not_me = count > 3};
    if (count == 3)
        filter.address = arguments[2];
    else if (!parse_kill(client, arguments, count, &filter))
        return;
    int64_t killed = kill(client, &filter);
    if (count > 3)
        reply_integer(&client->reply, killed);
    else if (killed)
        reply_ok(&client->reply);
    else
        reply_error(&client->reply, "ERR No such client");
}
