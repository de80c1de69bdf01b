// SPDX-License-Identifier: GPL-2.0-or-later
// The guest as its monitor sees it.
#include "vmm/guest_control.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <utility>

namespace perfvisor::vmm {

GuestControl::GuestControl(std::string name)
    : name_(std::move(name)), quit_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void GuestControl::attach(Guest& guest) {
    const std::lock_guard lock(mutex_);
    guest_ = &guest;
    earlier_.resize(guest.cpus());
    if (paused_) guest.pause();
}

void GuestControl::detach() {
    const std::lock_guard lock(mutex_);
    if (guest_ == nullptr) return;
    for (unsigned cpu = 0; cpu < earlier_.size(); ++cpu)
        earlier_[cpu] = totals_so_far(cpu);
    guest_ = nullptr;
}

bool GuestControl::paused() const {
    const std::lock_guard lock(mutex_);
    return paused_;
}

std::vector<MonitorTarget::Cpu> GuestControl::cpus() const {
    const std::lock_guard lock(mutex_);
    std::vector<Cpu> cpus(earlier_.size());
    for (unsigned index = 0; index < cpus.size(); ++index)
        cpus[index] = {index, guest_ != nullptr ? guest_->thread_id(index) : 0};
    return cpus;
}

Result<std::vector<kvm::EventTotal>> GuestControl::event_totals(unsigned cpu) const {
    const std::lock_guard lock(mutex_);
    return totals_so_far(cpu);
}

// With mutex_ held. Every boot has the same events.
Result<std::vector<kvm::EventTotal>> GuestControl::totals_so_far(unsigned cpu) const {
    if (cpu >= earlier_.size()) return fail("the guest has no CPU {}", cpu);
    const auto& earlier = earlier_[cpu];
    if (guest_ == nullptr || !earlier) return earlier;
    auto totals = guest_->event_totals(cpu);
    if (totals)
        for (size_t n = 0; n < std::min(totals->size(), earlier->size()); ++n)
            (*totals)[n].total += (*earlier)[n].total;
    return totals;
}

void GuestControl::pause() {
    const std::lock_guard lock(mutex_);
    paused_ = true;
    if (guest_ != nullptr) guest_->pause();
}

void GuestControl::resume() {
    const std::lock_guard lock(mutex_);
    paused_ = false;
    if (guest_ != nullptr) guest_->resume();
}

void GuestControl::reset() {
    const std::lock_guard lock(mutex_);
    if (guest_ == nullptr) return;
    reset_asked_ = true;
    guest_->reset();
}

bool GuestControl::take_reset_asked() {
    const std::lock_guard lock(mutex_);
    return std::exchange(reset_asked_, false);
}

void GuestControl::quit() {
    eventfd_write(quit_.get(), 1);
}

}  // namespace perfvisor::vmm
