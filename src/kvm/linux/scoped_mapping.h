// SPDX-License-Identifier: GPL-2.0-or-later
// ScopedMapping owns one memory mapping and unmaps it.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <utility>

namespace perfvisor::kvm {

class ScopedMapping {
  public:
    ScopedMapping() = default;
    ScopedMapping(void* address, size_t length) : address_(address), length_(length) {}
    ~ScopedMapping() {
        if (address_ != nullptr) ::munmap(address_, length_);
    }
    ScopedMapping(ScopedMapping&& other) noexcept
        : address_(std::exchange(other.address_, nullptr)), length_(other.length_) {}
    ScopedMapping& operator=(ScopedMapping&& other) noexcept {
        std::swap(address_, other.address_);
        std::swap(length_, other.length_);
        return *this;
    }
    ScopedMapping(const ScopedMapping&) = delete;
    ScopedMapping& operator=(const ScopedMapping&) = delete;

    void* get() const { return address_; }

  private:
    void* address_ = nullptr;
    size_t length_ = 0;
};

}  // namespace perfvisor::kvm
