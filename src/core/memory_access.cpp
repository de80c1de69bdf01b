// SPDX-License-Identifier: GPL-2.0-or-later
// The general road of data accesses and instruction fetches: translation, page crossing, byte
// order, devices, pages with code.
#include <algorithm>
#include <cstring>

#include "core/core.h"
#include "core/host_access.h"
#include "core/spr.h"

namespace perfvisor::core {
namespace {

constexpr uint32_t kLittleEndian = 0x01;  // MAS2[E]
constexpr unsigned kLongestAccess = 64;   // a cache line

}  // namespace

// External PID accesses take address space, process and privilege from EPLC or EPSC (EREF, external
// PID).
Core::AccessContext Core::context(Access access, bool external) const {
    if (external) {
        const Mmu::Registers& r = mmu_.registers();
        const uint32_t epc = access == Access::Store ? r.epsc : r.eplc;
        const uint32_t pid_mask = (1u << model().pid_bits) - 1;
        return {.as = (epc & epc::kEAS) ? 1u : 0u,
                .pid = epc & epc::kEPID & pid_mask,
                .user = (epc & epc::kEPR) != 0,
                .external = true};
    }
    const uint32_t space = access == Access::Fetch ? msr::kIS : msr::kDS;
    return {.as = (state.msr & space) ? 1u : 0u,
            .pid = mmu_.registers().pid,
            .user = (state.msr & msr::kPR) != 0,
            .external = false};
}

bool Core::translate(uint64_t ea, Access access, const AccessContext& in, Translation& out) {
    Mmu::Lookup lookup = mmu_.translate(ea, access, in.as, in.pid, in.user);
    if (lookup.translation) {
        out = *lookup.translation;
        return true;
    }
    if (in.external) lookup.fault.esr |= esr::kEPID;
    raise(lookup.fault);
    return false;
}

bool Core::translate_data(uint64_t ea, Access access, uint64_t& physical, bool external) {
    Translation translation;
    if (!translate(ea, access, context(access, external), translation)) return false;
    if (const uint32_t events = data_address_events(ea, 1, access)) {
        debug_event(events);
        raise({.kind = Interrupt::Debug, .sets_esr = false});
        return false;
    }
    physical = translation.physical;
    return true;
}

bool Core::translate_fetch(uint64_t ea, uint64_t& physical, bool* every_process) {
    Translation translation;
    if (!translate(ea, Access::Fetch, context(Access::Fetch, false), translation)) return false;
    if (translation.attributes & kLittleEndian) {
        raise({.kind = Interrupt::InstructionStorage, .esr = esr::kBO});
        return false;
    }
    physical = translation.physical;
    if (every_process)
        *every_process =
            translation.tid == 0 && mmu_.has_one_entry(ea, (state.msr & msr::kIS) ? 1 : 0);
    if (config_.memory->find(physical)) return true;
    raise({.kind = Interrupt::MachineCheck,
           .esr = mcsr::kIF | mcsr::kMAV,
           .dear = physical,
           .sets_esr = false});
    return false;
}

bool Core::load_bytes(uint64_t ea, void* bytes, unsigned size) {
    return access_bytes(ea, static_cast<uint8_t*>(bytes), size, Access::Load, false);
}

// A store never writes through the pointer, so that the one road serves loads and stores.
bool Core::store_bytes(uint64_t ea, const void* bytes, unsigned size) {
    return access_bytes(ea, static_cast<uint8_t*>(const_cast<void*>(bytes)), size, Access::Store,
                        false);
}

bool Core::load_bytes_external(uint64_t ea, void* bytes, unsigned size) {
    return access_bytes(ea, static_cast<uint8_t*>(bytes), size, Access::Load, true);
}

bool Core::store_bytes_external(uint64_t ea, const void* bytes, unsigned size) {
    return access_bytes(ea, static_cast<uint8_t*>(const_cast<void*>(bytes)), size, Access::Store,
                        true);
}

// Both pages are translated before anything is accessed, so a fault leaves memory unchanged.
bool Core::access_bytes(uint64_t ea, uint8_t* bytes, unsigned size, Access access, bool external) {
    ea &= value_mask_;
    size = std::min(size, kLongestAccess);
    const AccessContext in = context(access, external);
    const unsigned to_page_end = static_cast<unsigned>(kPageSize - (ea & ~kPageMask));
    Piece pieces[2];
    pieces[0].ea = ea;
    pieces[0].size = std::min(size, to_page_end);
    pieces[1].ea = (ea + pieces[0].size) & value_mask_;
    pieces[1].size = size - pieces[0].size;
    const unsigned count = pieces[1].size ? 2 : 1;
    for (unsigned n = 0; n < count; ++n)
        if (!translate(pieces[n].ea, access, in, pieces[n].translation)) return false;

    if (data_breakpoints_) {
        if (const uint32_t events = data_address_events(ea, size, access)) {
            debug_event(events);
            raise({.kind = Interrupt::Debug, .sets_esr = false});
            return false;
        }
    }
    const uint32_t attributes = pieces[0].translation.attributes;
    if (count == 2 && ((attributes ^ pieces[1].translation.attributes) & kLittleEndian)) {
        raise({.kind = Interrupt::DataStorage,
               .esr = esr::kBO | (access == Access::Store ? esr::kST : 0) |
                      (external ? esr::kEPID : 0),
               .dear = ea,
               .sets_dear = true});
        return false;
    }

    const bool reversed = attributes & kLittleEndian;
    uint8_t turned[kLongestAccess];
    uint8_t* memory_order = bytes;
    if (reversed) {
        memory_order = turned;
        if (access == Access::Store) std::reverse_copy(bytes, bytes + size, turned);
    }
    for (unsigned n = 0; n < count; ++n)
        if (!access_piece(pieces[n], memory_order + (n ? pieces[0].size : 0), access, external))
            return false;
    if (reversed && access == Access::Load) std::reverse_copy(turned, turned + size, bytes);
    return true;
}

bool Core::reaches_memory(uint64_t ea, unsigned size, Access access) const {
    ea &= value_mask_;
    const AccessContext in = context(access, false);
    const uint64_t last = (ea + size - 1) & value_mask_;
    const Mmu::Lookup first = mmu_.translate(ea, access, in.as, in.pid, in.user);
    const Mmu::Lookup second = ((ea ^ last) & kPageMask) == 0
                                   ? first
                                   : mmu_.translate(last, access, in.as, in.pid, in.user);
    if (!first.translation || !second.translation) return false;
    if ((first.translation->attributes ^ second.translation->attributes) & kLittleEndian)
        return false;
    if (data_breakpoints_ && data_address_events(ea, size, access)) return false;
    for (const Mmu::Lookup* lookup : {&first, &second}) {
        const MemorySlot* slot = config_.memory->find(lookup->translation->physical);
        if (!slot || (access == Access::Store && slot->readonly)) return false;
    }
    return true;
}

bool Core::access_piece(const Piece& piece, uint8_t* bytes, Access access, bool external) {
    const uint64_t physical = piece.translation.physical;
    const bool write = access == Access::Store;
    const MemorySlot* slot = config_.memory->find(physical);
    // As with KVM, a store to read-only memory goes to the outside.
    if (!slot || (write && slot->readonly))
        return access_device(physical, bytes, piece.size, write);

    uint8_t* host = slot->host + (physical - slot->base);
    const std::atomic<uint8_t>& mark = slot->has_code[(physical - slot->base) / kPageSize];
    if (write) {
        if (store_listener_) [[unlikely]]
            store_listener_->storing(piece.ea, physical, host);
        copy_to_guest(host, bytes, piece.size);
        if (mark.load(std::memory_order_relaxed)) code_stored(*slot, physical, piece.size);
    } else {
        copy_from_guest(bytes, host, piece.size);
    }
    if (!external)
        mmu_.enter_fast(piece.ea, piece.translation, host - (piece.ea & ~kPageMask),
                        !slot->readonly && !mark.load(std::memory_order_relaxed) &&
                            (write || !store_listener_));
    return true;
}

// ---- devices ----

// A device sees naturally aligned accesses of 1 to 8 bytes only.
bool Core::access_device(uint64_t physical, uint8_t* bytes, unsigned size, bool write) {
    while (size > 0) {
        unsigned part = 8;
        while (part > size || (physical & (part - 1)))
            part /= 2;
        if (!ask_device(physical, bytes, part, write)) return false;
        physical += part;
        bytes += part;
        size -= part;
    }
    return true;
}

// The instruction is executed again after each answer; the accesses it has made already are
// answered from the log, in order. Where it turns out to be another instruction (its words or
// registers were changed from outside meanwhile), the rest of the log is not for it.
bool Core::ask_device(uint64_t physical, uint8_t* bytes, unsigned size, bool write) {
    if (mmio_used_ < mmio_log_.size()) {
        const MmioAccess& answered = mmio_log_[mmio_used_];
        if (answered.physical == physical && answered.size == size && answered.write == write) {
            if (!write) std::memcpy(bytes, answered.data, size);
            ++mmio_used_;
            return true;
        }
        mmio_log_.resize(mmio_used_);
    }
    mmio_request_ = {.physical = physical, .size = static_cast<uint8_t>(size), .write = write};
    if (write) std::memcpy(mmio_request_.data, bytes, size);
    mmio_waiting_ = true;
    return false;
}

void Core::complete_mmio(const uint8_t* data) {
    if (!mmio_waiting_) return;
    if (!mmio_request_.write) std::memcpy(mmio_request_.data, data, mmio_request_.size);
    mmio_log_.push_back(mmio_request_);
    mmio_used_ = 0;
    mmio_waiting_ = false;
}

// Interrupts were held back while the instruction was in the middle of its accesses.
void Core::end_mmio_replay() {
    mmio_log_.clear();
    mmio_used_ = 0;
    state.attention.fetch_or(kInterruptCheck, std::memory_order_relaxed);
}

}  // namespace perfvisor::core
