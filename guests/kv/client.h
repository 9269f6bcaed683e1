/* One connection: the request that is arriving, and the reply that is leaving. */
#ifndef CLIENT_H
#define CLIENT_H

#include "reply.h"
#include "request.h"

enum { CLIENT_NAME_MAX = 64 };

struct client {
    struct reply reply;
    struct request request;
    uint8_t *pieces; /* of a request that did not come in one */
    size_t pieces_size, pieces_used;
    bool quit; /* close when the reply has left */
    uint64_t id;
    size_t name_length;
    char name[CLIENT_NAME_MAX];
};

/* The open connection with this index (tcp_index), or NULL. */
const struct client *client_at(unsigned index);
size_t client_count(void);

#endif
