// SPDX-License-Identifier: GPL-2.0-or-later
// Counts apart for user and supervisor mode, and who wants them.
#include "kvm/soft/mode_counts.h"

#include <algorithm>

namespace perfvisor::kvm {
namespace {

template <typename T>
void add_difference(T& to, const T& from, const T& now) {
    for (size_t n = 0; n < now.value.size(); ++n)
        to.value[n] += now.value[n] - from.value[n];
}

}  // namespace

Counts Counts::since(const Counts& earlier) const {
    Counts difference;
    add_difference(difference.totals, earlier.totals, totals);
    add_difference(difference.modelled, earlier.modelled, modelled);
    return difference;
}

void ModeCounts::start() {
    if (on_) return settle();
    settled_ = {core_.state.totals, core_.state.modelled};
    on_ = true;
}

void ModeCounts::stop() {
    settle();
    on_ = false;
}

void ModeCounts::settle(const core::Totals& now) {
    if (!on_) return;
    Counts& mode = core_.state.msr & core::msr::kPR ? user_ : supervisor_;
    add_difference(mode.totals, settled_.totals, now);
    add_difference(mode.modelled, settled_.modelled, core_.state.modelled);
    settled_ = {now, core_.state.modelled};
}

void CountRequests::add(uint32_t model_parts) {
    const std::lock_guard lock(mutex_);
    ++users_;
    for (unsigned bit = 0; bit < part_users_.size(); ++bit)
        part_users_[bit] += model_parts >> bit & 1;
    publish();
}

bool CountRequests::remove(uint32_t model_parts) {
    const std::lock_guard lock(mutex_);
    if (users_ == 0) return false;
    for (unsigned bit = 0; bit < part_users_.size(); ++bit)
        if ((model_parts >> bit & 1) > part_users_[bit]) return false;
    --users_;
    for (unsigned bit = 0; bit < part_users_.size(); ++bit)
        part_users_[bit] -= model_parts >> bit & 1;
    publish();
    return true;
}

void CountRequests::publish() {
    uint32_t wanted = users_ > 0 ? kByMode : 0;
    for (unsigned bit = 0; bit < part_users_.size(); ++bit)
        if (part_users_[bit] > 0) wanted |= 1u << bit;
    wanted_.store(wanted, std::memory_order_release);
}

}  // namespace perfvisor::kvm
