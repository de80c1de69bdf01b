// SPDX-License-Identifier: GPL-2.0-or-later
// The counts of `perfvisor stat` and how they are printed, in the manner of perf stat.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace perfvisor::cli {

struct StatEvent {
    std::string spelling;             // as typed, and printed so
    unsigned code = 0;                // PMLCa[EVENT]
    bool user = true, kernel = true;  // the modes it counts in
};

// Lists as -e takes them, "cycles,r2:u,COMPLETED_LOAD_OPS"; each may hold several, with perf's
// modifiers for the modes they count in (":u", ":k", ":uk"). Fails for an event that cannot be
// counted, with a sentence about `option`.
Result<std::vector<StatEvent>> parse_stat_events(const std::vector<std::string>& lists,
                                                 std::string_view option);

// What -x takes; "\t" is a tab, as with perf stat.
Result<std::string> parse_separator(const std::string& typed);

// One line of counts: of everything, or of one vCPU.
struct StatRow {
    std::string cpu;                              // "GUEST/0" with --no-aggr, otherwise empty
    std::vector<std::optional<uint64_t>> counts;  // by event; nothing where it was not counted
};

struct StatReport {
    std::vector<StatEvent> events;
    std::vector<StatRow> rows;
    double seconds = 0;                  // the time counted
    std::optional<double> interval_end;  // with -I: seconds since the start
};

enum class StatStyle : uint8_t { Text, Csv, Json };

// What is printed for one report: a table, or with -x and --json one line for each event and row.
// The fields of -x and the keys of --json are those of perf stat.
std::string format_counts(const StatReport& report, StatStyle style, std::string_view separator);

// Around the table: above it, what was counted; below, for how long.
std::string format_heading(const std::string& what);
std::string format_elapsed(double seconds);
// The line above the tables of -I.
std::string format_interval_heading(bool by_cpu);

}  // namespace perfvisor::cli
