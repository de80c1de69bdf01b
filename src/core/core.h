// SPDX-License-Identifier: GPL-2.0-or-later
// One e500 hardware thread: registers, interrupts, timers, MMU, performance monitor. It knows
// nothing of VMs, processes or the time of day: it is handed memory, an instruction budget and
// interrupt lines, and an engine executes it.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/breakpoints.h"
#include "core/host_access.h"
#include "core/interconnect.h"
#include "core/interrupts.h"
#include "core/mmu.h"
#include "core/model.h"
#include "core/perfmon.h"
#include "core/physical_memory.h"
#include "core/state.h"
#include "core/timers.h"
#include "core/timing/timing.h"

namespace perfvisor::core {

// An access to where no memory is, to be answered from outside (KVM_EXIT_MMIO). The instruction
// that made it is executed again with the answer at hand, so an instruction with several
// accesses (lmw, a misaligned one) asks once for each.
struct MmioAccess {
    uint64_t physical = 0;
    uint8_t size = 0;  // bytes: 1, 2, 4, 8
    bool write = false;
    uint8_t data[8] = {};  // in memory order

    bool operator==(const MmioAccess&) const = default;
};

// What mtspr and mfspr meet.
enum class SprResult : uint8_t { Ok, Illegal, Privileged };

// Interrupt lines and messages that other threads set.
enum class Line : uint8_t { External, Critical, MachineCheck };

class Core {
  public:
    struct Config {
        const CoreModel* model = nullptr;
        unsigned id = 0;  // PIR
        PhysicalMemory* memory = nullptr;
        const TimeSource* time = nullptr;
        Interconnect* interconnect = nullptr;  // may be null
    };
    explicit Core(const Config& config);
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;

    void reset();

    CpuState state;

    const CoreModel& model() const { return *config_.model; }
    unsigned id() const { return config_.id; }
    PhysicalMemory& memory() { return *config_.memory; }
    const PhysicalMemory& memory() const { return *config_.memory; }
    Mmu& mmu() { return mmu_; }
    Timers& timers() { return timers_; }
    PerfMon& perfmon() { return perfmon_; }
    Timing& timing() { return timing_; }
    const TimeSource& time_source() const { return *config_.time; }
    Interconnect* interconnect() { return config_.interconnect; }

    // ---- MSR and special purpose registers ----

    // Every change of MSR goes through here: address contexts, PM freezes, interrupt checks.
    void set_msr(uint32_t value);
    // Privilege is checked by the SPR number's bit 5 as the manual says. Totals must be exact.
    SprResult read_spr(unsigned spr, uint64_t& value);
    SprResult write_spr(unsigned spr, uint64_t value);
    // The same from outside the guest (KVM, debugger): whatever MSR[PR] is. False: no such
    // register, or not one for this direction. Registers cleared by writing ones are written.
    bool get_spr(unsigned spr, uint64_t& value);
    bool set_spr(unsigned spr, uint64_t value);

    // mfpmr and mtpmr with their privilege, time base events and the interrupt they may make
    // pending. Which instructions the totals include is as PerfMon::read and write say.
    SprResult read_pmr(unsigned pmr, uint32_t& value);
    SprResult write_pmr(unsigned pmr, uint32_t value);

    // rfi, rfci, rfdi, rfmci: pc and MSR from the class's save registers.
    void return_from_interrupt(InterruptClass from);

    // ---- Data accesses (big-endian guest values in host integers) ----
    // False: the access did not happen; fault() or mmio_request() says why, and the engine ends
    // the instruction. T is an unsigned integer of 1, 2, 4 or 8 bytes.
    template <typename T>
    bool load(uint64_t ea, T& value);
    template <typename T>
    bool store(uint64_t ea, T value);
    // Their beginning: what the inline translation cache answers. False: nothing has happened.
    template <typename T>
    bool load_inline(uint64_t ea, T& value) const;
    template <typename T>
    bool store_inline(uint64_t ea, T value);

