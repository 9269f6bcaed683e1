/* What CONFIG shows and sets. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "bytes.h"

/* From --requirepass=. */
void settings_start(void);

/* Empty: none is needed. */
struct bytes settings_password(void);
/* In a time that does not depend on how much of it is right. */
bool settings_password_is(struct bytes password);

#endif
