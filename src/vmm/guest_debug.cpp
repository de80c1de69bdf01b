// SPDX-License-Identifier: GPL-2.0-or-later
// The guest as its debugger sees it.
#include "vmm/guest_debug.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "vmm/gdb_registers.h"

namespace perfvisor::vmm {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint32_t kMsrDs = 0x10;
constexpr uint32_t kInstructionBytes = 4;
// A longer one would be watched in its first bytes only, so it is refused.
constexpr uint32_t kMostWatchedBytes = 8;

bool is_watchpoint(const DebugPoint& point) {
    return point.kind != DebugPoint::Kind::Software && point.kind != DebugPoint::Kind::Hardware;
}

uint32_t kvm_type(DebugPoint::Kind kind) {
    switch (kind) {
        case DebugPoint::Kind::Write:
            return KVMPPC_DEBUG_WATCH_WRITE;
        case DebugPoint::Kind::Read:
            return KVMPPC_DEBUG_WATCH_READ;
        case DebugPoint::Kind::Access:
            return KVMPPC_DEBUG_WATCH_READ | KVMPPC_DEBUG_WATCH_WRITE;
        case DebugPoint::Kind::Software:
        case DebugPoint::Kind::Hardware:
            break;
    }
    return KVMPPC_DEBUG_BREAKPOINT;
}

}  // namespace

GuestDebug::GuestDebug(bool step_without_interrupts, Hooks hooks)
    : hooks_(std::move(hooks)),
      stop_event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      step_without_interrupts_(step_without_interrupts) {}

// ---- boots ----

void GuestDebug::attach(Guest& guest) {
    const std::lock_guard lock(mutex_);
    guest_ = &guest;
    courses_.assign(guest.cpus(), Course::Run);
    // The new boot's memory has none of them.
    std::erase_if(points_, [](const Inserted& inserted) { return inserted.patch.has_value(); });
    if (auto done = configure(); !done) hooks_.warn(fmt::format("gdb: {}", done.error().message));
    if (held_) guest.hold_all();
}

void GuestDebug::detach() {
    const std::lock_guard lock(mutex_);
    guest_ = nullptr;
}

Result<void> GuestDebug::need_guest() const {
    if (guest_ == nullptr) return fail("the guest is between two boots");
    return {};
}

// ---- stopping and going on ----

void GuestDebug::debug_exit(unsigned cpu, const kvm_debug_exit_arch& exit) {
    const std::lock_guard lock(exit_mutex_);
    if (!exit_) exit_ = {cpu, exit};
    eventfd_write(stop_event_.get(), 1);
}

void GuestDebug::stop_guest() {
    held_ = true;
    if (guest_ != nullptr) guest_->hold_all();
    // What else has come to its breakpoint comes to it again: it is before the instruction.
    const std::lock_guard lock(exit_mutex_);
    exit_.reset();
    eventfd_t count = 0;
    eventfd_read(stop_event_.get(), &count);
}

void GuestDebug::stop() {
    const std::lock_guard lock(mutex_);
    stop_guest();
}

std::optional<DebugStop> GuestDebug::take_stop() {
    const std::lock_guard lock(mutex_);
    std::optional<std::pair<unsigned, kvm_debug_exit_arch>> exit;
    {
        const std::lock_guard exit_lock(exit_mutex_);
        exit = exit_;
    }
    if (!exit) return std::nullopt;
    stop_guest();
    DebugStop stop;
    stop.cpu = exit->first;
    if (exit->second.status & (KVMPPC_DEBUG_WATCH_READ | KVMPPC_DEBUG_WATCH_WRITE))
        for (const Inserted& inserted : points_)
            if (is_watchpoint(inserted.point) &&
                exit->second.address - inserted.point.address < inserted.point.length)
                stop.watch = inserted.point;
    return stop;
}

void GuestDebug::resume(std::span<const Course> courses) {
    const std::lock_guard lock(mutex_);
    held_ = false;
    courses_.assign(courses.begin(), courses.end());
    if (guest_ != nullptr) {
        if (auto done = configure(); !done)
            hooks_.warn(fmt::format("gdb: {}", done.error().message));
        for (unsigned cpu = 0; cpu < courses_.size(); ++cpu)
            if (courses_[cpu] != Course::Rest) guest_->release(cpu);
    }
    hooks_.resumed();
}

