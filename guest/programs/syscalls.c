// SPDX-License-Identifier: GPL-2.0-or-later
// syscalls [COUNT]: makes COUNT system calls that do next to nothing (getppid), a load that is
// nearly all kernel. 10,000 unless told otherwise.
#include "freestanding.h"

int program(int argc, char** argv) {
    uint32_t count = number_argument(argc, argv, 10000, "usage: syscalls [COUNT]\n");
    for (uint32_t i = 0; i < count; ++i) {
        system_call(kSysGetppid, 0, 0, 0);
    }
    return 0;
}
