#include "transaction.h"

#include "change.h"
#include "commands.h"
#include "heap.h"
#include "journal.h"
#include "store.h"

enum {
    COMMANDS_MAX = 16384,
    QUEUE_MAX = 4 * REQUEST_MAX,
};

/* The arguments' bytes follow them. */
struct queued {
    struct queued *next;
    const struct command *command;
    size_t count;
    struct bytes arguments[];
};

static size_t size_of(const struct bytes *arguments, size_t count)
{
    size_t size = sizeof(struct queued) + count * sizeof *arguments;
    for (size_t i = 0; i < count; i++)
        size += arguments[i].length;
    return size;
}

static struct queued *copy(const struct command *command, const struct bytes *arguments,
                           size_t count, size_t size)
{
    struct queued *queued = heap_allocate(size);
    if (!queued)
        return NULL;
    *queued = (struct queued){.command = command, .count = count};
    uint8_t *at = (uint8_t *)&queued->arguments[count];
    for (size_t i = 0; i < count; i++) {
        memcpy(at, arguments[i].at, arguments[i].length);
        queued->arguments[i] = (struct bytes){at, arguments[i].length};
        at += arguments[i].length;
    }
    return queued;
}

void transaction_queue(struct client *client, const struct command *command,
                       const struct bytes *arguments, size_t count)
{
    struct transaction *transaction = &client->transaction;
    size_t size = size_of(arguments, count);
    if (transaction->count == COMMANDS_MAX || transaction->size + size > QUEUE_MAX) {
        command_refuse(client, "ERR transaction exceeds maximum allowed size (16 MiB)");
        return;
    }
    struct queued *queued = copy(command, arguments, count, size);
    if (!queued) {
        command_refuse(client, "OOM no memory to queue the command");
        return;
    }
    *transaction->end = queued;
    transaction->end = &queued->next;
    transaction->count++;
    transaction->size += size;
    reply_text(&client->reply, "+QUEUED\r\n");
}

static void drop_queue(struct transaction *transaction)
{
    for (struct queued *queued = transaction->first, *next; queued; queued = next) {
        next = queued->next;
        heap_free(queued);
    }
    transaction->first = NULL;
}

void transaction_drop(struct transaction *transaction)
{
    drop_queue(transaction);
    watch_forget(&transaction->watcher);
    *transaction = (struct transaction){0};
}

void command_multi(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    struct transaction *transaction = &client->transaction;
    if (transaction->open) {
        reply_error(&client->reply, "ERR MULTI calls can not be nested");
        return;
    }
    transaction->open = true;
    transaction->end = &transaction->first;
    reply_ok(&client->reply);
}

void command_discard(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    if (!client->transaction.open) {
        reply_error(&client->reply, "ERR DISCARD without MULTI");
        return;
    }
    transaction_drop(&client->transaction);
    reply_ok(&client->reply);
}

static void run(struct client *client, struct transaction *transaction)
{
    if (!reply_promise(&client->reply, transaction->count))
        return;
    reply_array(&client->reply, transaction->count);
    journal_begin();
    for (struct queued *queued = transaction->first; queued; queued = queued->next) {
        reply_redeem(&client->reply);
        command_call(client, queued->command, queued->arguments, queued->count);
    }
    journal_end();
}

/* One that has expired changes thereby. */
static void look_up(struct bytes key)
{
    store_find(key);
}

void command_exec(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    struct transaction transaction = client->transaction;
    if (!transaction.open) {
        reply_error(&client->reply, "ERR EXEC without MULTI");
        return;
    }
    watch_each(&client->transaction.watcher, look_up);
    bool touched = client->transaction.watcher.touched;
    watch_forget(&client->transaction.watcher);
    client->transaction = (struct transaction){0};
    if (transaction.spoiled)
        reply_error(&client->reply,
                    "EXECABORT Transaction discarded because of previous errors.");
    else if (touched)
        reply_nil_array(&client->reply);
    else
        run(client, &transaction);
    drop_queue(&transaction);
}

void command_watch(struct client *client, const struct bytes *arguments, size_t count)
{
    if (client->transaction.open) {
        reply_error(&client->reply, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    for (size_t i = 1; i < count; i++) {
        store_find(arguments[i]);
        if (!watch_add(&client->transaction.watcher, store_hash(arguments[i]), arguments[i])) {
            reply_error(&client->reply, "OOM no memory to watch more keys");
            return;
        }
    }
    reply_ok(&client->reply);
}

void command_unwatch(struct client *client, const struct bytes *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    watch_forget(&client->transaction.watcher);
    reply_ok(&client->reply);
}
