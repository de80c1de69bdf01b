// SPDX-License-Identifier: GPL-2.0-or-later
// Events and output of `perfvisor stat`.
#include "cli/stat_counts.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "vmm/event_names.h"

namespace perfvisor::cli {
namespace {

constexpr unsigned kCycles = 1, kInstructions = 2, kBranches = 12, kTakenBranches = 13;
constexpr const char* kNotCounted = "<not counted>";

// 1,234,567: for people; what scripts read is not grouped.
std::string grouped(uint64_t number) {
    const std::string digits = std::to_string(number);
    std::string text;
    for (size_t n = 0; n < digits.size(); ++n) {
        if (n > 0 && (digits.size() - n) % 3 == 0) text += ',';
        text += digits[n];
    }
    return text;
}

// What a count means beside another of the same row.
struct Metric {
    double value = 0;
    const char* unit = "";
};

// The count of an event in the modes that `like` counts in.
std::optional<uint64_t> count_of(const StatReport& report, const StatRow& row, unsigned code,
                                 const StatEvent& like) {
    for (size_t n = 0; n < report.events.size(); ++n) {
        const StatEvent& event = report.events[n];
        if (event.code == code && event.user == like.user && event.kernel == like.kernel)
            return row.counts[n];
    }
    return std::nullopt;
}

std::optional<Metric> metric_of(const StatReport& report, const StatRow& row, size_t event) {
    const auto relate = [&](unsigned base, double factor,
                            const char* unit) -> std::optional<Metric> {
        const auto of = count_of(report, row, base, report.events[event]);
        if (!of || *of == 0) return std::nullopt;
        return Metric{factor * static_cast<double>(*row.counts[event]) / static_cast<double>(*of),
                      unit};
    };
    if (!row.counts[event]) return std::nullopt;
    switch (report.events[event].code) {
        case kInstructions:
            return relate(kCycles, 1, "insn per cycle");
        case kTakenBranches:
            return relate(kBranches, 100, "of all branches");
        default:
            return std::nullopt;
    }
}

std::string text_line(const StatReport& report, const StatRow& row, size_t event) {
    std::string line;
    if (report.interval_end) line += fmt::format("{:16.9f} ", *report.interval_end);
    if (!row.cpu.empty()) line += fmt::format("{:<16} ", row.cpu);
    const auto& count = row.counts[event];
    line += fmt::format("{:>18}      {:<27}", count ? grouped(*count) : kNotCounted,
                        report.events[event].spelling);
    if (const auto metric = metric_of(report, row, event))
        line += fmt::format(" # {:8.2f}{} {}", metric->value,
                            report.events[event].code == kTakenBranches ? "%" : " ", metric->unit);
    line.erase(line.find_last_not_of(' ') + 1);
    return line + "\n";
}

// Counter value, unit, event, run time of the counter in nanoseconds, percentage of it, metric and
// its unit (perf-stat(1), "CSV FORMAT"), after the time stamp and the CPU where there are any.
std::string csv_line(const StatReport& report, const StatRow& row, size_t event,
                     std::string_view separator) {
    std::string line;
    const auto field = [&](const std::string& text) {
        line += text;
        line += separator;
    };
    if (report.interval_end) field(fmt::format("{:.9f}", *report.interval_end));
    if (!row.cpu.empty()) field(row.cpu);
    const auto& count = row.counts[event];
    field(count ? std::to_string(*count) : kNotCounted);
    field("");
    field(report.events[event].spelling);
    field(fmt::format("{:.0f}", count ? report.seconds * 1e9 : 0.0));
    field(count ? "100.00" : "0.00");
    const auto metric = metric_of(report, row, event);
    field(metric ? fmt::format("{:.2f}", metric->value) : "");
    return line + (metric ? metric->unit : "") + "\n";
}

std::string json_line(const StatReport& report, const StatRow& row, size_t event) {
    nlohmann::ordered_json line;
    if (report.interval_end) line["interval"] = *report.interval_end;
    if (!row.cpu.empty()) line["cpu"] = row.cpu;
    const auto& count = row.counts[event];
    line["counter-value"] = count ? fmt::format("{}.000000", *count) : kNotCounted;
    line["unit"] = "";
    line["event"] = report.events[event].spelling;
    line["event-runtime"] = static_cast<uint64_t>(count ? report.seconds * 1e9 : 0);
    line["pcnt-running"] = count ? 100.0 : 0.0;
    if (const auto metric = metric_of(report, row, event)) {
        line["metric-value"] = fmt::format("{:.6f}", metric->value);
        line["metric-unit"] = metric->unit;
    }
    return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

Result<std::vector<StatEvent>> parse_stat_events(const std::vector<std::string>& lists,
                                                 std::string_view option) {
    std::vector<StatEvent> events;
    for (const std::string& list : lists) {
        size_t start = 0;
        while (start <= list.size()) {
            const size_t end = std::min(list.find(',', start), list.size());
            std::string spelling = list.substr(start, end - start);
            start = end + 1;
            if (spelling.empty()) return fail("{}: an event is missing in \"{}\"", option, list);
            const auto event = vmm::find_modal_event(spelling);
            if (!event) return fail("{}: {}", option, event.error().message);
            events.push_back({std::move(spelling), event->event->code, event->user, event->kernel});
        }
    }
    return events;
}

Result<std::string> parse_separator(const std::string& typed) {
    if (typed.empty()) return fail("-x: the separator is empty");
    return typed == "\\t" ? "\t" : typed;
}

std::string format_counts(const StatReport& report, StatStyle style, std::string_view separator) {
    std::string text;
    for (const StatRow& row : report.rows)
        for (size_t event = 0; event < report.events.size(); ++event) {
            if (style == StatStyle::Text) text += text_line(report, row, event);
            if (style == StatStyle::Csv) text += csv_line(report, row, event, separator);
            if (style == StatStyle::Json) text += json_line(report, row, event);
        }
    return text;
}

std::string format_heading(const std::string& what) {
    return fmt::format("\n Performance counter stats for {}:\n\n", what);
}

std::string format_elapsed(double seconds) {
    return fmt::format("\n{:>18.9f} seconds time elapsed\n\n", seconds);
}

std::string format_interval_heading(bool by_cpu) {
    return fmt::format("#{:>15} {}{:>18} {:<5}{}\n", "time",
                       by_cpu ? fmt::format("{:<16} ", "cpu") : "", "counts", "", "events");
}

}  // namespace perfvisor::cli
