// SPDX-License-Identifier: GPL-2.0-or-later
// What the other cores of a VM ask of one core: invalidations, which only the core's own thread can
// carry out, and doorbells.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "core/core.h"
#include "engine/engine.h"

namespace perfvisor::kvm {

// Senders may be any thread; Executing and receive() are the owner's. A core that does not
// execute owes nobody an answer: it receives before it executes again.
class Mailbox {
  public:
    // `wake` brings the core out of a wait.
    Mailbox(core::Core& core, engine::Engine& engine, std::function<void()> wake)
        : core_(&core), engine_(&engine), wake_(std::move(wake)) {}

    // ---- senders ----
    // Each gives a number to ask for the answer with.
    uint64_t send_tlbivax(uint64_t ea);
    uint64_t send_forget_page(uint64_t physical);
    bool tlbivax_done(uint64_t number) const { return done(tlbivax_, number); }
    bool forget_page_done(uint64_t number) const { return done(forget_, number); }
    // These need no answer.
    void send_code_change(uint64_t physical, uint64_t length);
    void send_doorbell(uint64_t message);
    // The memory slots changed while no core executed.
    void send_memory_change();

    // ---- owner ----
    // How deep the owner is in its work when it looks into the box.
    enum class Receive : uint8_t {
        Everything,    // between two instructions, outside the engine
        Translations,  // inside a tlbivax: not what the engine has decoded
        WriteAccess,   // while it decodes: only its inline write translations
        // In the middle of an instruction that has accessed a device: it completes by the
        // translations it began with, so that the device is not accessed twice.
        Unfinished,
    };

    // While it lives senders wait for answers; it begins with receiving.
    class Executing {
      public:
        explicit Executing(Mailbox& mailbox, Receive what = Receive::Everything)
            : mailbox_(mailbox) {
            mailbox_.executing_.store(true);
            mailbox_.receive(what);
        }
        ~Executing() { mailbox_.executing_.store(false); }
        Executing(const Executing&) = delete;
        Executing& operator=(const Executing&) = delete;

      private:
        Mailbox& mailbox_;
    };

    void receive(Receive what);
    // There is something to receive.
    bool has_invalidations();
    // True while receive() runs: what the core then tells the others they have told it.
    bool receiving() const { return receiving_; }
    // The core is going: nothing is delivered any more.
    void close();

  private:
    // Beyond so many of one kind all is invalidated: a core that never runs must not be made to
    // hoard messages. Invalidations may be generous to what is not protected (EREF 6.5.6).
    static constexpr size_t kMost = 256;

    struct Queue {
        std::vector<uint64_t> values;
        bool all = false;  // there were more than kMost
        uint64_t sent = 0;
        std::atomic<uint64_t> answered{0};
    };
    uint64_t send(Queue& queue, uint64_t value);
    bool done(const Queue& queue, uint64_t number) const {
        return !executing_.load() || queue.answered.load() >= number;
    }
    void receive_tlbivax();
    void receive_forget_page();
    void receive_code_changes();

    std::mutex mutex_;  // all but the atomics
    core::Core* core_;  // null once closed
    engine::Engine* engine_;
    const std::function<void()> wake_;
    Queue tlbivax_;
    Queue forget_;
    std::vector<std::pair<uint64_t, uint64_t>> code_;  // physical address, length
    bool all_code_ = false;
    bool memory_changed_ = false;
    std::atomic<bool> executing_{false};
    bool receiving_ = false;  // the owner's
};

}  // namespace perfvisor::kvm
