/* The commands, and how one is found by its name. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "client.h"

typedef void command_function(struct client *client, const struct bytes *arguments, size_t count);

struct command {
    const char *name; /* in small letters; of a subcommand: "command|subcommand" */
    int arguments;    /* with the name; -N: N or more */
    command_function *run; /* without a subcommand; NULL: it needs one */
    const char *flags;     /* as COMMAND INFO tells them, with a blank between */
    int first_key, last_key, key_step; /* indices of arguments; -1: the last one */
    const char *group, *since, *summary;
    const struct command *subcommands; /* up to one without a name; NULL: it has none */
};

/* command_table.c; ends with one without a name. */
extern const struct command command_table[];

void commands_start(void);
size_t commands_count(void);
uint64_t commands_run(void);
void commands_reset_count(void);

/* NULL if there is none with this name. */
const struct command *command_find(struct bytes name);
/* The command or subcommand that a request is for, or NULL. */
const struct command *command_resolve(const struct bytes *arguments, size_t count);
bool command_takes(const struct command *command, size_t arguments);

/* count > 0; arguments[0] is the name. */
void command_run(struct client *client, const struct bytes *arguments, size_t count);
/* What may be run, at once. */
void command_call(struct client *client, const struct command *command,
                  const struct bytes *arguments, size_t count);
/* Replies with this error (without its dash), and spoils the transaction that is open. */
void command_refuse(struct client *client, const char *why);

/* Replies with an error if the text is no number. */
bool argument_number(struct client *client, struct bytes text, int64_t *value);
/* The same if it is not 0, which is the only database. */
bool argument_database(struct client *client, struct bytes text);

/* clients.c */
command_function client_getname, client_id, client_info, client_kill, client_list, client_reply,
    client_setinfo, client_setname;
/* connection.c */
command_function command_auth, command_echo, command_hello, command_ping, command_quit,
    command_reset, command_select;
/* counters.c */
command_function command_decr, command_decrby, command_incr, command_incrby, command_incrbyfloat;
/* expire.c */
command_function command_expire, command_expireat, command_expiretime, command_persist,
    command_pexpire, command_pexpireat, command_pexpiretime, command_pttl, command_ttl;
/* info.c */
command_function command_info, command_time;
/* introspection.c */
command_function command_command, introspect_count, introspect_docs, introspect_getkeys,
    introspect_help, introspect_info, introspect_list;
/* keys.c */
command_function command_copy, command_del, command_exists, command_flushall, command_randomkey,
    command_rename, command_renamenx, command_type;
/* listing.c */
command_function command_dbsize, command_keys, command_scan;
/* set.c */
command_function command_getdel, command_getex, command_getset, command_psetex, command_set,
    command_setex, command_setnx;
/* settings.c */
command_function config_get, config_resetstat, config_set;
/* strings.c */
command_function command_append, command_get, command_getrange, command_mget, command_mset,
    command_msetnx, command_setrange, command_strlen;
/* transaction.c */
command_function command_discard, command_exec, command_multi, command_unwatch, command_watch;

#endif
