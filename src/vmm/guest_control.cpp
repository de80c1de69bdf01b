// SPDX-License-Identifier: GPL-2.0-or-later
// The guest as its monitor sees it.
#include "vmm/guest_control.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <utility>

namespace perfvisor::vmm {
namespace {

void add(kvm::EventTotal& to, const kvm::EventTotal& from) {
    to.total += from.total;
    if (!to.modes || !from.modes) return;
    to.modes->user += from.modes->user;
    to.modes->supervisor += from.modes->supervisor;
}

}  // namespace

class GuestControl::CountingEvents final : public Counting {
  public:
    CountingEvents(GuestControl& control, std::list<Wish>::iterator wish)
        : control_(control), wish_(wish) {}
    ~CountingEvents() override { control_.stop_counting(wish_); }

  private:
    GuestControl& control_;
    const std::list<Wish>::iterator wish_;
};

GuestControl::GuestControl(std::string name)
    : name_(std::move(name)), quit_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

// A boot that got the performance monitor does not count what would change its own counts.
void GuestControl::attach(Guest& guest) {
    const std::lock_guard lock(mutex_);
    guest_ = &guest;
    earlier_.resize(guest.cpus());
    for (Wish& wish : wishes_)
        wish.granted = guest.count_events(wish.events, true).has_value();
    if (paused_) guest.pause();
}

// Counts that this boot did not go on with are kept for the next.
void GuestControl::detach() {
    const std::lock_guard lock(mutex_);
    if (guest_ == nullptr) return;
    for (unsigned cpu = 0; cpu < earlier_.size(); ++cpu) {
        const auto totals = totals_so_far(cpu);
        if (!totals) {
            earlier_[cpu] = tl::unexpected(totals.error());
            continue;
        }
        for (const kvm::EventTotal& total : *totals) {
            kvm::EventTotal& kept = (*earlier_[cpu])[total.event];
            const auto modes = kept.modes;
            kept = total;
            if (!kept.modes) kept.modes = modes;
        }
    }
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

// With mutex_ held.
Result<std::vector<kvm::EventTotal>> GuestControl::totals_so_far(unsigned cpu) const {
    if (cpu >= earlier_.size()) return fail("the guest has no CPU {}", cpu);
    const auto& earlier = earlier_[cpu];
    if (!earlier) return tl::unexpected(earlier.error());
    if (guest_ == nullptr) {
        std::vector<kvm::EventTotal> totals;
        for (const auto& [event, total] : *earlier)
            totals.push_back(total);
        return totals;
    }
    auto totals = guest_->event_totals(cpu);
    if (totals)
        for (kvm::EventTotal& total : *totals)
            if (const auto before = earlier->find(total.event); before != earlier->end())
                add(total, before->second);
    return totals;
}

Result<std::unique_ptr<MonitorTarget::Counting>> GuestControl::count_events(
    std::vector<uint32_t> events) {
    const std::lock_guard lock(mutex_);
    Wish wish{std::move(events), false};
    if (guest_ != nullptr) {
        if (auto counted = guest_->count_events(wish.events, true); !counted)
            return tl::unexpected(counted.error());
        wish.granted = true;
    }
    wishes_.push_front(std::move(wish));
    return std::make_unique<CountingEvents>(*this, wishes_.begin());
}

void GuestControl::stop_counting(std::list<Wish>::iterator wish) {
    const std::lock_guard lock(mutex_);
    // It was begun, so it can be ended.
    if (guest_ != nullptr && wish->granted) (void)guest_->count_events(wish->events, false);
    wishes_.erase(wish);
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
