/* A line of words, as people type them. */
#ifndef WORDS_H
#define WORDS_H

#include "bytes.h"

enum { WORDS_LINE_MAX = 64 << 10 };

/* Takes the next word of the line, which begins behind it afterwards: "..." with \n \r \t \b \a
 * \xHH, '...' with \', or up to the next blank. Its bytes go to `to`, which has room for the line.
 * Returns false at the end of the line; *balanced becomes false where quotes do not close, or close
 * within a word. */
bool words_next(struct bytes *line, uint8_t *to, size_t *length, bool *balanced);

#endif
