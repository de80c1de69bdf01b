// SPDX-License-Identifier: GPL-2.0-or-later
// The table of core models.
#include "core/model.h"

#include <array>
#include <cstring>

namespace perfvisor::core {
namespace {

template <typename... C>
constexpr uint32_t categories(C... category) {
    return ((1u << static_cast<unsigned>(category)) | ...);
}

// L1CFGn: block size 64 bytes (CBSIZE 1), pseudo-LRU (CREPL 1), line locking (CLA), parity (CPA),
// ways - 1, KiB (EREF, L1CFG0).
constexpr uint32_t l1_configuration(uint32_t kibibytes, uint32_t ways) {
    return 1u << 23 | 1u << 21 | 1u << 20 | 1u << 19 | (ways - 1) << 11 | kibibytes;
}

// L2CFG0: the same fields, size in units of 64 KiB.
constexpr uint32_t l2_configuration(uint32_t kibibytes, uint32_t ways) {
    return 1u << 23 | 1u << 21 | 1u << 20 | (ways - 1) << 14 | kibibytes / 64;
}

using isa::Category;

constexpr std::array kModels = {
    CoreModel{
        .name = "e500mc",
        .pvr = 0x80230020,
        .gpr_bits = 32,
        .physical_bits = 36,
        .tlb0_entries = 512,
        .tlb0_ways = 4,
        .tlb1_entries = 64,
        .pid_bits = 8,
        .cache_line = 64,
        .pmc_count = 4,
        .pmc_event_bits = 8,
        .reset_pid_count = 1,
        .categories =
            categories(Category::Base, Category::FloatingPoint, Category::PerfMonitor,
                       Category::ExternalPid, Category::ProcessorControl, Category::EnhancedDebug,
                       Category::Decorated, Category::Wait, Category::CacheLocking),
        .l1cfg0 = l1_configuration(32, 8),
        .l1cfg1 = l1_configuration(32, 8),
        .l2cfg0 = l2_configuration(128, 8),
    },
};

}  // namespace

std::span<const CoreModel> core_models() {
    return kModels;
}

const CoreModel* find_core_model(const char* name) {
    for (const CoreModel& model : kModels)
        if (std::strcmp(model.name, name) == 0) return &model;
    return nullptr;
}

}  // namespace perfvisor::core
