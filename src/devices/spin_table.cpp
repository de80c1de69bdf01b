// SPDX-License-Identifier: GPL-2.0-or-later
// The spin table in which secondary CPUs wait to be released.
#include "devices/spin_table.h"

#include <algorithm>
#include <utility>

namespace perfvisor::devices {

namespace {

constexpr uint64_t kEntryAddress = 0;
constexpr uint64_t kR3 = 8;
constexpr uint64_t kPir = 20;

}  // namespace

SpinTable::SpinTable(unsigned cpus, std::function<void(const Release&)> release)
    : cpus_(std::min(cpus, kMaxCpus)), release_(std::move(release)) {
    fill();
}

uint64_t SpinTable::load(uint64_t offset, unsigned size) const {
    uint64_t value = 0;
    for (unsigned i = 0; i < size; ++i)
        value = value << 8 | state_.bytes[offset + i];
    return value;
}

void SpinTable::store(uint64_t offset, unsigned size, uint64_t value) {
    for (unsigned i = size; i-- > 0; value >>= 8) {
        state_.bytes[offset + i] = static_cast<uint8_t>(value);
    }
}

void SpinTable::fill() {
    state_ = State{};
    for (unsigned cpu = 0; cpu < kMaxCpus; ++cpu)
        fill(cpu);
}

void SpinTable::fill(unsigned cpu) {
    const uint64_t base = cpu * kEntryBytes;
    store(base + kEntryAddress, 8, 1);
    store(base + kR3, 8, cpu);
    store(base + kPir, 4, cpu);
}

void SpinTable::wait_again(unsigned cpu) {
    const std::lock_guard lock(mutex_);
    if (cpu == 0 || cpu >= cpus_) return;
    fill(cpu);
    state_.released &= ~(1U << cpu);
}

uint64_t SpinTable::read(const MmioAccess& access) {
    const std::lock_guard lock(mutex_);
    if (access.size > 8 || access.offset > kRegionBytes - access.size) return 0;
    return load(access.offset, access.size);
}

void SpinTable::write(const MmioAccess& access, uint64_t value) {
    const std::lock_guard lock(mutex_);
    if (access.size > 8 || access.offset > kRegionBytes - access.size) return;
    const auto cpu = static_cast<unsigned>(access.offset / kEntryBytes);
    // An access across two entries is no way to release anybody.
    const bool within = access.offset % kEntryBytes + access.size <= kEntryBytes;
    if (cpu == 0 || cpu >= cpus_ || !within) return;
    store(access.offset, access.size, value);
    const uint64_t base = cpu * kEntryBytes;
    const uint64_t entry = load(base + kEntryAddress, 8);
    const uint32_t bit = 1U << cpu;
    if ((entry & 1) != 0 || (state_.released & bit) != 0) return;
    state_.released |= bit;
    if (release_) release_({cpu, entry, load(base + kR3, 8)});
}

void SpinTable::reset() {
    const std::lock_guard lock(mutex_);
    fill();
}

SpinTable::State SpinTable::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

void SpinTable::restore(const State& state) {
    const std::lock_guard lock(mutex_);
    state_ = state;
}

}  // namespace perfvisor::devices
