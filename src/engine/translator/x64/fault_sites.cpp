// SPDX-License-Identifier: GPL-2.0-or-later
// SIGSEGV as the slow road of an access.
#include "engine/translator/x64/fault_sites.h"

#include <ucontext.h>

#include <csignal>
#include <mutex>

namespace perfvisor::engine::translator::x64 {
namespace {

thread_local const FaultSites* in_use = nullptr;

struct sigaction before;

// What is not ours is left to whoever was there before: the instruction faults once more.
extern "C" void on_fault(int number, siginfo_t*, void* context) {
    auto& pc = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
    if (in_use) {
        const auto* slow = in_use->find(reinterpret_cast<const uint8_t*>(pc));
        if (slow) {
            pc = reinterpret_cast<greg_t>(slow);
            return;
        }
    }
    sigaction(number, &before, nullptr);
}

void install() {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    // Ours does nothing that a second signal could disturb, and saving the mask costs time.
    action.sa_flags = static_cast<int>(SA_SIGINFO | SA_NODEFER);
    sigaction(SIGSEGV, &action, &before);
}

}  // namespace

void FaultSites::set_up(const uint8_t* begin, size_t region_bytes, size_t hot_bytes,
                        unsigned regions) {
    begin_ = begin;
    region_bytes_ = region_bytes;
    hot_bytes_ = hot_bytes;
    sites_.resize(regions);
}

void FaultSites::clear(unsigned region) {
    for (std::vector<Site>& part : sites_[region])
        part.clear();
}

unsigned FaultSites::add(const uint8_t* at) {
    std::vector<Site>& sites = sites_[region_of(at)][is_cold(at)];
    sites.push_back({at, nullptr});
    return static_cast<unsigned>(sites.size() - 1) | (is_cold(at) ? kCold : 0);
}

void FaultSites::leads_to(unsigned number, const uint8_t* slow) {
    sites_[region_of(slow)][(number & kCold) != 0][number & ~kCold].slow = slow;
}

const uint8_t* FaultSites::find(const uint8_t* pc) const {
    if (pc < begin_ || region_of(pc) >= sites_.size()) return nullptr;
    const std::vector<Site>& sites = sites_[region_of(pc)][is_cold(pc)];
    const auto found =
        std::lower_bound(sites.begin(), sites.end(), pc,
                         [](const Site& site, const uint8_t* at) { return site.at < at; });
    return found != sites.end() && found->at == pc ? found->slow : nullptr;
}

// Installed as late as this, behind those who want to hear of every fault of the process.
FaultSites::Use::Use(const FaultSites& sites) {
    static std::once_flag installed;
    std::call_once(installed, install);
    in_use = &sites;
}

FaultSites::Use::~Use() {
    in_use = nullptr;
}

}  // namespace perfvisor::engine::translator::x64
