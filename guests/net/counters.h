#ifndef NET_COUNTERS_H
#define NET_COUNTERS_H

#include "net.h"

extern struct net_counters counters;

#endif