void GuestDebug::let_go() {
    const std::lock_guard lock(mutex_);
    if (guest_ != nullptr) guest_->hold_all();
    for (const Inserted& inserted : points_)
        if (inserted.patch) unpatch(*inserted.patch);
    points_.clear();
    std::fill(courses_.begin(), courses_.end(), Course::Run);
    held_ = false;
    if (guest_ != nullptr) {
        if (auto done = configure(); !done)
            hooks_.warn(fmt::format("gdb: {}", done.error().message));
        for (unsigned cpu = 0; cpu < guest_->cpus(); ++cpu)
            guest_->release(cpu);
    }
    hooks_.resumed();
}

void GuestDebug::kill() {
    hooks_.kill();
}

bool GuestDebug::step_without_interrupts() const {
    const std::lock_guard lock(mutex_);
    return step_without_interrupts_;
}

void GuestDebug::set_step_without_interrupts(bool on) {
    const std::lock_guard lock(mutex_);
    step_without_interrupts_ = on;
}

// ---- vCPUs and registers ----

unsigned GuestDebug::cpus() const {
    const std::lock_guard lock(mutex_);
    return static_cast<unsigned>(courses_.size());
}

std::string GuestDebug::cpu_state(unsigned cpu) const {
    const std::lock_guard lock(mutex_);
    return guest_ != nullptr && guest_->started(cpu) ? "stopped" : "not started";
}

Result<uint64_t> GuestDebug::read_register(unsigned cpu, unsigned number) {
    const std::lock_guard lock(mutex_);
    if (auto there = need_guest(); !there) return tl::unexpected(there.error());
    return read_gdb_register(guest_->vcpu(cpu), number);
}

Result<void> GuestDebug::write_register(unsigned cpu, unsigned number, uint64_t value) {
    const std::lock_guard lock(mutex_);
    if (auto there = need_guest(); !there) return there;
    return write_gdb_register(guest_->vcpu(cpu), number, value);
}

// ---- memory ----

// From `address` to the end of its page or of RAM.
Result<std::span<uint8_t>> GuestDebug::memory(unsigned cpu, uint64_t address, bool physical) {
    if (auto there = need_guest(); !there) return tl::unexpected(there.error());
    uint64_t real = address;
    if (!physical) {
        if (address > UINT32_MAX) return fail("{:#x} is no address of a 32-bit core", address);
        const auto regs = kvm::get_regs(guest_->vcpu(cpu));
        if (!regs) return tl::unexpected(regs.error());
        const auto found =
            kvm::translate(guest_->vcpu(cpu), static_cast<uint32_t>(address),
                           static_cast<unsigned>(regs->pid), (regs->msr & kMsrDs) != 0 ? 1 : 0);
        if (!found) return tl::unexpected(found.error());
        if (!found->valid) return fail("the TLB has no translation for {:#x}", address);
        real = found->physical;
    }
    const std::span<uint8_t> ram = guest_->ram();
    if (real >= ram.size()) return fail("there is no RAM at physical {:#x}", real);
    const auto from = static_cast<size_t>(real);
    const size_t length = std::min<size_t>(kPage - real % kPage, ram.size() - from);
    return ram.subspan(from, length);
}

Result<std::vector<uint8_t>> GuestDebug::read_memory(unsigned cpu, uint64_t address, size_t size,
                                                     bool physical) {
    const std::lock_guard lock(mutex_);
    std::vector<uint8_t> bytes;
    while (bytes.size() < size) {
        const auto piece = memory(cpu, address + bytes.size(), physical);
        if (!piece) {
            if (bytes.empty()) return tl::unexpected(piece.error());
            break;
        }
        const auto part = piece->first(std::min(piece->size(), size - bytes.size()));
        bytes.insert(bytes.end(), part.begin(), part.end());
    }
    return bytes;
}

Result<void> GuestDebug::write_memory(unsigned cpu, uint64_t address,
                                      std::span<const uint8_t> bytes, bool physical) {
    const std::lock_guard lock(mutex_);
    std::vector<std::span<uint8_t>> pieces;
    for (size_t done = 0; done < bytes.size(); done += pieces.back().size()) {
        const auto piece = memory(cpu, address + done, physical);
        if (!piece) return tl::unexpected(piece.error());
        pieces.push_back(piece->first(std::min(piece->size(), bytes.size() - done)));
    }
    for (const std::span<uint8_t> piece : pieces) {
        std::memcpy(piece.data(), bytes.data(), piece.size());
        bytes = bytes.subspan(piece.size());
        if (auto told = guest_->memory_written(piece); !told) return told;
    }
    return {};
}

