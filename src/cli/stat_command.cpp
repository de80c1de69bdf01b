// SPDX-License-Identifier: GPL-2.0-or-later
// perfvisor stat: counts events on running guests from outside, in the manner of perf stat. It is a
// user of the host's performance monitor like any other, and reserves it.
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>

#include "cli/child.h"
#include "cli/commands.h"
#include "cli/monitor_client.h"
#include "cli/report_output.h"
#include "cli/stat_counts.h"
#include "host/perfmon_reservation.h"
#include "vmm/event_names.h"

namespace perfvisor::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct StatOptions {
    std::vector<std::string> event_lists, guests, command;
    std::string directory;
    std::optional<std::string> separator, output;
    int interval = 0;  // milliseconds, 0: none
    bool json = false, no_aggregation = false;
    std::vector<StatEvent> events;
    std::vector<std::string> names;  // of the events, for monitors

    StatStyle style() const {
        if (json) return StatStyle::Json;
        return separator ? StatStyle::Csv : StatStyle::Text;
    }
};

// A guest and its counts as last seen.
struct Counted {
    MonitorClient client;
    MonitorClient::Counts last;
    bool lost = false;  // killed: there are no counts to its end
};

std::string describe(const MonitorClient& guest) {
    return guest.pid() != 0 ? fmt::format("'{}' (PID {})", guest.guest(), guest.pid())
                            : fmt::format("'{}'", guest.guest());
}

// Counts from one look to the next.
class Counting {
  public:
    Counting(const StatOptions& options, std::vector<Counted> guests)
        : options_(options), guests_(std::move(guests)) {}

    std::vector<Counted>& guests() { return guests_; }

    bool all_ended() const {
        return std::all_of(guests_.begin(), guests_.end(),
                           [](const Counted& guest) { return guest.client.ended(); });
    }

    // Looks at every guest; the rows hold what was counted since the look before.
    std::vector<StatRow> look() {
        std::vector<StatRow> rows;
        StatRow sum{"", std::vector<std::optional<uint64_t>>(options_.events.size())};
        for (Counted& guest : guests_) {
            if (guest.lost) continue;
            auto counts = guest.client.counts();
            if (!counts) {
                guest.lost = true;
                fmt::print(stderr, "perfvisor: warning: {}; what it did last is not counted\n",
                           counts.error().message);
                continue;
            }
            for (size_t cpu = 0; cpu < counts->size(); ++cpu) {
                StatRow row = difference(guest, *counts, cpu);
                for (size_t n = 0; n < row.counts.size(); ++n)
                    if (row.counts[n]) sum.counts[n] = sum.counts[n].value_or(0) + *row.counts[n];
                rows.push_back(std::move(row));
            }
            guest.last = std::move(*counts);
        }
        if (options_.no_aggregation) return rows;
        return {sum};
    }

  private:
    StatRow difference(const Counted& guest, const MonitorClient::Counts& now, size_t cpu) const {
        StatRow row{fmt::format("{}/{}", guest.client.guest(), cpu), {}};
        for (const std::string& name : options_.names) {
            const auto count = now[cpu].find(name);
            if (count == now[cpu].end()) {
                row.counts.emplace_back();
                continue;
            }
            uint64_t before = 0;
            if (cpu < guest.last.size())
                if (const auto was = guest.last[cpu].find(name); was != guest.last[cpu].end())
                    before = was->second;
            row.counts.emplace_back(count->second - std::min(before, count->second));
        }
        return row;
    }

    const StatOptions& options_;
    std::vector<Counted> guests_;
};

bool wanted(const StatOptions& options, const MonitorClient& guest) {
    if (options.guests.empty()) return true;
    return std::any_of(options.guests.begin(), options.guests.end(), [&](const std::string& wish) {
        return wish == guest.guest() || (guest.pid() != 0 && wish == std::to_string(guest.pid()));
    });
}

