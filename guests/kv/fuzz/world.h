/* The machine and the network beneath the server, in memory. */
#ifndef WORLD_H
#define WORLD_H

#include "bytes.h"

enum { PEERS = 4 };

/* Runs guest_main up to net_serve. */
void world_start(void);
/* Fresh connections, an empty store and a blank disk. */
void world_reset(void);
/* The guest starts again with the disk as it is; connections are lost. */
void world_restart(void);
/* The machine dies in the midst of this write to the disk, counted from 1 on; world_crash then
 * starts the guest again, in which what has run in between happened altogether or not at all.
 * False if there were not so many writes. */
void world_crash_at(unsigned write);
bool world_crash(void);
void world_pass_time(uint64_t milliseconds);

/* What a peer does; both let the server run. */
void peer_send(unsigned peer, const void *data, size_t length);
void peer_read(unsigned peer, size_t limit);
/* Reads on until nothing comes any more. True if the server has closed the connection. */
bool peer_drain(unsigned peer);
/* Whole replies so far. */
size_t peer_replies(unsigned peer);

#endif
