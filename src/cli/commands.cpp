// SPDX-License-Identifier: GPL-2.0-or-later
// Parsing that all commands share: QEMU's single dashes, errors as one sentence.
#include "cli/commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <iostream>
#include <system_error>

namespace perfvisor::cli {
namespace {

// Whether `argument` (dashes included) is an option of the command that takes its value from the
// next argument.
bool takes_next_argument(const CLI::App& command, const std::string& argument) {
    if (argument.size() < 2 || argument.find('=') != std::string::npos) return false;
    const CLI::Option* option = command.get_option_no_throw(argument);
    return option && option->get_items_expected_min() > 0;
}

const CLI::App* find_command(const CLI::App& app, const std::string& name) {
    for (const CLI::App* command : app.get_subcommands({}))
        if (command->check_name(name)) return command;
    return nullptr;
}

std::string known_commands(const CLI::App& app) {
    std::string names;
    for (const CLI::App* command : app.get_subcommands({}))
        names += (names.empty() ? "" : ", ") + command->get_name();
    return names;
}

// "-sS" or "-m512": flags of one letter each, the last with its value behind it where it has one.
bool are_letters(const CLI::App& command, const std::string& argument) {
    for (size_t n = 1; n < argument.size(); ++n) {
        const CLI::Option* option = command.get_option_no_throw(std::string{'-', argument[n]});
        if (!option) return false;
        if (option->get_items_expected_min() > 0) return true;
    }
    return true;
}

// The first option that the command does not have; none where it has commands of its own.
std::string unknown_option(const CLI::App& command, const std::vector<std::string>& arguments) {
    if (!command.get_subcommands({}).empty()) return {};
    for (size_t i = 1; i < arguments.size(); ++i) {
        const std::string& argument = arguments[i];
        if (argument.size() < 2 || argument[0] != '-' || argument == "--") break;
        std::string name = argument.substr(0, argument.find('='));
        if (!command.get_option_no_throw(name) &&
            (argument[1] == '-' || !are_letters(command, argument)))
            return name;
        if (takes_next_argument(command, argument)) ++i;
    }
    return {};
}

// As far as it was understood.
const CLI::App& typed_command(const CLI::App& app) {
    const auto parsed = app.get_subcommands();
    return parsed.empty() ? app : typed_command(*parsed.front());
}

int parse_and_run(std::vector<std::string> arguments) {
    CLI::App app{"Runs Embedded Power (e500) guests whose performance monitor is real.",
                 "perfvisor"};
    app.set_version_flag("--version", "perfvisor 0.1.0");
    app.require_subcommand(1);
    Action action;
    add_run_command(app, action);
    add_list_command(app, action);
    add_perfmon_command(app, action);
    add_stat_command(app, action);

    if (!arguments.empty() && !arguments.front().starts_with('-')) {
        const std::string name = arguments.front();
        const CLI::App* command = find_command(app, name);
        if (!command) {
            fmt::print(stderr, "perfvisor: \"{}\" is not a command; known: {}\n", name,
                       known_commands(app));
            return 2;
        }
        arguments = with_two_dashes(*command, std::move(arguments));
        if (const std::string option = unknown_option(*command, arguments); !option.empty()) {
            fmt::print(stderr,
                       "perfvisor: {0} has no option {1}; perfvisor {0} --help lists them\n", name,
                       option);
            return 2;
        }
    } else if (arguments.empty() || !app.get_option_no_throw(arguments.front())) {
        fmt::print(stderr, "perfvisor: a command comes first: {}\n", known_commands(app));
        return 2;
    }
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back.
    try {
        app.parse(arguments);
    } catch (const CLI::Success& success) {  // --help, --version
        const int status = app.exit(success);
        std::cout.flush();
        if (std::cout) return status;
        fmt::print(stderr, "perfvisor: standard output cannot be written: {}\n",
                   std::generic_category().message(errno));
        return 1;
    } catch (const CLI::ParseError& error) {
        const CLI::App& typed = typed_command(app);
        if (typed.get_require_subcommand_min() > 0 &&
            dynamic_cast<const CLI::RequiredError*>(&error))
            fmt::print(stderr, "perfvisor: {} takes a subcommand: {}\n", typed.get_name(),
                       known_commands(typed));
        else
            fmt::print(stderr, "perfvisor: {}\n", error.what());
        return 2;
    }
    return action();
}

}  // namespace

void add_runtime_directory_option(CLI::App& command, std::string& path) {
    command.add_option("--runtime-dir", path,
                       "Where running guests and performance monitor users meet; default "
                       "$PERFVISOR_RUNTIME_DIR, else /run/perfvisor or the user's own");
}

int exit_status(const Result<int>& result) {
    if (result) return *result;
    fmt::print(stderr, "perfvisor: {}\n", result.error().message);
    return result.error().exit_status;
}

std::vector<std::string> with_two_dashes(const CLI::App& command,
                                         std::vector<std::string> arguments) {
    for (size_t i = 0; i < arguments.size(); ++i) {
        std::string& argument = arguments[i];
        if (argument == "--") break;
        const bool one_dash = argument.size() > 2 && argument[0] == '-' && argument[1] != '-';
        if (one_dash) {
            const std::string name = argument.substr(1, argument.find('=') - 1);
            if (command.get_option_no_throw("--" + name)) argument.insert(0, "-");
        }
        if (takes_next_argument(command, argument)) ++i;
    }
    return arguments;
}

int run_perfvisor(std::vector<std::string> arguments) {
    try {
        return parse_and_run(std::move(arguments));
    } catch (const std::exception& error) {  // out of memory and the like
        std::fprintf(stderr, "perfvisor: %s\n", error.what());
        return 1;
    }
}

}  // namespace perfvisor::cli
