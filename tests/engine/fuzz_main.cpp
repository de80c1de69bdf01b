// SPDX-License-Identifier: GPL-2.0-or-later
// engine_fuzz: random programs through the lockstep engine, for as long as one likes.
//
//   engine_fuzz [--seed N] [--cases N] [--seconds N] [--units N] [--kind K]
//
// Cases have seeds N, N+1, ... and every kind in turn, or the one given. Ends at the first case on
// which the engines disagree, with the command that repeats it, exit status 1.
#include <fmt/format.h>
#include <getopt.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "fuzz_case.h"

using namespace perfvisor::test;

namespace {

struct Options {
    uint64_t seed = 1;
    uint64_t cases = 0, seconds = 0;  // 0: no end
    uint64_t units = 3000;            // budget of a case, instructions or faults
    std::optional<FuzzKind> only;
};

int usage(const std::string& what) {
    std::string kinds;
    for (unsigned n = 0; n < kFuzzKinds; ++n)
        kinds += fmt::format(" {}", fuzz_kind_name(static_cast<FuzzKind>(n)));
    fmt::print(stderr,
               "engine_fuzz: {}; it takes --seed N --cases N --seconds N --units N, and --kind "
               "with one of:{}\n",
               what, kinds);
    return 2;
}

// 0, or the exit status.
int parse(int argc, char** argv, Options& options) {
    constexpr option kOptions[] = {
        {"seed", required_argument, nullptr, 's'},    {"cases", required_argument, nullptr, 'c'},
        {"seconds", required_argument, nullptr, 't'}, {"units", required_argument, nullptr, 'u'},
        {"kind", required_argument, nullptr, 'k'},    {}};
    opterr = 0;
    for (int found; (found = getopt_long(argc, argv, "", kOptions, nullptr)) != -1;) {
        if (found == '?') return usage(fmt::format("\"{}\" is not understood", argv[optind - 1]));
        if (found == 'k') {
            options.only = find_fuzz_kind(optarg);
            if (!options.only) return usage(fmt::format("kind \"{}\" is not known", optarg));
            continue;
        }
        char* end = nullptr;
        const uint64_t value = std::strtoull(optarg, &end, 0);
        if (*optarg == '\0' || *end != '\0')
            return usage(fmt::format("\"{}\" is not a number", optarg));
        (found == 's'   ? options.seed
         : found == 'c' ? options.cases
         : found == 't' ? options.seconds
                        : options.units) = value;
    }
    if (optind < argc) return usage(fmt::format("\"{}\" is not understood", argv[optind]));
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    if (const int status = parse(argc, argv, options)) return status;

    // Every second seed with a tiny cache.
    std::array<Fuzzer, 2> fuzzers = {Fuzzer(), Fuzzer(Fuzzer::kTiny)};
    const auto start = std::chrono::steady_clock::now();
    const auto elapsed = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    uint64_t done = 0, instructions = 0, interrupts = 0;
    const auto report = [&] {
        fmt::print("{} cases, {} instructions, {} interrupts, {:.0f} s, next seed {}\n", done,
                   instructions, interrupts, elapsed(), options.seed);
        std::fflush(stdout);
    };
    double next_report = 60;
    for (;; ++options.seed) {
        for (unsigned n = 0; n < kFuzzKinds; ++n) {
            const auto kind = static_cast<FuzzKind>(n);
            if (options.only && kind != *options.only) continue;
            const Fuzzer::Result result = fuzzers[options.seed % 2].run(
                kind, static_cast<uint32_t>(options.seed), options.units);
            ++done;
            instructions += result.instructions;
            interrupts += result.interrupts;
            if (!result.failure.empty()) {
                fmt::print("engine_fuzz --kind {} --seed {} --units {} --cases 1\n{}\n",
                           fuzz_kind_name(kind), options.seed, options.units, result.failure);
                report();
                return 1;
            }
            if ((options.cases != 0 && done >= options.cases) ||
                (options.seconds != 0 && elapsed() >= static_cast<double>(options.seconds))) {
                report();
                return 0;
            }
        }
        if (elapsed() >= next_report) {
            next_report += 60;
            report();
        }
    }
}
