// SPDX-License-Identifier: GPL-2.0-or-later
// Time to reserve the machine's performance monitor and to release it, alone and beside others.
// The argument of each benchmark is the number of holders that are there already. Aim: under 50 µs.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "host/perfmon_reservation.h"

namespace perfvisor::host {
namespace {

// A runtime directory on tmpfs, as /run is, with holders in it.
class Contended {
  public:
    Contended(HolderClass holder_class, int holders) : holder_class_(holder_class) {
        std::string path = "/dev/shm/perfvisor-bench-XXXXXX";
        if (::mkdtemp(path.data()) == nullptr) return;
        path_ = path;
        RuntimeDirectoryOptions options;
        options.path = path;
        if (auto registry = PerfmonRegistry::open(options)) registry_.emplace(std::move(*registry));
        for (int i = 0; i < holders; ++i) {
            auto reservation = reserve();
            if (reservation) holders_.push_back(std::move(*reservation));
        }
    }
    ~Contended() {
        std::error_code ignored;
        if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
    }

    std::optional<Reservation> reserve() {
        if (!registry_) return std::nullopt;
        HolderInfo info;
        info.name = "bench";
        auto result = holder_class_ == HolderClass::kGuest ? registry_->reserve_for_guest(info)
                                                           : registry_->reserve_for_host(info);
        if (!result) return std::nullopt;
        return std::move(*result);
    }
    [[nodiscard]] const PerfmonRegistry& registry() const { return *registry_; }
    [[nodiscard]] bool ready(std::size_t holders) const { return holders_.size() == holders; }

  private:
    HolderClass holder_class_;
    std::string path_;
    std::optional<PerfmonRegistry> registry_;
    std::vector<Reservation> holders_;
};

enum class Timed { kReserve, kRelease };

void reserve_and_release(benchmark::State& state, HolderClass holder_class, Timed timed) {
    Contended contended(holder_class, static_cast<int>(state.range(0)));
    if (!contended.ready(static_cast<std::size_t>(state.range(0)))) {
        state.SkipWithError("the other holders could not reserve");
        return;
    }
    while (state.KeepRunning()) {
        const auto start = std::chrono::steady_clock::now();
        auto reservation = contended.reserve();
        const auto reserved = std::chrono::steady_clock::now();
        if (!reservation) {
            state.SkipWithError("could not reserve");
            return;
        }
        reservation.reset();
        const auto released = std::chrono::steady_clock::now();
        const auto time = timed == Timed::kReserve ? reserved - start : released - reserved;
        state.SetIterationTime(std::chrono::duration<double>(time).count());
    }
}

void status(benchmark::State& state) {
    Contended contended(HolderClass::kGuest, static_cast<int>(state.range(0)));
    while (state.KeepRunning())
        benchmark::DoNotOptimize(contended.registry().status());
}

BENCHMARK_CAPTURE(reserve_and_release, guest_reserve, HolderClass::kGuest, Timed::kReserve)
    ->Arg(0)
    ->Arg(64)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(reserve_and_release, guest_release, HolderClass::kGuest, Timed::kRelease)
    ->Arg(0)
    ->Arg(64)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(reserve_and_release, host_reserve, HolderClass::kHost, Timed::kReserve)
    ->Arg(0)
    ->Arg(64)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(reserve_and_release, host_release, HolderClass::kHost, Timed::kRelease)
    ->Arg(0)
    ->Arg(64)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(status)->Arg(0)->Arg(64)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace perfvisor::host