    // The general road of load and store: any size 1-64, any alignment, page crossing,
    // little-endian pages, MMIO, pages with code, DAC. `bytes` in memory order of a big-endian
    // page.
    bool load_bytes(uint64_t ea, void* bytes, unsigned size);
    bool store_bytes(uint64_t ea, const void* bytes, unsigned size);
    // Whether one of up to 8 bytes would go to memory and be done, neither a fault nor a device's.
    bool reaches_memory(uint64_t ea, unsigned size, Access access) const;
    // The same in the external PID contexts EPLC and EPSC (lwepx, stwepx ...).
    bool load_bytes_external(uint64_t ea, void* bytes, unsigned size);
    bool store_bytes_external(uint64_t ea, const void* bytes, unsigned size);

    // Translates for a cache or reservation instruction; false with fault() set. A physical
    // address without memory is no fault here.
    bool translate_data(uint64_t ea, Access access, uint64_t& physical, bool external = false);
    // lwarx and stwcx. (1, 2, 4, 8 bytes, aligned, else an alignment fault). False: fault, which
    // is a DSI where no memory is. Adds to the totals StwcxSuccess and StwcxFailure.
    bool load_reserve(uint64_t ea, unsigned size, uint64_t& value);
    bool store_conditional(uint64_t ea, unsigned size, uint64_t value, bool& stored);

    // ---- Instruction fetch ----
    // Physical address of the instruction at `ea`, in the current MSR[IS], PID, [PR]. False with
    // fault() set (ISI, instruction TLB error), or where there is no memory: machine check. Pages
    // marked little-endian are not executed from: ISI with ESR[BO].
    // `every_process` tells whether the translation holds whatever the PID is: TID 0, and no entry
    // of some process's stands before it.
    bool translate_fetch(uint64_t ea, uint64_t& physical, bool* every_process = nullptr);

    // ---- Exceptions ----
    void raise(const Fault& fault) { fault_ = fault, fault_pending_ = true; }
    void raise_program(uint32_t esr_bits) { raise({Interrupt::Program, esr_bits}); }
    bool fault_pending() const { return fault_pending_; }
    // The same for a trap, whose instruction is completed although it ends in an interrupt.
    bool trap_pending() const {
        return fault_pending_ && fault_.kind == Interrupt::Program && (fault_.esr & esr::kPTR);
    }
    const Fault& fault() const { return fault_; }
    // Delivers fault(): ESR, DEAR, MAS as the kind wants; SRR0 = `pc` (address of the instruction,
    // or the next one for sc); totals exact for the instructions before it.
    void deliver_fault(uint64_t pc);
    // Saves pc and MSR in the registers of the kind's class and goes to IVPR | IVORn. A machine
    // check with MSR[ME] 0 is the checkstop instead. Counts in the totals: Interrupts, those by
    // class, SystemCallsAndTraps (traps: deliver_fault).
    void take_interrupt(Interrupt kind, uint64_t return_address);

    // ---- Asynchronous interrupts ----
    // From any thread: sets the line's level and kicks.
    void set_line(Line line, bool level);
    // From any thread: a doorbell message has come (critical or not).
    void post_doorbell(bool critical);
    // From any thread: a message of msgsnd (rB's value): taken if its tag or broadcast bit means
    // this core.
    void receive_doorbell(uint64_t message);
    // msgsnd: over the interconnect, or to this core alone where there is none.
    void send_doorbell(uint64_t message);
    // msgclr with rB's value: forgets a pending message of that type.
    void clear_doorbell(uint64_t message);
    // tlbivax: this core and, over the interconnect, the others.
    void tlbivax(uint64_t ea);
    // Sets kInterruptCheck if an interrupt is pending and enabled, after a change that this class
    // does not see (registers of the PM written directly).
    void check_interrupts();
    // Brings timers and the PM up to date and takes the most urgent interrupt that is pending and
    // enabled (priorities: e500mc manual 4.11). True if one was taken. When the external proxy is
    // on (set_external_proxy) an external input is not taken but reported by external_wanted():
    // the caller fetches the vector, calls deliver_external.
    bool deliver_pending_interrupt();
    bool external_wanted() const { return external_wanted_; }
    void set_external_proxy(bool on) { external_proxy_ = on; }
    void deliver_external(uint32_t epr);
    // EPR from outside (KVM_REG_PPC_EPR); the guest cannot write it.
    void set_epr(uint32_t epr);
    // Some interrupt is pending whatever MSR says of it: what ends `wait`.
    bool interrupt_pending_unmasked();

