// SPDX-License-Identifier: GPL-2.0-or-later
// The commands of perfvisor. Each adds its subcommand to the parser and sets what runs when it was
// typed; exit status 0, 1 for an error, 2 for wrong usage, or what the command says of its own.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace perfvisor::cli {

// What the chosen command does; gives the exit status of the process.
using Action = std::function<int()>;

void add_run_command(CLI::App& app, Action& action);
void add_list_command(CLI::App& app, Action& action);
void add_perfmon_command(CLI::App& app, Action& action);
void add_stat_command(CLI::App& app, Action& action);

// --runtime-dir, the same for all commands.
void add_runtime_directory_option(CLI::App& command, std::string& path);

// The status itself, or the error's after its sentence on stderr.
int exit_status(const Result<int>& result);

// The whole program, given its arguments without the program's name.
int run_perfvisor(std::vector<std::string> arguments);

// QEMU spells long options with one dash: "-kernel F" becomes "--kernel F" where the parser of
// `command` has such an option. Arguments that are values of options before them stay as they are.
std::vector<std::string> with_two_dashes(const CLI::App& command,
                                         std::vector<std::string> arguments);

}  // namespace perfvisor::cli
