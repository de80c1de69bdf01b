// SPDX-License-Identifier: GPL-2.0-or-later
// perfvisor perfmon: who has the machine's performance monitor, and holding it for the host.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/child.h"
#include "cli/commands.h"
#include "cli/report_output.h"
#include "host/perfmon_reservation.h"

namespace perfvisor::cli {
namespace {

const char* word(host::PerfmonState state) {
    switch (state) {
        case host::PerfmonState::kHost:
            return "host";
        case host::PerfmonState::kGuest:
            return "guest";
        case host::PerfmonState::kFree:
            break;
    }
    return "free";
}

std::string as_json(const host::PerfmonStatus& status) {
    nlohmann::ordered_json holders = nlohmann::ordered_json::array();
    for (const host::HolderInfo& holder : status.holders)
        holders.push_back(
            {{"class", holder.holder_class == host::HolderClass::kGuest ? "guest" : "host"},
             {"pid", holder.pid},
             {"name", holder.name},
             {"since",
              fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                          fmt::gmtime(std::chrono::system_clock::to_time_t(holder.since)))}});
    const nlohmann::ordered_json json = {{"state", word(status.state)}, {"holders", holders}};
    return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string as_text(const host::PerfmonStatus& status) {
    std::string text = fmt::format("performance monitor: {}\n", word(status.state));
    for (const host::HolderInfo& holder : status.holders)
        text += "  " + host::describe(holder) + "\n";
    return text;
}

Result<int> status(const std::string& directory, bool json) {
    auto registry = host::PerfmonRegistry::open({.path = directory, .create = false});
    if (!registry) return tl::unexpected(registry.error());
    const auto status = registry->status();
    if (!status) return tl::unexpected(status.error());
    return print_to_stdout(json ? as_json(*status) : as_text(*status));
}

Result<int> hold(const std::string& directory, std::string name,
                 const std::vector<std::string>& command) {
    const SignalEvents signals;
    auto registry = host::PerfmonRegistry::open({.path = directory});
    if (!registry) return tl::unexpected(registry.error());
    host::HolderInfo user;
    user.holder_class = host::HolderClass::kHost;
    user.name = name.empty() ? "perfmon hold " + command[0] : std::move(name);
    const auto reservation = registry->reserve_for_host(user);
    if (!reservation) return tl::unexpected(reservation.error().error);
    auto child = Child::start(command, signals);
    if (!child) return tl::unexpected(child.error());
    return child->wait(signals);
}

}  // namespace

void add_perfmon_command(CLI::App& app, Action& action) {
    struct Typed {
        std::string directory, name;
        std::vector<std::string> command;
        bool json = false;
    };
    auto typed = std::make_shared<Typed>();
    CLI::App* perfmon =
        app.add_subcommand("perfmon", "Who has the machine's performance monitor, and holding it");
    perfmon->require_subcommand(1);

    CLI::App* show = perfmon->add_subcommand("status", "Show its state and who holds it");
    show->add_flag("--json", typed->json, "As JSON");
    add_runtime_directory_option(*show, typed->directory);
    show->callback([typed, &action] {
        action = [typed] { return exit_status(status(typed->directory, typed->json)); };
    });

    CLI::App* keep =
        perfmon->add_subcommand("hold", "Reserve it for the host while a command runs");
    keep->add_option("--name", typed->name, "What others see as the holder's name");
    add_runtime_directory_option(*keep, typed->directory);
    keep->add_option("command", typed->command, "The command and its arguments, after --")
        ->required();
    keep->callback([typed, &action] {
        action = [typed] {
            return exit_status(hold(typed->directory, typed->name, typed->command));
        };
    });
}

}  // namespace perfvisor::cli
