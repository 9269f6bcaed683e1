/* A binary heap: each is due no earlier than the one at half its place. Places count from 1. */
#include "tcp.h"

static uint16_t heap[1 + TCP_CONNECTIONS]; /* indices of connections */
static unsigned last;

void timers_start(void)
{
    last = 0;
}

static struct tcp *at(unsigned place)
{
    return &tcp_connections[heap[place]];
}

static void put(unsigned place, struct tcp *connection)
{
    heap[place] = (uint16_t)tcp_index(connection);
    connection->place = (uint16_t)place;
}

static unsigned earlier_child(unsigned place)
{
    unsigned child = 2 * place;
    return child < last && at(child + 1)->due < at(child)->due ? child + 1 : child;
}

/* Into a place that is free, or one above or below it. */
static void settle(unsigned place, struct tcp *connection)
{
    for (; place > 1 && connection->due < at(place / 2)->due; place /= 2)
        put(place, at(place / 2));
    for (;;) {
        unsigned child = earlier_child(place);
        if (child > last || at(child)->due >= connection->due)
            break;
        put(place, at(child));
        place = child;
    }
    put(place, connection);
}

static void take_out(struct tcp *connection)
{
    unsigned place = connection->place;
    connection->place = 0;
    struct tcp *moved = at(last--);
    if (moved != connection)
        settle(place, moved);
}

void timers_update(struct tcp *connection)
{
    if (connection->due)
        settle(connection->place ? connection->place : ++last, connection);
    else if (connection->place)
        take_out(connection);
}

struct tcp *timers_first(void)
{
    return last ? at(1) : NULL;
}