    // wait, or MSR[WE] with HID0 nap or doze: nothing executes until an interrupt.
    bool halted() const { return halted_; }
    void set_halted(bool halted);  // and CpuState::attention's kHalted with it
    // A machine check came while MSR[ME] was 0: this core executes nothing more until reset.
    bool checkstop() const { return checkstop_; }
    // Reset asked for by DBCR0[RST] or the watchdog (TCR[WRC]); 0: none.
    unsigned reset_request() const { return reset_request_; }

    // ---- Deadlines ----
    // Instructions the engine may execute before something must be looked at, at most `limit`:
    // 1 while an MMIO answer waits to be used or debug events are armed, else up to the first
    // timer or PM deadline, or until `cycles` have passed. A deadline by the wall clock is not
    // seen: the caller polls. What only the timing model can tell the coming of, cycles among them
    // where it drives the clock, it ends the engine's run for (Timing::wait_for).
    uint64_t instructions_to_deadline(uint64_t limit, uint64_t cycles = ~uint64_t{0});

    // ---- MMIO ----
    const MmioAccess* mmio_request() const { return mmio_waiting_ ? &mmio_request_ : nullptr; }
    // The instruction at pc has begun its device accesses and has to be finished before anything
    // else happens.
    bool mmio_in_progress() const { return mmio_waiting_ || !mmio_log_.empty(); }
    // The answer to mmio_request(): 8 bytes in memory order, of which `size` count (loads).
    void complete_mmio(const uint8_t* data);
    // An instruction completed (or was interrupted): answers kept for its re-execution are stale.
    void instruction_finished() {
        if (!mmio_log_.empty()) [[unlikely]]
            end_mmio_replay();
    }

    // ---- Debug (DBCR0, IAC, DAC, single step) ----
    // True while MSR[DE] and DBCR0 arm some event: the engine then executes one instruction at a
    // time and calls debug_before and debug_after around it, with exact totals at both calls.
    bool debug_armed() const { return debug_armed_; }
    // IAC match at pc: true if a debug interrupt was taken instead of the instruction.
    bool debug_before();
    // The instruction completed (not called after a fault or an interrupt): ICMP, BRT. `taken`
    // says it was a taken branch; under BRT it is undone, for the event comes before it.
    void debug_after(bool taken_branch);

    // ---- A debugger outside the guest ----
    // From outside the engine's run, which stops before whatever is meant (Stop::Breakpoint).
    // Costs the engine a little where it decodes, and nothing where it executes.
    void set_breakpoints(Breakpoints breakpoints);
    const Breakpoints& breakpoints() const { return breakpoints_; }
    // Whether execution stops at this address. Not while the instruction there has accesses to
    // devices behind it: it is finished first.
    bool stops_at(uint64_t ea) const { return breakpoints_.contains(ea) && !mmio_in_progress(); }
    // Whether it does for the word at a physical address, where there is memory.
    bool stops_at_word(uint64_t physical) const;

    // ---- For engines that are compared (engine/lockstep) ----
    // Takes over all state but memory, the inline cache, the timing model's own and
    // CpuState::budget from a core of the same model, which waits between two instructions. Without
    // `tlbs` the TLBs are known to be the same (Mmu::epoch()).
    void mirror(const Core& from, bool tlbs = true);
    // What differs of that. Attention and interrupt lines, which change at any time, are not
    // compared.
    struct Difference {
        std::string name;
        uint64_t here, there;
    };
    std::vector<Difference> differences(const Core& from, bool tlbs) const;