Result<std::vector<Counted>> attach(const StatOptions& options,
                                    const host::RuntimeDirectory& directory) {
    auto found = running_guests(directory);
    if (!found) return tl::unexpected(found.error());
    for (const UnansweredMonitor& silent : found->unanswered) {
        const std::string pid = std::to_string(silent.pid);
        if (std::find(options.guests.begin(), options.guests.end(), pid) != options.guests.end())
            return fail("--guest: the guest of PID {} does not answer ({})", pid, silent.socket);
        fmt::print(stderr, "perfvisor: warning: {} does not answer (PID {}): it is not counted\n",
                   silent.socket, pid);
    }
    std::vector<MonitorClient>* const running = &found->guests;
    if (running->empty()) return fail("no guest is running ({})", directory.path());
    std::string names;
    for (const MonitorClient& guest : *running)
        names += (names.empty() ? "" : ", ") + describe(guest);
    for (const std::string& wish : options.guests) {
        StatOptions one;
        one.guests = {wish};
        if (std::none_of(running->begin(), running->end(),
                         [&](const MonitorClient& guest) { return wanted(one, guest); }))
            return fail("--guest: no guest \"{}\" is running; running: {}", wish, names);
    }
    std::vector<Counted> guests;
    for (MonitorClient& guest : *running) {
        if (!wanted(options, guest)) continue;
        if (auto counted = guest.count_events({options.names.begin(), options.names.end()});
            !counted)
            return tl::unexpected(counted.error());
        auto counts = guest.counts();
        if (!counts) return tl::unexpected(counts.error());
        guests.push_back({std::move(guest), std::move(*counts)});
    }
    return guests;
}

// The whole of one `perfvisor stat`.
class StatRun {
  public:
    StatRun(const StatOptions& options, const SignalEvents& signals, std::vector<Counted> guests,
            ReportOutput output)
        : options_(options),
          signals_(signals),
          counting_(options, std::move(guests)),
          output_(std::move(output)) {
        for (const Counted& guest : counting_.guests())
            what_ += (what_.empty() ? "guest " : ", guest ") + describe(guest.client);
    }

    // Gives the command's status, or 0.
    Result<int> run() {
        if (!options_.command.empty()) {
            auto started = Child::start(options_.command, signals_);
            if (!started) return tl::unexpected(started.error());
            child_ = *started;
        }
        if (options_.interval > 0 && options_.style() == StatStyle::Text)
            print(format_interval_heading(options_.no_aggregation));
        while (!over()) {
            wait();
            if (options_.interval > 0 && Clock::now() >= next_) report_interval();
        }
        if (options_.interval > 0)
            report_interval();
        else
            report_all();
        // The guests are gone, but the command is not.
        const int status = child_ ? child_->wait(signals_) : 0;
        if (!written_) return tl::unexpected(written_.error());
        return status;
    }

  private:
    bool over() {
        if (counting_.all_ended() || !written_) return true;
        return child_ ? child_->status().has_value() : interrupted_;
    }

    void wait() {
        std::vector<pollfd> waiting{{signals_.descriptor(), POLLIN, 0}};
        for (const Counted& guest : counting_.guests())
            waiting.push_back({guest.client.ended() ? -1 : guest.client.descriptor(), POLLIN, 0});
        int limit = -1;
        if (options_.interval > 0) {
            const auto left =
                std::chrono::ceil<std::chrono::milliseconds>(next_ - Clock::now()).count();
            limit = static_cast<int>(std::max<decltype(left)>(left, 0));
        }
        poll(waiting.data(), waiting.size(), limit);
        while (const auto signal = signals_.next()) {
            if (child_) child_->forward(*signal);
            if (signal->number == SIGCHLD || signal->number == SIGUSR1 || signal->number == SIGUSR2)
                continue;
            interrupted_ = true;
        }
        for (size_t n = 0; n < counting_.guests().size(); ++n)
            if (waiting[n + 1].revents) counting_.guests()[n].client.take_news();
    }

    static double seconds(Clock::duration time) {
        return std::chrono::duration<double>(time).count();
    }

    void report_interval() {
        const auto now = Clock::now();
        StatReport report{options_.events, counting_.look(), seconds(now - last_),
                          seconds(now - start_)};
        print(format_counts(report, options_.style(), separator()));
        last_ = now;
        next_ = std::max(next_ + std::chrono::milliseconds(options_.interval), now);
    }

