/* One connection: the request that is arriving, and the reply that is leaving. */
#ifndef CLIENT_H
#define CLIENT_H

#include "reply.h"
#include "request.h"
#include "transaction.h"

enum {
    PORT = 6379,
    CLIENT_NAME_MAX = 64,
};

struct client {
    struct reply reply;
    struct request request;
    uint8_t *pieces; /* of a request that did not come in one */
    size_t pieces_size, pieces_used;
    bool quit; /* close when the reply has left */
    bool authenticated;
    bool silent;    /* CLIENT REPLY OFF */
    bool skip_next; /* CLIENT REPLY SKIP */
    uint64_t id;
    uint64_t opened, active; /* net_now */
    const struct command *command; /* the latest */
    struct transaction transaction;
    size_t name_length;
    char name[CLIENT_NAME_MAX];
};

/* The open connection with this index (tcp_index), or NULL. */
struct client *client_at(unsigned index);
size_t client_count(void);

/* Nanoseconds since the epoch, the same throughout a request. */
uint64_t wall_clock(void);

#endif
