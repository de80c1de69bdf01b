// SPDX-License-Identifier: GPL-2.0-or-later
// The virtual clock's vCPUs take turns, in an order that only the guest decides.
#include "kvm/soft/turns.h"

#include <algorithm>
#include <utility>

#include "kvm/soft/vcpu.h"

namespace perfvisor::kvm {

void Turns::join(SoftVcpu& vcpu) {
    const std::lock_guard lock(mutex_);
    auto seat = std::make_unique<Seat>();
    seat->vcpu = &vcpu;
    const auto place = std::find_if(seats_.begin(), seats_.end(), [&](const auto& other) {
        return other->vcpu->id() > vcpu.id();
    });
    seats_.insert(place, std::move(seat));
}

void Turns::leave(SoftVcpu& vcpu) {
    const std::lock_guard lock(mutex_);
    const auto place = std::find_if(seats_.begin(), seats_.end(),
                                    [&](const auto& seat) { return seat->vcpu == &vcpu; });
    if (place == seats_.end()) return;
    if (holder_ == place->get()) {
        holder_ = nullptr;
        next_ = static_cast<size_t>(place - seats_.begin());
    }
    if (executed_last_ == &vcpu) executed_last_ = nullptr;
    seats_.erase(place);
    call_all();
}

void Turns::reset(SoftVcpu& vcpu) {
    const std::lock_guard lock(mutex_);
    Seat& seat = seat_of(vcpu);
    seat.last = {};
    seat.hopeless = false;
    if (!std::exchange(seat.away, false)) return;
    left_ = 0;
    call_all();
}

Turns::Seat& Turns::seat_of(SoftVcpu& vcpu) {
    return **std::find_if(seats_.begin(), seats_.end(),
                          [&](const auto& seat) { return seat->vcpu == &vcpu; });
}

// ---- the threads ----

int Turns::run(SoftVcpu& own) {
    std::unique_lock lock(mutex_);
    Seat& seat = seat_of(own);
    seat.inside = true;
    seat.exit.reset();
    if (std::exchange(seat.hopeless, false)) seat.last = {};
    while (!seat.exit) {
        if (!conducting_) conduct(lock, seat);
        if (seat.exit) break;
        const bool executing = conducting_ && holder_ == &seat;
        if (!executing) {
            own.answer_counts();
            if (own.leave_requested()) {
                seat.exit = own.interrupted();
                break;
            }
        }
        seat.called = false;
        lock.unlock();
        const bool undisturbed = own.wait_for_call(seat.called);
        lock.lock();
        // A signal ends KVM_RUN as kick() does.
        if (!undisturbed) own.leave_soon();
    }
    seat.inside = false;
    return *std::exchange(seat.exit, std::nullopt);
}

void Turns::call(Seat& seat) {
    seat.called = true;
    seat.vcpu->wake_thread();
}

// Those that may have waited for one that is not to come.
void Turns::call_all() {
    for (const auto& seat : seats_)
        call(*seat);
}

// Executes turn after turn until the caller has to leave KVM_RUN or nothing can go on without
// another thread.
void Turns::conduct(std::unique_lock<std::mutex>& lock, Seat& own) {
    Seat* next = nullptr;
    do {
        idle_ = false;
        conducting_ = true;
        while (execute_next(lock, own)) {
        }
        // From here on a CPU that gets something to do is woken up; what it got before is seen by
        // one more look.
        idle_ = choose() == nullptr;
        conducting_ = false;
        next = choose();
        if (own.exit || own.vcpu->leave_requested()) break;
    } while (next && next->inside);
    if (next && next != &own && next->inside) call(*next);
}

bool Turns::execute_next(std::unique_lock<std::mutex>& lock, Seat& own) {
    if (own.exit) return false;
    Seat* const seat = choose();
    if (!seat || !seat->inside) return false;
    if (seat != &own && own.vcpu->leave_requested()) return false;
    const uint64_t until = clock_.executed_until(earliest_due(), sharers(*seat));
    const uint64_t cycles = std::min(left_, until);
    const bool alone = executed_last_ == nullptr || executed_last_ == seat->vcpu;
    const unsigned share = sharers(*seat);
    lock.unlock();
    const Turn turn = seat->vcpu->take_turn(cycles, share, !alone);
    lock.lock();
    settle(*seat, turn, own);
    return true;
}

void Turns::settle(Seat& seat, const Turn& turn, Seat& own) {
    seat.last = turn;
    seat.away = turn.end == Turn::End::Exit && !turn.kicked;
    if (turn.executed > 0) executed_last_ = seat.vcpu;
    left_ -= std::min(left_, turn.executed);
    if (turn.end == Turn::End::Idle || turn.end == Turn::End::Stuck) left_ = 0;
    if (turn.end != Turn::End::Exit) return;
    seat.exit = turn.result;
    if (&seat == &own) return;
    seat.inside = false;
    call(seat);
}

// ---- whose turn it is ----

bool Turns::is_active(const Seat& seat) const {
    return seat.last.end != Turn::End::Idle && seat.last.end != Turn::End::Stuck &&
           !seat.vcpu->stopped();
}

uint64_t Turns::due(const Seat& seat) const {
    if (seat.vcpu->stopped()) return seat.vcpu->deadline_cycle();
    return seat.last.end == Turn::End::Idle ? seat.last.wake_at : kNever;
}

// A CPU that waits may have been asked something by the VMM, too: then it answers and waits on.
bool Turns::wants_turn(const Seat& seat) const {
    if (is_active(seat) || due(seat) <= clock_.cycles()) return true;
    return seat.vcpu->has_news() && (!seat.vcpu->stopped() || seat.inside);
}

// Of those that are not due yet.
uint64_t Turns::earliest_due() const {
    uint64_t earliest = kNever;
    for (const auto& seat : seats_)
        if (const uint64_t at = due(*seat); at > clock_.cycles()) earliest = std::min(earliest, at);
    return earliest;
}

// How many CPUs execute in the same guest time.
unsigned Turns::sharers(const Seat& executing) const {
    return static_cast<unsigned>(std::count_if(seats_.begin(), seats_.end(), [&](const auto& seat) {
        return seat.get() == &executing || is_active(*seat) ||
               (!seat->vcpu->stopped() && due(*seat) <= clock_.cycles());
    }));
}

// The CPU that executes next, whether its thread is in KVM_RUN or is waited for; null where all
// wait for something from outside.
Turns::Seat* Turns::choose() {
    if (holder_ && (holder_->away || (left_ > 0 && is_active(*holder_)))) return holder_;
    for (;;) {
        for (size_t n = 0; n < seats_.size(); ++n) {
            const size_t place = (next_ + n) % seats_.size();
            Seat& seat = *seats_[place];
            if (!wants_turn(seat)) continue;
            holder_ = &seat;
            next_ = place + 1;
            left_ = seats_.size() == 1 ? kTurnAlone : kTurn;
            return &seat;
        }
        const uint64_t at = earliest_due();
        if (at != kNever)
            clock_.skip_to(at);
        else
            return last_of_the_stuck();
    }
}

// Where no CPU of the VM can set any other going again, the last that could hears of it.
Turns::Seat* Turns::last_of_the_stuck() {
    if (!holder_ || !holder_->inside || holder_->exit || holder_->vcpu->stopped()) return nullptr;
    const bool all = std::all_of(seats_.begin(), seats_.end(), [](const auto& seat) {
        return seat->vcpu->stopped() || seat->last.end == Turn::End::Stuck || seat->last.for_ever;
    });
    if (!all) return nullptr;
    holder_->hopeless = true;
    holder_->exit = holder_->vcpu->hopeless(holder_->last.end == Turn::End::Stuck);
    call(*holder_);
    return nullptr;
}

}  // namespace perfvisor::kvm
