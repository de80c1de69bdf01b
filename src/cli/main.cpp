// SPDX-License-Identifier: GPL-2.0-or-later
// perfvisor's entry: one file per command that a person can type.
#include "cli/commands.h"

int main(int argc, char** argv) {
    return perfvisor::cli::run_perfvisor({argv + 1, argv + argc});
}