    void report_all() {
        const double elapsed = seconds(Clock::now() - start_);
        StatReport report{options_.events, counting_.look(), elapsed, std::nullopt};
        const std::string counts = format_counts(report, options_.style(), separator());
        const bool text = options_.style() == StatStyle::Text;
        print(text ? format_heading(what_) + counts + format_elapsed(elapsed) : counts);
    }

    // The first error stays.
    void print(const std::string& text) {
        if (written_) written_ = output_.write(text);
    }
    std::string_view separator() const {
        return options_.separator ? std::string_view(*options_.separator) : std::string_view();
    }

    const StatOptions& options_;
    const SignalEvents& signals_;
    Counting counting_;
    ReportOutput output_;
    Result<void> written_;
    std::string what_;
    std::optional<Child> child_;
    bool interrupted_ = false;
    const Clock::time_point start_ = Clock::now();
    Clock::time_point last_ = start_;
    Clock::time_point next_ = start_ + std::chrono::milliseconds(options_.interval);
};

Result<int> stat(StatOptions options) {
    const SignalEvents signals;
    if (options.event_lists.empty())
        options.event_lists = {
            "cycles,instructions,branches,r0d,COMPLETED_LOAD_OPS,"
            "COMPLETED_STORE_OPS,INTERRUPTS"};
    auto events = parse_stat_events(options.event_lists, "-e");
    if (!events) return tl::unexpected(events.error());
    options.events = std::move(*events);
    for (const StatEvent& event : options.events)
        options.names.push_back(
            vmm::ModalEvent{core::find_event(event.code), event.user, event.kernel}.name());
    if (options.separator && options.json) return fail("-x and --json exclude each other");
    if (options.separator) {
        auto separator = parse_separator(*options.separator);
        if (!separator) return tl::unexpected(separator.error());
        options.separator = std::move(*separator);
    }

    auto registry = host::PerfmonRegistry::open({.path = options.directory});
    if (!registry) return tl::unexpected(registry.error());
    host::HolderInfo user;
    user.holder_class = host::HolderClass::kHost;
    user.name = "perfvisor stat";
    const auto reservation = registry->reserve_for_host(user);
    if (!reservation) return tl::unexpected(reservation.error().error);
    auto guests = attach(options, registry->directory());
    if (!guests) return tl::unexpected(guests.error());
    // Emptied last: what is wrong with the rest leaves the file as it was.
    auto output = ReportOutput::open(options.output);
    if (!output) return tl::unexpected(output.error());
    return StatRun(options, signals, std::move(*guests), std::move(*output)).run();
}

}  // namespace

void add_stat_command(CLI::App& app, Action& action) {
    auto options = std::make_shared<StatOptions>();
    CLI::App* stat_command =
        app.add_subcommand("stat", "Count events on running guests, from outside");
    stat_command
        ->add_option("-e,--event", options->event_lists,
                     "Events, separated by commas: names or codes of \"perfvisor list\", or "
                     "perf's generic names; :u or :k for one mode")
        ->allow_extra_args(false);
    stat_command->add_option("--guest", options->guests, "Only this guest: its name or PID")
        ->allow_extra_args(false);
    stat_command
        ->add_option("-I,--interval-print", options->interval,
                     "Print counts every so many milliseconds")
        ->check(CLI::Range(1, 86'400'000));
    stat_command->add_option("-o,--output", options->output, "File for the counts; default stderr");
    stat_command->add_option("-x,--field-separator", options->separator,
                             "One line an event, fields separated by this");
    stat_command->add_flag("-j,--json", options->json, "One JSON object an event");
    stat_command->add_flag("-A,--no-aggr", options->no_aggregation, "Each vCPU by itself");
    add_runtime_directory_option(*stat_command, options->directory);
    stat_command->add_option("command", options->command,
                             "Count while this runs; after --. Otherwise until Ctrl-C or the "
                             "guests' end");
    stat_command->callback(
        [options, &action] { action = [options] { return exit_status(stat(*options)); }; });
}

}  // namespace perfvisor::cli
