#ifndef CLIENTS_H
#define CLIENTS_H

#include "client.h"

/* False after an error reply. */
bool client_set_name(struct client *client, struct bytes name);

#endif
