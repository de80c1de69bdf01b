// SPDX-License-Identifier: GPL-2.0-or-later
// Counting between the guest's own marks.
#include "kvm/soft/count_window.h"

#include <cerrno>
#include <cstring>

#include "kvm/soft/event_totals.h"

namespace perfvisor::kvm {

using core::Total;
using core::Totals;

namespace {

template <typename T>
void add_difference(T& to, const T& from, const T& now) {
    for (size_t n = 0; n < now.value.size(); ++n)
        to.value[n] += now.value[n] - from.value[n];
}

}  // namespace

// The model runs from the next instruction on, and has seen nothing of what came before.
void WindowCounts::begin() {
    settled_ = {core_.state.totals, core_.state.modelled};
    counting_ = true;
    if (window_.model_parts == 0) return;
    core_.state.model.outside = window_.model_parts;
    core_.state.attention.fetch_or(core::kInterruptCheck);
}

void WindowCounts::settle(const Totals& now) {
    Counts& mode = core_.state.msr & core::msr::kPR ? user_ : supervisor_;
    add_difference(mode.totals, settled_.totals, now);
    add_difference(mode.modelled, settled_.modelled, core_.state.modelled);
    settled_ = {now, core_.state.modelled};
}

void WindowCounts::end(const Totals& now) {
    settle(now);
    counting_ = false;
    core_.state.model.outside = 0;
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
    if (counting_) {
        look();
        if (counting_) settle(core_.state.totals);
        return;
    }
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
    const auto of = [&](const WindowCounts::Counts& mode, const core::Event& event) {
        // What the model was not asked for may have been counted by the way, or not.
        const bool asked = (event.source.part & ~window.model_parts) == 0;
        return total_of(event.source, mode.totals, asked ? &mode.modelled : nullptr);
    };
    uint32_t count = 0;
    for (const core::Event& event : core::e500mc_events()) {
        const auto in_user = of(counts.user(), event);
        const auto in_supervisor = of(counts.supervisor(), event);
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
