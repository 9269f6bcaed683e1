/* What a client has queued between MULTI and EXEC, and which keys it watches. */
#ifndef TRANSACTION_H
#define TRANSACTION_H

#include "watch.h"

struct client;
struct command;

struct transaction {
    bool open;
    bool spoiled; /* a command was refused: nothing of it is to happen */
    struct queued *first, **end;
    size_t count, size; /* of what is queued */
    struct watcher watcher;
};

/* Replies that the command is queued, or why it cannot be. */
void transaction_queue(struct client *client, const struct command *command,
                       const struct bytes *arguments, size_t count);
/* Frees all of it. */
void transaction_drop(struct transaction *transaction);

#endif
