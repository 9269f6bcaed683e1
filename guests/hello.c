/* The smallest guest: greets, repeats its command line if there is one, and halts.
 *
 *   --status=N   the exit status (0) */
#include "boot.h"
#include "console.h"
#include "manifest.h"
#include "memory.h"
#include "options.h"

GUEST_MANIFEST();

int guest_main(const struct boot_info *boot)
{
    print("Hello from vlockstep\n");
    if (boot->command_line[0]) {
        print_text(boot->command_line, strlen(boot->command_line));
        print("\n");
    }
    return (int)option_number("status", 0, 255);
}
