// SPDX-License-Identifier: GPL-2.0-or-later
// A running core's totals for other threads: asked for at any time, given at an instruction
// boundary, without a trace in the guest.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

#include "core/pm_events.h"
#include "core/state.h"
#include "kvm/uapi/kvm_soft.h"

namespace perfvisor::kvm {

class TotalsExchange {
  public:
    // From any thread: the totals as of an instruction boundary after the call. `core_mutex` is
    // held by whoever has the core; `nudge` makes its engine come back soon.
    template <typename Nudge>
    core::Totals ask(std::mutex& core_mutex, const core::Totals& totals, Nudge nudge) {
        std::unique_lock lock(mutex_);
        const uint64_t question = ++asked_;
        for (;;) {
            if (std::unique_lock core(core_mutex, std::try_to_lock); core) return totals;
            nudge();
            // KVM_RUN may have returned between its last look and our question.
            if (changed_.wait_for(lock, kLookAgain, [&] { return answered_ >= question; }))
                return answer_;
        }
    }

    // By the thread that has the core, at an instruction boundary.
    void answer(const core::Totals& totals) {
        if (asked_.load(std::memory_order_relaxed) == answered_seen_) return;
        const std::lock_guard lock(mutex_);
        answered_seen_ = answered_ = asked_;
        answer_ = totals;
        changed_.notify_all();
    }

  private:
    static constexpr std::chrono::milliseconds kLookAgain{2};

    std::mutex mutex_;
    std::condition_variable changed_;
    std::atomic<uint64_t> asked_{0};  // changed under mutex_
    uint64_t answered_ = 0;           // under mutex_
    core::Totals answer_;             // under mutex_
    uint64_t answered_seen_ = 0;      // of the thread that has the core
};

// Nothing for what is not counted, and for what is of a guest's counters: wraps, thresholds. With
// `modelled`, what the timing model counts too.
std::optional<uint64_t> total_of(const core::EventSource& source, const core::Totals& totals,
                                 const core::ModelledTotals* modelled = nullptr);

// KVM_SOFT_GET_EVENT_TOTALS: one entry for each event that counts what the core does.
int event_totals(const core::Totals& totals, kvm_soft_event_totals& request);

}  // namespace perfvisor::kvm
