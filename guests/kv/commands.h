/* The commands, and how one is found by its name. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "client.h"

typedef void command_function(struct client *client, const struct bytes *arguments, size_t count);

struct command {
    const char *name; /* in capitals */
    int arguments;    /* with the name; -N: N or more */
    command_function *run;
};

void commands_start(void);
size_t commands_count(void);
uint64_t commands_run(void);

/* count > 0; arguments[0] is the name. */
void command_run(struct client *client, const struct bytes *arguments, size_t count);

/* Replies with an error if the text is no number. */
bool argument_number(struct client *client, struct bytes text, int64_t *value);

/* strings.c */
command_function command_append, command_decr, command_decrby, command_get, command_incr,
    command_incrby, command_mget, command_mset, command_set, command_strlen;
/* keys.c */
command_function command_del, command_exists, command_expire, command_flushall, command_persist,
    command_pexpire, command_pttl, command_ttl, command_type;
/* listing.c */
command_function command_dbsize, command_keys, command_scan;
/* server_commands.c */
command_function command_client, command_command, command_config, command_echo, command_hello,
    command_info, command_ping, command_quit, command_select;

#endif