// ---- breakpoints and watchpoints ----

// KVM's own breakpoints come first: memory stays as it is, and nothing need be mapped yet. A
// breakpoint for which there is no room replaces the instruction, as gdb itself would.
Result<void> GuestDebug::insert(unsigned cpu, const DebugPoint& point) {
    const std::lock_guard lock(mutex_);
    for (const Inserted& inserted : points_)
        if (inserted.point == point) return {};
    if (is_watchpoint(point) && point.length > kMostWatchedBytes)
        return fail("a watchpoint has at most {} bytes", kMostWatchedBytes);
    points_.push_back({point, std::nullopt});
    auto done = configure();
    if (!done && point.kind == DebugPoint::Kind::Software) {
        auto patched = patch(cpu, point.address);
        if (patched) {
            points_.back().patch = *patched;
            return configure();
        }
        done = tl::unexpected(patched.error());
    }
    if (!done) {
        points_.pop_back();
        if (auto undone = configure(); !undone) return undone;
    }
    return done;
}

Result<void> GuestDebug::remove(const DebugPoint& point) {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(points_.begin(), points_.end(), [&](const Inserted& inserted) {
        return inserted.point == point;
    });
    if (found == points_.end()) return {};
    if (found->patch) unpatch(*found->patch);
    points_.erase(found);
    return configure();
}

Result<GuestDebug::Inserted::Patch> GuestDebug::patch(unsigned cpu, uint32_t address) {
    if (address % kInstructionBytes != 0) return fail("{:#x} is no instruction's address", address);
    const auto place = memory(cpu, address, false);
    if (!place) return tl::unexpected(place.error());
    const auto trap = kvm::get_one_reg<uint32_t>(guest_->vcpu(cpu), KVM_REG_PPC_DEBUG_INST);
    if (!trap) return tl::unexpected(trap.error());
    Inserted::Patch patch{static_cast<uint64_t>(place->data() - guest_->ram().data()), 0};
    const auto word = place->first(kInstructionBytes);
    std::memcpy(&patch.instruction, word.data(), kInstructionBytes);
    for (unsigned n = 0; n < kInstructionBytes; ++n)
        word[n] = static_cast<uint8_t>(*trap >> (24 - 8 * n));
    if (auto told = guest_->memory_written(word); !told) return tl::unexpected(told.error());
    return patch;
}

void GuestDebug::unpatch(const Inserted::Patch& patch) {
    if (guest_ == nullptr) return;
    const auto word = guest_->ram().subspan(static_cast<size_t>(patch.physical), kInstructionBytes);
    std::memcpy(word.data(), &patch.instruction, kInstructionBytes);
    if (auto told = guest_->memory_written(word); !told)
        hooks_.warn(fmt::format("gdb: {}", told.error().message));
}

Result<void> GuestDebug::configure() {
    if (guest_ == nullptr) return {};
    for (unsigned cpu = 0; cpu < guest_->cpus(); ++cpu) {
        // A KVM whose watchpoints are few watches the first byte.
        if (configure(cpu, true)) continue;
        if (auto done = configure(cpu, false); !done) return done;
    }
    return {};
}

Result<void> GuestDebug::configure(unsigned cpu, bool every_byte) {
    kvm_guest_debug debug = {};
    size_t used = 0;
    for (const Inserted& inserted : points_) {
        if (inserted.patch) {
            debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
            continue;
        }
        debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
        const bool whole = is_watchpoint(inserted.point) && every_byte;
        for (uint32_t byte = 0; byte < (whole ? inserted.point.length : 1); ++byte) {
            if (used == std::size(debug.arch.bp))
                return fail("KVM has no more than {} breakpoints and watchpoints",
                            std::size(debug.arch.bp));
            debug.arch.bp[used++] = {inserted.point.address + byte, kvm_type(inserted.point.kind),
                                     0};
        }
    }
    if (courses_[cpu] == Course::Step) {
        debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
        if (step_without_interrupts_) debug.control |= KVM_GUESTDBG_BLOCKIRQ;
    }
    return kvm::set_guest_debug(guest_->vcpu(cpu), debug);
}

}  // namespace perfvisor::vmm
