// SPDX-License-Identifier: GPL-2.0-or-later
// Counting between the guest's own marks.
#include "kvm/soft/count_window.h"

#include <cerrno>
#include <cstring>

#include "kvm/soft/event_totals.h"

namespace perfvisor::kvm {

using core::Total;
using core::Totals;

void WindowCounts::begin() {
    modes_.start();
    opened_user_ = modes_.user();
    opened_supervisor_ = modes_.supervisor();
    counting_ = true;
}

void WindowCounts::model_begins() {
    modes_.settle();
    opened_user_.modelled = modes_.user().modelled;
    opened_supervisor_.modelled = modes_.supervisor().modelled;
}

void WindowCounts::end(const Totals& now) {
    modes_.settle(now);
    user_ = user();
    supervisor_ = supervisor();
    counting_ = false;
}

void WindowCounts::data_acquired(uint32_t value) {
    const Totals& totals = core_.state.totals;
    const uint32_t state = window_.state.load(std::memory_order_acquire);
    if (state == CountWindow::kAhead && value == window_.open_mark) {
        marked_ = true;
        calls_ = totals[Total::SystemCallsAndTraps];
    } else if (state == CountWindow::kOpen && value == window_.close_mark) {
        look();
        Totals before = totals;  // this mtspr
        --before[Total::Instructions];
        end(before);
        window_.closed_at = time_.nanoseconds(before.cycles());
        window_.state.store(CountWindow::kClosed, std::memory_order_release);
        all_look_();
    }
}

void WindowCounts::privilege_changes() {
    if (counting_) return look();
    // Interrupts between the mark and its system call open nothing.
    if (!marked_ || core_.state.totals[Total::SystemCallsAndTraps] == calls_) return;
    marked_ = false;
    uint32_t ahead = CountWindow::kAhead;
    if (!window_.state.compare_exchange_strong(ahead, CountWindow::kOpen)) return;
    window_.opened_at = time_.nanoseconds(core_.state.totals.cycles());
    begin();
    all_look_();
}

void WindowCounts::look() {
    const uint32_t state = window_.state.load(std::memory_order_acquire);
    if (counting_ == (state == CountWindow::kOpen)) return;
    if (counting_)
        end(core_.state.totals);
    else
        begin();
}

int window_counts(const WindowCounts& counts, const CountWindow& window,
                  kvm_soft_window_counts& request) {
    request.state = window.state.load(std::memory_order_acquire);
    request.nanoseconds =
        request.state == CountWindow::kClosed ? window.closed_at - window.opened_at : 0;
    const Counts user = counts.user(), supervisor = counts.supervisor();
    uint32_t count = 0;
    for (const core::Event& event : core::e500mc_events()) {
        const auto in_user = total_of(event.source, user, window.model_parts);
        const auto in_supervisor = total_of(event.source, supervisor, window.model_parts);
        if (!in_user || !in_supervisor) continue;
        if (count < request.room) {
            if (request.entries == 0) return -EFAULT;
            const kvm_soft_window_count entry{*in_user, *in_supervisor, event.code, 0};
            auto* const to = reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(request.entries));
            std::memcpy(to + size_t{count} * sizeof entry, &entry, sizeof entry);
        }
        ++count;
    }
    request.count = count;
    return count <= request.room ? 0 : -E2BIG;
}

}  // namespace perfvisor::kvm
