// SPDX-License-Identifier: GPL-2.0-or-later
// perfvisor list: the events of the performance monitor, from the table that counts them.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/report_output.h"
#include "core/pm_events.h"

namespace perfvisor::cli {
namespace {

std::string as_json() {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const core::Event& event : core::e500mc_events())
        list.push_back({{"code", event.code},
                        {"name", event.name},
                        {"class", core::to_string(event.event_class)},
                        {"description", event.description}});
    return list.dump(2) + "\n";
}

std::string as_text() {
    std::string text = fmt::format("{:>4}  {:<4}  {:<41}  {:<12}  {}\n", "code", "perf", "name",
                                   "class", "counts");
    for (const core::Event& event : core::e500mc_events())
        text += fmt::format("{:>4}  r{:<3x}  {:<41}  {:<12}  {}\n", event.code, event.code,
                            event.name, core::to_string(event.event_class), event.description);
    return text;
}

}  // namespace

void add_list_command(CLI::App& app, Action& action) {
    auto json = std::make_shared<bool>(false);
    CLI::App* list = app.add_subcommand("list", "List the performance monitor's events");
    list->add_flag("--json", *json, "As JSON");
    list->callback([json, &action] {
        action = [json] { return exit_status(print_to_stdout(*json ? as_json() : as_text())); };
    });
}

}  // namespace perfvisor::cli
