// SPDX-License-Identifier: GPL-2.0-or-later
// QMP as one client speaks it with a running guest.
#include "vmm/monitor_protocol.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <span>

#include "vmm/event_names.h"

namespace perfvisor::vmm {
namespace {

constexpr const char* kVersion = "perfvisor 0.1.0";
constexpr const char* kGeneric = "GenericError";
constexpr const char* kNotFound = "CommandNotFound";

Json version() {
    return {{"qemu", {{"micro", 0}, {"minor", 1}, {"major", 0}}}, {"package", kVersion}};
}

Json error(const char* error_class, const std::string& sentence) {
    return {{"error", {{"class", error_class}, {"desc", sentence}}}};
}

// Where QEMU's object model has its CPUs.
std::string qom_path(unsigned cpu) {
    return fmt::format("/machine/unattached/device[{}]", cpu);
}

// Of any bytes, balanced or not: the parser does the rest.
unsigned nesting(std::string_view text) {
    unsigned depth = 0, deepest = 0;
    bool in_string = false;
    for (size_t n = 0; n < text.size(); ++n) {
        const char c = text[n];
        if (in_string) {
            if (c == '\\') ++n;
            if (c == '"') in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            deepest = std::max(deepest, ++depth);
        } else if ((c == '}' || c == ']') && depth > 0) {
            --depth;
        }
    }
    return deepest;
}

// An array of strings, where there is one.
Result<std::optional<std::vector<std::string>>> strings(const Json& arguments, const char* key) {
    if (!arguments.contains(key)) return std::nullopt;
    std::vector<std::string> list;
    const Json& given = arguments[key];
    if (!given.is_array()) return fail("\"{}\" must be an array of strings", key);
    for (const Json& one : given) {
        if (!one.is_string()) return fail("\"{}\" must be an array of strings", key);
        list.push_back(one.get<std::string>());
    }
    return list;
}

Result<void> only(const Json& arguments, std::initializer_list<std::string_view> known) {
    for (const auto& [key, value] : arguments.items())
        if (std::find(known.begin(), known.end(), key) == known.end())
            return fail("Parameter '{}' is unexpected", key);
    return {};
}

// ---- query-stats ----

struct NamedEvent {
    std::string name;  // as asked for
    ModalEvent event;
};

struct StatsWish {
    std::vector<NamedEvent> events;
    std::optional<std::vector<std::string>> vcpus;
    bool kvm = true;  // the one provider there is, is wanted
};

// What is counted in any case, in all modes together.
std::vector<NamedEvent> plain_events() {
    std::vector<NamedEvent> all;
    for (const core::Event* event : always_counted_events())
        all.push_back({event->name, {event}});
    return all;
}

bool needs_counting(const ModalEvent& event) {
    return !event.user || !event.kernel || !always_counted(*event.event);
}

bool is_counted(const ModalEvent& event, const MonitorCounted& counted) {
    return !needs_counting(event) || std::find(counted.events.begin(), counted.events.end(),
                                               event.event->code) != counted.events.end();
}

Result<void> parse_providers(const Json& providers, const MonitorCounted& counted,
                             StatsWish& wish) {
    if (!providers.is_array()) return fail("\"providers\" must be an array");
    wish.kvm = false;
    for (const Json& provider : providers) {
        if (!provider.is_object() || !provider.contains("provider") ||
            !provider["provider"].is_string())
            return fail("each of \"providers\" must be an object with a \"provider\"");
        if (auto checked = only(provider, {"provider", "names"}); !checked) return checked;
        if (provider["provider"] != "kvm")
            return fail("the only provider of statistics is \"kvm\"");
        wish.kvm = true;
        const auto names = strings(provider, "names");
        if (!names) return tl::unexpected(names.error());
        if (!*names) continue;
        wish.events.clear();
        for (const std::string& name : **names) {
            const auto event = find_modal_event(name);
            if (!event) return tl::unexpected(event.error());
            if (!is_counted(*event, counted))
                return fail("event \"{}\" is counted only once {} has named it", name,
                            kCountEventsCommand);
            wish.events.push_back({name, *event});
        }
    }
    return {};
}

Result<StatsWish> parse_stats_wish(const Json& arguments, const MonitorCounted& counted) {
    if (auto checked = only(arguments, {"target", "vcpus", "providers"}); !checked)
        return tl::unexpected(checked.error());
    const Json target = arguments.value("target", Json());
    if (target != "vcpu" && target != "vm") return fail("\"target\" must be \"vcpu\" or \"vm\"");
    StatsWish wish;
    wish.events = plain_events();
    for (const std::string& name : counted.names)
        wish.events.push_back({name, *find_modal_event(name)});
    auto vcpus = strings(arguments, "vcpus");
    if (!vcpus) return tl::unexpected(vcpus.error());
    wish.vcpus = std::move(*vcpus);
    if (arguments.contains("providers"))
        if (auto parsed = parse_providers(arguments["providers"], counted, wish); !parsed)
            return tl::unexpected(parsed.error());
    if (target == "vm") wish.kvm = false;  // all there is, is the vCPUs'
    return wish;
}

// Nothing where it is not counted.
std::optional<uint64_t> value_of(const ModalEvent& event,
                                 const std::vector<kvm::EventTotal>& totals) {
    for (const kvm::EventTotal& total : totals) {
        if (total.event != event.event->code) continue;
        if (event.user && event.kernel) return total.total;
        if (!total.modes) return std::nullopt;
        return event.user ? total.modes->user : total.modes->supervisor;
    }
    return std::nullopt;
}

Json vcpu_stats(unsigned cpu, Json values) {
    return {{"provider", "kvm"}, {"qom-path", qom_path(cpu)}, {"stats", std::move(values)}};
}

Result<Json> query_stats(MonitorTarget& target, const Json& arguments, MonitorCounted& counted) {
    const auto wish = parse_stats_wish(arguments, counted);
    if (!wish) return tl::unexpected(wish.error());
    Json result = Json::array();
    if (!wish->kvm) return result;
    for (const MonitorTarget::Cpu& cpu : target.cpus()) {
        const std::string path = qom_path(cpu.index);
        if (wish->vcpus &&
            std::find(wish->vcpus->begin(), wish->vcpus->end(), path) == wish->vcpus->end())
            continue;
        const auto totals = target.event_totals(cpu.index);
        if (!totals) return tl::unexpected(totals.error());
        Json values = Json::array();
        for (const NamedEvent& named : wish->events)
            if (const auto value = value_of(named.event, *totals))
                values.push_back({{"name", named.name}, {"value", *value}});
        result.push_back(vcpu_stats(cpu.index, std::move(values)));
    }
    return result;
}

// The old ones end only when the new ones have begun: what is in both goes on.
Result<Json> count_events(MonitorTarget& target, const Json& arguments, MonitorCounted& counted) {
    if (auto checked = only(arguments, {"names"}); !checked) return tl::unexpected(checked.error());
    const auto names = strings(arguments, "names");
    if (!names) return tl::unexpected(names.error());
    if (!*names) return fail("\"names\" must be an array of strings");
    MonitorCounted wanted;
    for (const std::string& name : **names) {
        const auto event = find_modal_event(name);
        if (!event) return tl::unexpected(event.error());
        if (!needs_counting(*event)) continue;  // query-stats has it
        wanted.names.push_back(name);
        wanted.events.push_back(event->event->code);
    }
    if (!wanted.events.empty()) {
        auto counting = target.count_events(wanted.events);
        if (!counting) return tl::unexpected(counting.error());
        wanted.counting = std::move(*counting);
    }
    counted = std::move(wanted);
    return Json::object();
}

Result<Json> query_stats_schemas(MonitorTarget&, const Json& arguments, MonitorCounted&) {
    if (auto checked = only(arguments, {"provider"}); !checked)
        return tl::unexpected(checked.error());
    if (arguments.contains("provider") && arguments["provider"] != "kvm")
        return fail("the only provider of statistics is \"kvm\"");
    Json events = Json::array();
    for (const core::Event* event : always_counted_events()) {
        Json schema = {{"name", event->name}, {"type", "cumulative"}};
        if (event->source.kind == core::EventSource::Kind::Cycles) schema["unit"] = "cycles";
        schema["exponent"] = 0;
        events.push_back(std::move(schema));
    }
    return Json::array({{{"provider", "kvm"}, {"target", "vcpu"}, {"stats", events}}});
}

// ---- the other commands ----

Result<Json> query_status(MonitorTarget& target, const Json&, MonitorCounted&) {
    const bool paused = target.paused();
    return Json{
        {"status", paused ? "paused" : "running"}, {"singlestep", false}, {"running", !paused}};
}

Result<Json> query_name(MonitorTarget& target, const Json&, MonitorCounted&) {
    return Json{{"name", target.name()}};
}

Result<Json> query_version(MonitorTarget&, const Json&, MonitorCounted&) {
    return version();
}

Result<Json> query_cpus(MonitorTarget& target, const Json&, MonitorCounted&) {
    Json cpus = Json::array();
    for (const MonitorTarget::Cpu& cpu : target.cpus())
        cpus.push_back({{"cpu-index", cpu.index},
                        {"qom-path", qom_path(cpu.index)},
                        {"thread-id", cpu.thread_id},
                        {"target", "ppc"}});
    return cpus;
}

Result<Json> stop(MonitorTarget& target, const Json&, MonitorCounted&) {
    target.pause();
    return Json::object();
}

Result<Json> cont(MonitorTarget& target, const Json&, MonitorCounted&) {
    target.resume();
    return Json::object();
}

Result<Json> system_reset(MonitorTarget& target, const Json&, MonitorCounted&) {
    target.reset();
    return Json::object();
}

Result<Json> system_powerdown(MonitorTarget&, const Json&, MonitorCounted&) {
    return fail("this machine has no power button; use quit, or power off in the guest");
}

Result<Json> quit(MonitorTarget& target, const Json&, MonitorCounted&) {
    target.quit();
    return Json::object();
}

Result<Json> query_commands(MonitorTarget&, const Json&, MonitorCounted&);

struct Command {
    const char* name;
    Result<Json> (*run)(MonitorTarget&, const Json&, MonitorCounted&);
    bool takes_arguments = false;
    const char* event = nullptr;  // told to all when it has changed whether the guest runs
};
constexpr auto kCommands = std::to_array<Command>({
    {kCountEventsCommand, count_events, true},
    {"cont", cont, false, "RESUME"},
    {"query-commands", query_commands},
    {"query-cpus-fast", query_cpus},
    {"query-name", query_name},
    {"query-stats", query_stats, true},
    {"query-stats-schemas", query_stats_schemas, true},
    {"query-status", query_status},
    {"query-version", query_version},
    {"quit", quit},
    {"stop", stop, false, "STOP"},
    {"system_powerdown", system_powerdown},
    {"system_reset", system_reset},
});

Result<Json> query_commands(MonitorTarget&, const Json&, MonitorCounted&) {
    Json commands = Json::array({{{"name", "qmp_capabilities"}}});
    for (const Command& command : kCommands)
        commands.push_back({{"name", command.name}});
    return commands;
}

const Command* find_command(std::string_view name) {
    for (const Command& command : kCommands)
        if (name == command.name) return &command;
    return nullptr;
}

}  // namespace

Json monitor_event(const char* name, Json data) {
    const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count();
    Json event = {{"timestamp", {{"seconds", now / 1'000'000}, {"microseconds", now % 1'000'000}}},
                  {"event", name}};
    if (!data.empty()) event["data"] = std::move(data);
    return event;
}

Result<Json> monitor_stats(const MonitorTarget& target) {
    Json result = Json::array();
    for (const MonitorTarget::Cpu& cpu : target.cpus()) {
        const auto totals = target.event_totals(cpu.index);
        if (!totals) return tl::unexpected(totals.error());
        Json values = Json::array();
        for (const kvm::EventTotal& total : *totals) {
            const core::Event* const event = core::find_event(total.event);
            if (event == nullptr) continue;
            for (const ModalEvent& modal : {ModalEvent{event}, ModalEvent{event, true, false},
                                            ModalEvent{event, false, true}})
                if (const auto value = value_of(modal, *totals))
                    values.push_back({{"name", modal.name()}, {"value", *value}});
        }
        result.push_back(vcpu_stats(cpu.index, std::move(values)));
    }
    return result;
}

// Names may hold any bytes; JSON has UTF-8 only.
std::string monitor_line(const Json& message) {
    return message.dump(-1, ' ', false, Json::error_handler_t::replace) + "\r\n";
}

std::string MonitorClient::greeting() {
    return monitor_line({{"QMP", {{"version", version()}, {"capabilities", Json::array()}}}});
}

MonitorClient::Answer MonitorClient::receive(std::string_view bytes) {
    Answer answer;
    while (!bytes.empty()) {
        const size_t end = bytes.find('\n');
        line_ += bytes.substr(0, end);
        if (line_.size() > kLongestLine) {
            answer.text += monitor_line(
                error(kGeneric, fmt::format("a line may have {} bytes; this one is longer and the "
                                            "connection ends",
                                            kLongestLine)));
            answer.close = true;
            line_.clear();
            return answer;
        }
        if (end == std::string_view::npos) break;
        bytes.remove_prefix(end + 1);
        if (line_.find_first_not_of(" \t\r") != std::string::npos)
            answer.text += monitor_line(answer_line(line_, answer.events));
        line_.clear();
    }
    return answer;
}

Json MonitorClient::answer_line(std::string_view line, std::vector<Json>& events) {
    if (nesting(line) > kDeepest) return error(kGeneric, "JSON parse error, nested too deeply");
    const Json request = Json::parse(line, nullptr, false);
    if (request.is_discarded()) return error(kGeneric, "JSON parse error, invalid input");
    if (!request.is_object()) return error(kGeneric, "QMP input must be a JSON object");

    Json answer;
    const Json arguments = request.value("arguments", Json::object());
    if (const auto known = only(request, {"execute", "arguments", "id"}); !known)
        answer = error(kGeneric, fmt::format("QMP input: {}", known.error().message));
    else if (!request.contains("execute"))
        answer = error(kGeneric, "QMP input lacks member 'execute'");
    else if (!request["execute"].is_string())
        answer = error(kGeneric, "QMP input member 'execute' must be a string");
    else if (!arguments.is_object())
        answer = error(kGeneric, "QMP input member 'arguments' must be an object");
    else
        answer = execute(request["execute"].get<std::string>(), arguments, events);
    if (request.contains("id")) answer["id"] = request["id"];
    return answer;
}

Json MonitorClient::execute(const std::string& name, const Json& arguments,
                            std::vector<Json>& events) {
    if (name == "qmp_capabilities") {
        if (negotiated_)
            return error(kNotFound,
                         "Capabilities negotiation is already complete, command ignored");
        const auto enable = strings(arguments, "enable");
        if (!enable) return error(kGeneric, enable.error().message);
        if (*enable && !(*enable)->empty())
            return error(kGeneric, fmt::format("Capability '{}' not available", (**enable)[0]));
        negotiated_ = true;
        return {{"return", Json::object()}};
    }
    if (!negotiated_)
        return error(kNotFound, "Expecting capabilities negotiation with 'qmp_capabilities'");
    const Command* const command = find_command(name);
    if (command == nullptr)
        return error(kNotFound, fmt::format("The command {} has not been found", name));
    if (!command->takes_arguments)
        if (const auto none = only(arguments, {}); !none)
            return error(kGeneric, none.error().message);
    const bool was_paused = target_.paused();
    auto result = command->run(target_, arguments, counted_);
    if (!result) return error(kGeneric, result.error().message);
    if (command->event != nullptr && target_.paused() != was_paused)
        events.push_back(monitor_event(command->event));
    return {{"return", std::move(*result)}};
}

}  // namespace perfvisor::vmm
