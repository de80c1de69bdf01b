// SPDX-License-Identifier: GPL-2.0-or-later
// What one vCPU counts for those outside the guest.
#include "kvm/soft/outside_counts.h"

#include <utility>

namespace perfvisor::kvm {

OutsideCounts::OutsideCounts(core::Core& core, const CountRequests& requests, CountWindow& window,
                             const GuestTime& time, std::function<void()> others_look)
    : core_(core),
      requests_(requests),
      vm_window_(window),
      modes_(core),
      window_(core, window, modes_, time, [&core, others = std::move(others_look)] {
          core.state.attention.fetch_or(core::kInterruptCheck);
          others();
      }) {}

void OutsideCounts::data_acquired(uint32_t value) {
    if (vm_window_.exists()) window_.data_acquired(value);
}

void OutsideCounts::privilege_changes() {
    modes_.settle();
    if (vm_window_.exists()) window_.privilege_changes();
}

// The model begins and ends here and nowhere else: between two instructions, with all told that was
// executed.
void OutsideCounts::look() {
    if (vm_window_.exists()) window_.look();
    const bool by_mode = requests_.by_mode();
    const bool counting = by_mode || window_.counting();
    if (counting != modes_.on()) counting ? modes_.start() : modes_.stop();
    uint32_t parts = requests_.model_parts();
    if (window_.counting()) parts |= vm_window_.model_parts;
    const bool opened = window_.counting() && !window_seen_;
    window_seen_ = window_.counting();
    if (opened) {
        window_.model_begins();
        // A window's counts are the same whoever has looked on before it.
        if (vm_window_.model_parts != 0 && !core_.timing().drives_clock()) core_.timing().reset();
    }
    core_.state.model.outside = parts;
    core_.set_count_listener(by_mode || vm_window_.exists() ? this : nullptr);
}

CountsSnapshot OutsideCounts::snapshot() {
    modes_.settle();
    CountsSnapshot taken;
    taken.all = {core_.state.totals, core_.state.modelled};
    taken.model_parts = requests_.model_parts();
    if (requests_.by_mode()) taken.modes = {{modes_.user(), modes_.supervisor()}};
    return taken;
}

}  // namespace perfvisor::kvm
