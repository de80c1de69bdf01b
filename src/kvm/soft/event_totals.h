// SPDX-License-Identifier: GPL-2.0-or-later
// What a running core has counted, for other threads: asked for at any time, given at an
// instruction boundary, without a trace in the guest.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

#include "core/pm_events.h"
#include "kvm/soft/mode_counts.h"
#include "kvm/uapi/kvm_soft.h"

namespace perfvisor::kvm {

// What a core has counted, as of an instruction boundary.
struct CountsSnapshot {
    struct Modes {
        Counts user, supervisor;
    };
    Counts all;
    uint32_t model_parts = 0;    // of the timing model, whose counts are in it
    std::optional<Modes> modes;  // where they are counted apart
};

class CountsExchange {
  public:
    // From any thread: the counts as of an instruction boundary after the call. `core_mutex` is
    // held by whoever has the core, and by this thread while it calls `take`; `nudge` makes its
    // engine come back soon.
    template <typename Take, typename Nudge>
    CountsSnapshot ask(std::mutex& core_mutex, Take take, Nudge nudge) {
        std::unique_lock lock(mutex_);
        const uint64_t question = ++asked_;
        for (;;) {
            if (std::unique_lock core(core_mutex, std::try_to_lock); core) return take();
            nudge();
            // KVM_RUN may have returned between its last look and our question.
            if (changed_.wait_for(lock, kLookAgain, [&] { return answered_ >= question; }))
                return answer_;
        }
    }

    // By the thread that has the core, at an instruction boundary.
    template <typename Take>
    void answer(Take take) {
        if (asked_.load(std::memory_order_relaxed) == answered_seen_) return;
        const std::lock_guard lock(mutex_);
        answered_seen_ = answered_ = asked_;
        answer_ = take();
        changed_.notify_all();
    }

  private:
    static constexpr std::chrono::milliseconds kLookAgain{2};

    std::mutex mutex_;
    std::condition_variable changed_;
    std::atomic<uint64_t> asked_{0};  // changed under mutex_
    uint64_t answered_ = 0;           // under mutex_
    CountsSnapshot answer_;           // under mutex_
    uint64_t answered_seen_ = 0;      // of the thread that has the core
};

// Nothing for what is not counted, and for what is of a guest's counters: wraps, thresholds. What
// the timing model counts only where all parts that it needs are among `model_parts`: others may
// have run, or not.
std::optional<uint64_t> total_of(const core::EventSource& source, const Counts& counts,
                                 uint32_t model_parts);

// KVM_SOFT_GET_EVENT_TOTALS: one entry for each event that counts what the core does.
int event_totals(const CountsSnapshot& counts, kvm_soft_event_totals& request);

}  // namespace perfvisor::kvm