    // Told before bytes of a page change. While there is one, an access enters a write translation
    // into the inline cache only when it is a store itself: so it hears of the first store to each
    // page since it forgot the page's write translations, and of some more.
    class StoreListener {
      public:
        virtual ~StoreListener() = default;
        virtual void storing(uint64_t ea, uint64_t physical, uint8_t* host) = 0;
    };
    void set_store_listener(StoreListener* listener) { store_listener_ = listener; }

    // ---- Code pages ----
    // The engine keeps code decoded from this physical page: stores to it go the slow way.
    // To be called before the page's words are read for decoding.
    void protect_code_page(uint64_t physical);
    // The engine registers here to hear of stores to pages with code, icbi and breakpoints.
    class CodeListener {
      public:
        virtual ~CodeListener() = default;
        virtual void code_changed(uint64_t physical, uint64_t length) = 0;
        // What was decoded with or without breakpoints at these effective addresses is stale; what
        // was decoded at all, as the word that stops has changed. Outside the engine's run.
        virtual void breakpoints_changed(const std::vector<uint64_t>& addresses) = 0;
        virtual void all_breakpoints_changed() = 0;
    };
    void set_code_listener(CodeListener* listener) { code_listener_ = listener; }

    // ---- Who counts the core from outside ----
    // Both calls come with totals exact.
    class CountListener {
      public:
        virtual ~CountListener() = default;
        // mtspr DDAM wrote `value`: a data acquisition message, which user mode may send too. The
        // totals include the mtspr.
        virtual void data_acquired(uint32_t value) = 0;
        // MSR[PR] changes: the totals include the instruction or the interrupt that changes it.
        virtual void privilege_changes() = 0;
    };
    // May be null. Costs nothing but at the two.
    void set_count_listener(CountListener* listener) { count_listener_ = listener; }
    // icbi at a physical address: drops what was decoded from the cache line, on every core.
    void invalidate_code(uint64_t physical, uint64_t length);

  private:
    friend struct SprTable;  // spr.cpp: one row a register

    struct AccessContext {
        unsigned as;
        uint32_t pid;
        bool user;
        bool external;
    };
    struct Piece {  // the part of an access that lies in one page
        Translation translation;
        uint64_t ea;
        unsigned size;
    };

    // memory_access.cpp
    AccessContext context(Access access, bool external) const;
    bool translate(uint64_t ea, Access access, const AccessContext& in, Translation& out);
    bool access_bytes(uint64_t ea, uint8_t* bytes, unsigned size, Access access, bool external);
    bool access_piece(const Piece& piece, uint8_t* bytes, Access access, bool external);
    bool access_device(uint64_t physical, uint8_t* bytes, unsigned size, bool write);
    bool ask_device(uint64_t physical, uint8_t* bytes, unsigned size, bool write);
    void end_mmio_replay();
    void code_stored(const MemorySlot& slot, uint64_t physical, uint64_t length);
    bool reservation_target(uint64_t ea, unsigned size, Access access, Piece& piece,
                            uint8_t*& host);

    // mirror.cpp
    bool same_registers(const Core& other) const;
    void compare_registers(const Core& other, std::vector<Difference>& found) const;
    void compare_mmu(const Core& other, std::vector<Difference>& found) const;

    // core.cpp
    uint64_t cycles_to_deadline() const;
    uint64_t ticks_to_time_base_event() const;

    // spr.cpp
    bool write_register(unsigned number, uint64_t value, bool restore);

    // interrupts.cpp
    std::optional<Interrupt> most_urgent(uint32_t enabled_by) const;
    void synchronize_time();
    void notice_inputs();
    void enter_checkstop();
    void deliver_machine_check(const Fault& fault, uint64_t pc);

    // debug.cpp
    void update_debug();
    void debug_event(uint32_t dbsr_bits);
    bool debug_pending() const;
    bool instruction_address_matches(uint64_t pc, unsigned which) const;
    uint32_t data_address_events(uint64_t ea, unsigned size, Access access) const;

