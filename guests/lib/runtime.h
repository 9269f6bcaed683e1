#ifndef RUNTIME_H
#define RUNTIME_H

#include <stdint.h>

/* Emits what is left of the console's line and ends the guest. */
_Noreturn void guest_exit(int32_t status);

#endif
