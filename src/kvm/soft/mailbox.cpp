// SPDX-License-Identifier: GPL-2.0-or-later
// What the other cores of a VM ask of one core.
#include "kvm/soft/mailbox.h"

#include <algorithm>

namespace perfvisor::kvm {

namespace {

// MMUCSR0[L2TLB0_FI, L2TLB1_FI]: flash invalidation of both TLBs, but for entries with IPROT.
constexpr uint32_t kFlashInvalidateAll = 0x6;

}  // namespace

uint64_t Mailbox::send(Queue& queue, uint64_t value) {
    const std::lock_guard lock(mutex_);
    if (std::find(queue.values.begin(), queue.values.end(), value) == queue.values.end()) {
        if (queue.values.size() < kMost)
            queue.values.push_back(value);
        else
            queue.all = true;
    }
    if (core_ != nullptr) core_->state.attention.fetch_or(core::kKick);
    return ++queue.sent;
}

uint64_t Mailbox::send_tlbivax(uint64_t ea) {
    return send(tlbivax_, ea);
}

uint64_t Mailbox::send_forget_page(uint64_t physical) {
    return send(forget_, physical);
}

void Mailbox::send_code_change(uint64_t physical, uint64_t length) {
    const std::lock_guard lock(mutex_);
    if (code_.size() < kMost)
        code_.emplace_back(physical, length);
    else
        all_code_ = true;
    if (core_ != nullptr) core_->state.attention.fetch_or(core::kKick);
}

void Mailbox::send_memory_change() {
    const std::lock_guard lock(mutex_);
    memory_changed_ = true;
}

void Mailbox::send_doorbell(uint64_t message) {
    const std::lock_guard lock(mutex_);
    if (core_ == nullptr) return;
    core_->receive_doorbell(message);
    wake_();
}

bool Mailbox::has_invalidations() {
    const std::lock_guard lock(mutex_);
    return !tlbivax_.values.empty() || tlbivax_.all || !forget_.values.empty() || forget_.all ||
           !code_.empty() || all_code_ || memory_changed_;
}

void Mailbox::receive(Receive what) {
    const std::lock_guard lock(mutex_);
    if (core_ == nullptr) return;
    receiving_ = true;
    receive_forget_page();
    if (what == Receive::Everything || what == Receive::Translations) receive_tlbivax();
    if (what == Receive::Everything) receive_code_changes();
    // What was found of a memory slot that is gone; the guest's TLBs stay.
    if (what == Receive::Unfinished && memory_changed_) core_->mmu().forget_all();
    receiving_ = false;
}

void Mailbox::receive_tlbivax() {
    for (const uint64_t ea : tlbivax_.values)
        core_->mmu().tlbivax(ea);
    if (tlbivax_.all) core_->mmu().write_mmucsr0(kFlashInvalidateAll);
    tlbivax_.values.clear();
    tlbivax_.all = false;
    tlbivax_.answered.store(tlbivax_.sent);
}

void Mailbox::receive_forget_page() {
    for (const uint64_t physical : forget_.values)
        core_->mmu().forget_physical_page(physical);
    if (forget_.all) core_->mmu().forget_all_writes();
    forget_.values.clear();
    forget_.all = false;
    forget_.answered.store(forget_.sent);
}

void Mailbox::receive_code_changes() {
    if (std::exchange(memory_changed_, false)) {
        core_->mmu().forget_all();
        all_code_ = true;
    }
    if (all_code_)
        engine_->flush();
    else
        for (const auto& [physical, length] : code_)
            core_->invalidate_code(physical, length);
    code_.clear();
    all_code_ = false;
}

void Mailbox::close() {
    const std::lock_guard lock(mutex_);
    core_ = nullptr;
    executing_.store(false);
}

}  // namespace perfvisor::kvm
