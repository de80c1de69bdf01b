// SPDX-License-Identifier: GPL-2.0-or-later
// What a core tells the other cores of its VM. Implemented by the VM; a single core may go without.
#pragma once

#include <cstdint>

namespace perfvisor::core {

class Core;

class Interconnect {
  public:
    virtual ~Interconnect() = default;
    // tlbivax: every other core invalidates too, before a following tlbsync of `from` completes.
    virtual void broadcast_tlbivax(Core& from, uint64_t ea) = 0;
    // msgsnd with rB's value: every core that matches the message, the sender included, takes it.
    virtual void send_doorbell(Core& from, uint64_t message) = 0;
    // Code of the physical page was changed or flushed (store to a code page, icbi): every other
    // core drops what it decoded from [physical, physical + length).
    virtual void invalidate_code(Core& from, uint64_t physical, uint64_t length) = 0;
    // `from` is about to decode the physical page, whose has_code byte is set: when this returns,
    // every other core has dropped its inline write translations of the page
    // (Mmu::forget_physical_page).
    virtual void protect_code_page(Core& from, uint64_t physical) {
        (void)from;
        (void)physical;
    }
};

}  // namespace perfvisor::core