    Config config_;
    Mmu mmu_;
    Timers timers_;
    PerfMon perfmon_;
    Timing timing_;
    Fault fault_;
    bool fault_pending_ = false;
    bool halted_ = false;
    bool checkstop_ = false;
    bool debug_armed_ = false;
    bool data_breakpoints_ = false;
    bool external_proxy_ = false;
    bool external_wanted_ = false;
    unsigned reset_request_ = 0;
    bool mmio_waiting_ = false;
    MmioAccess mmio_request_;
    std::vector<MmioAccess> mmio_log_;  // answered accesses of the instruction at pc, in order
    size_t mmio_used_ = 0;              // how many of them its re-execution has used
    CodeListener* code_listener_ = nullptr;
    Breakpoints breakpoints_;
    StoreListener* store_listener_ = nullptr;
    CountListener* count_listener_ = nullptr;

    uint32_t msr_mask_;                  // bits this model has
    uint64_t value_mask_;                // bits of a register
    std::array<uint64_t, 1024> sprs_{};  // what is stored, by SPR number
    std::atomic<uint32_t> lines_{0};     // bit per Line
    std::atomic<uint32_t> doorbells_{0};
    std::atomic<uint32_t> pir_{0};  // read by the senders of doorbells
    // When an input was first seen asserted, and when also enabled (in cycles; kNever: is not).
    struct InputTimes {
        uint64_t asserted = kNever, enabled = kNever;
    };
    static constexpr uint64_t kNever = ~uint64_t{0};
    void input_taken(InputTimes& times, unsigned latency_event, unsigned pending_event);
    InputTimes external_times_, critical_times_;
    uint64_t last_time_base_ = 0;  // when time-base events of the PM were last looked for

    // What a taken branch under DBCR0[BRT] goes back to.
    uint64_t before_pc_ = 0, before_lr_ = 0, before_ctr_ = 0;
    Totals before_totals_;
};

// ---- inline ----

// The position of an effective address in CpuState::fast_tlb.
inline unsigned fast_tlb_index(uint64_t ea) {
    return static_cast<unsigned>(ea >> 12) & (kFastTlbEntries - 1);
}

template <typename T>
inline T from_big_endian(T value) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if constexpr (sizeof(T) == 2) return static_cast<T>(__builtin_bswap16(value));
    if constexpr (sizeof(T) == 4) return static_cast<T>(__builtin_bswap32(value));
    if constexpr (sizeof(T) == 8) return static_cast<T>(__builtin_bswap64(value));
#endif
    return value;
}

template <typename T>
[[gnu::always_inline]] inline bool Core::load_inline(uint64_t ea, T& value) const {
    const FastTlbEntry& entry = state.fast_tlb[fast_tlb_index(ea)];
    // The last byte's page: an access that crosses into the next page does not match.
    const uint64_t tag = ((ea + sizeof(T) - 1) & kPageMask) | state.data_context;
    if (entry.read_tag != tag) [[unlikely]]
        return false;
    value = from_big_endian(
        read_guest<T>(reinterpret_cast<const void*>(static_cast<uintptr_t>(entry.addend + ea))));
    return true;
}

template <typename T>
[[gnu::always_inline]] inline bool Core::store_inline(uint64_t ea, T value) {
    const FastTlbEntry& entry = state.fast_tlb[fast_tlb_index(ea)];
    const uint64_t tag = ((ea + sizeof(T) - 1) & kPageMask) | state.data_context;
    if (entry.write_tag != tag) [[unlikely]]
        return false;
    write_guest<T>(reinterpret_cast<void*>(static_cast<uintptr_t>(entry.addend + ea)),
                   from_big_endian(value));
    return true;
}

template <typename T>
inline bool Core::load(uint64_t ea, T& value) {
    if (load_inline(ea, value)) return true;
    T raw;
    if (!load_bytes(ea, &raw, sizeof(T))) return false;
    value = from_big_endian(raw);
    return true;
}

template <typename T>
inline bool Core::store(uint64_t ea, T value) {
    if (store_inline(ea, value)) return true;
    const T raw = from_big_endian(value);
    return store_bytes(ea, &raw, sizeof(T));
}

}  // namespace perfvisor::core
