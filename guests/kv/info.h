#ifndef INFO_H
#define INFO_H

/* Whose commands and replies these are. */
#define REDIS_VERSION "7.0.0"

#endif
