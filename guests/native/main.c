/* Runs a guest without devices and clocks as a program of the host, compiled as the guest is; its
 * command line is the first argument. */
#include <stdlib.h>
#include <unistd.h>

#include "boot.h"
#include "console.h"
#include "hypercall.h"
#include "options.h"
#include "runtime.h"

void hypercall_puts(const char *text, size_t length)
{
    if (write(STDOUT_FILENO, text, length) != (ssize_t)length)
        abort();
}

void hypercall_halt(int32_t status, const void *cookie)
{
    (void)cookie;
    exit(status);
}

void guest_exit(int32_t status)
{
    print_flush();
    hypercall_halt(status, NULL);
}

int main(int argc, char **argv)
{
    static const struct boot_info boot;
    options_start(argc > 1 ? argv[1] : "");
    guest_exit(guest_main(&boot));
}
