// SPDX-License-Identifier: GPL-2.0-or-later
// The translator's run loop: budget, totals, exceptions, code that changes.
#include "engine/translator/translator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "core/host_access.h"
#include "engine/translator/float_status.h"

namespace perfvisor::engine::translator {
namespace {

using core::CpuState;
using core::Total;

// Regions of code: evicting one is to be short, and to cost little of what is hot.
constexpr unsigned kMostRegions = 16;
// Of the interpreter's last stretch to a deadline of the timing model's clock: cycles for which
// translated code is not begun, and instructions at a time.
constexpr uint64_t kFewCycles = core::timing::Pace::kMostUnderWay;
constexpr int64_t kStretch = 16;
// More than any block takes but for its misses, before which it looks again.
constexpr uint64_t kManyCycles = 1 << 14;
constexpr size_t kSmallestRegion = size_t{128} << 10;

// What the emitted code uses and this host's processor has not, by name.
std::string features_missing() {
    using Xbyak::util::Cpu;
    const Cpu cpu;
    std::string names;
    const auto need = [&](bool there, const char* name) {
        if (!there) names += (names.empty() ? "" : ", ") + std::string(name);
    };
    need(cpu.has(Cpu::tAVX), "AVX");
    need(cpu.has(Cpu::tFMA), "FMA");
    need(cpu.has(Cpu::tBMI1), "BMI1");
    need(cpu.has(Cpu::tBMI2), "BMI2");
    need(cpu.has(Cpu::tLZCNT), "LZCNT");
    need(cpu.has(Cpu::tMOVBE), "MOVBE");
    return names;
}

}  // namespace

std::optional<std::string> Translator::missing() {
    if (const std::string names = features_missing(); !names.empty())
        return fmt::format("the translator needs a processor with {}, which this host's lacks",
                           names);
    const auto memory = x64::CodeBuffer::create(core::kPageSize, core::kPageSize);
    if (!memory) return memory.error().message;
    return std::nullopt;
}

Result<std::unique_ptr<Translator>> Translator::create(core::Core& core, const Tuning& tuning) {
    if (const auto why = missing()) return fail("{}", *why);
    // One region is not enough: it would go whenever it is full, hot or not.
    const size_t code_bytes = std::max(tuning.code_bytes, 3 * kSmallestRegion);
    auto buffer = x64::CodeBuffer::create(x64::kDataBytes, code_bytes & core::kPageMask);
    if (!buffer) return tl::unexpected(buffer.error());
    auto pages = PageMap::create(tuning.window_after);
    if (!pages) return tl::unexpected(pages.error());
    auto fetches = FetchMap::create();
    if (!fetches) return tl::unexpected(fetches.error());
    return std::unique_ptr<Translator>(
        new Translator(core, tuning, std::move(*buffer), std::move(*pages), std::move(*fetches)));
}

Translator::Translator(core::Core& core, const Tuning& tuning, x64::CodeBuffer buffer,
                       std::unique_ptr<PageMap> pages, std::unique_ptr<FetchMap> fetches)
    : core_(core),
      interpreter_(core),
      buffer_(std::move(buffer)),
      pages_(std::move(pages)),
      fetches_(std::move(fetches)),
      shared_(*new (buffer_.data()) x64::SharedData),
      blocks_(buffer_, *fetches_),
      runtime_(x64::emit_runtime(buffer_, core, callbacks())),
      emitter_(buffer_, runtime_, blocks_, sites_, core),
      patience_(tuning.patience),
      trace_after_(static_cast<int32_t>(std::clamp(tuning.trace_after, 1u, 1u << 30))) {
    shared_.heat.fill(trace_after_);
    const size_t bytes = buffer_.code_bytes() - static_cast<size_t>(runtime_.end - buffer_.code());
    regions_ = static_cast<unsigned>(std::clamp<size_t>(bytes / kSmallestRegion, 2, kMostRegions));
    region_bytes_ = bytes / regions_;
    sites_.set_up(buffer_.executable(runtime_.end), region_bytes_,
                  x64::Emitter::hot_bytes(region_bytes_), regions_);
    use_region(0);
    core_.set_code_listener(this);
    core_.mmu().set_listener(this);
}

Translator::~Translator() {
    core_.set_code_listener(nullptr);
    core_.mmu().set_listener(nullptr);
}

// ---- the run loop ----

Stop Translator::run(uint64_t instructions) {
    constexpr auto kLongest = uint64_t{1} << 62;
    const x64::FaultSites::Use use(sites_);
    left_ = static_cast<int64_t>(std::min(instructions, kLongest));
    core_.state.pc &= ~uint64_t{3};
    const Stop stop = run_what_is_left();
    core_.state.budget = left_;
    return stop;
}

Translator::Piece Translator::run_whole_blocks(uint64_t wanted, uint64_t limit) {
    uint64_t budget = std::min(std::max<uint64_t>(wanted, 1), limit);
    if (core_.state.attention.load(std::memory_order_relaxed) == 0 && !mmio_asked_ &&
        !core_.debug_armed()) {
        core_.state.pc &= ~uint64_t{3};
        left_ = 1;
        pages_->select(core_.state.data_context);
        const unsigned patience = std::exchange(patience_, 0);
        const uint8_t* code = look_up();
        patience_ = patience;
        if (!code && at_breakpoint_) return {Stop::Breakpoint, 0};
        if (!code) return {Stop::Budget, 1};  // a fault of the fetch
        budget = std::max<uint64_t>(budget, BlockCache::block_at(code)->count);
        whole_blocks_ = budget <= limit;
    }
    budget = std::min(budget, limit);
    const Stop stop = run(budget);
    whole_blocks_ = false;
    return {stop, budget - static_cast<uint64_t>(core_.state.budget)};
}

Stop Translator::run_what_is_left() {
    CpuState& state = core_.state;
    block_is_too_long_ = false;
    if (mmio_asked_) {
        mmio_asked_ = false;
        if (interpret(1) == Stop::Mmio) return Stop::Mmio;
    }
    for (;;) {
        if (state.attention.load(std::memory_order_relaxed) != 0) return Stop::Attention;
        if (left_ <= 0) return Stop::Budget;
        // The last: something that the timing model is to wait for may come soon.
        const bool one = core_.debug_armed();
        if (one || (state.model.any() && allowed() == 0)) [[unlikely]] {
            const Stop stop = interpret(one ? 1 : std::min<int64_t>(left_, kMaxTraceInstructions));
            if (stop == Stop::Mmio || stop == Stop::Breakpoint) return stop;
            continue;
        }
        const uint8_t* code = code_at_pc();
        if (!code) [[unlikely]] {
            if (at_breakpoint_) return Stop::Breakpoint;
            if (is_cold_ && interpret_block() == Stop::Mmio) return Stop::Mmio;
            continue;
        }
        if (!execute(code)) [[unlikely]]
            return Stop::Mmio;
        if (block_is_too_long_) [[unlikely]]
            return Stop::Budget;
    }
}

Stop Translator::interpret(int64_t instructions) {
    const Stop stop = interpreter_.run(static_cast<uint64_t>(instructions));
    left_ -= instructions - core_.state.budget;
    if (stop == Stop::Mmio) mmio_asked_ = true;
    return stop;
}

Stop Translator::interpret_block() {
    const int64_t before = left_;
    const Stop stop = interpreter_.run_block(static_cast<uint64_t>(before));
    left_ = core_.state.budget;
    if (stop == Stop::Mmio) mmio_asked_ = true;
    return stop;
}

// In supervisor mode only what every process has in common is entered, so that the table need not
// tell processes apart.
uint32_t Translator::fetch_mode() const {
    const CpuState& state = core_.state;
    const bool user = (state.msr & core::msr::kPR) != 0;
    const uint32_t context = user ? state.fetch_context : state.fetch_context & 3;
    const auto model = static_cast<uint32_t>(model_kind(state.model.parts()));
    return context | uint32_t{(state.msr & core::msr::kFP) != 0} << 12 |
           uint32_t{state.xer_so != 0} << 13 | model << 14 | uint32_t{pages_->has_window()} << 17 |
           uint32_t{Mode::is_plain_float(state)} << 18;
}

const uint8_t* Translator::code_at_pc() {
    pages_->select(core_.state.data_context);
    select_fetches();
    if (const uint8_t* code = blocks_.find_entry(static_cast<uint32_t>(core_.state.pc))) [[likely]]
        return code;
    const uint8_t* code = look_up();
    return code ? buffer_.executable(code) : nullptr;
}

const uint8_t* Translator::look_up() {
    CpuState& state = core_.state;
    is_cold_ = false;
    at_breakpoint_ = core_.stops_at(state.pc);
    if (at_breakpoint_) return nullptr;
    uint64_t physical = 0;
    bool every_process = false;
    if (!core_.translate_fetch(state.pc, physical, &every_process)) {
        core_.deliver_fault(state.pc);
        --left_;
        return nullptr;
    }
    const Mode mode = this->mode();
    const auto pc = static_cast<uint32_t>(state.pc);
    BlockCache::Place place = blocks_.find(physical, pc, mode.bits());
    if (!place.code) {
        at_breakpoint_ = core_.stops_at_word(physical);
        if (at_breakpoint_) return nullptr;
        is_cold_ = stays_cold(physical);
        if (is_cold_) return nullptr;
        const Block* block = translate(physical, mode);
        place = {block->code, block->page->number};
    }
    select_fetches();
    if (mode.user || every_process) blocks_.enter_fetch(pc, place.page);
    return place.code;
}

// Most code of a starting system runs once or twice, and translating a block takes longer than
// interpreting it a few times.
bool Translator::stays_cold(uint64_t physical) {
    if (patience_ == 0) return false;
    uint8_t& visits = visits_[(physical >> 2 ^ physical >> 17) & (kVisits - 1)];
    if (visits >= patience_) return false;
    ++visits;
    return true;
}

void Translator::use_region(unsigned number) {
    region_ = number;
    sites_.clear(number);
    const uint8_t* begin = runtime_.end + number * region_bytes_;
    emitter_.use(begin, begin + region_bytes_);
}

// The oldest code goes, a region at a time: translated again what of it is still needed.
void Translator::next_region() {
    ++clears_;
    use_region((region_ + 1) % regions_);
    const uint8_t* begin = runtime_.end + region_ * region_bytes_;
    if (blocks_.drop_code(begin, begin + region_bytes_)) ++evictions_;
}

Block* Translator::translate(uint64_t physical, Mode mode) {
    while (!emitter_.has_room() || !blocks_.has_room())
        next_region();
    if (!blocks_.page_has_blocks(physical)) core_.protect_code_page(physical);
    auto block = std::make_unique<Block>();
    block->physical = physical;
    block->pc = static_cast<uint32_t>(core_.state.pc);
    block->mode = mode.bits();
    decode_block(core_.model(), core_.breakpoints(), block->pc, core_.memory().host(physical), mode,
                 guest_);
    emitter_.emit(guest_, *block);
    return blocks_.add(std::move(block));
}

bool Translator::execute(const uint8_t* code) {
    CpuState& state = core_.state;
    const int64_t left = left_;
    state.budget = budget_base_ = allowed();
    const bool is_all = budget_base_ == left;
    code_changed_ = false;
    model_ = model_kind(state.model.parts());
    if (model_ == ModelKind::Clock) {
        const auto cycles = static_cast<int64_t>(
            std::min<uint64_t>(core_.timing().safe_cycles(), uint64_t{1} << 60));
        state.cycles_left =
            cycles - state.budget + static_cast<int64_t>(state.totals[Total::StallCycles]);
        begin_native(state.budget, static_cast<uint32_t>(state.pc));
    }
    blocks_.forget_dropped_models();
    const uint64_t result = runtime_.enter(code);
    const uint64_t detail = result >> x64::kExitBits;
    auto exit = static_cast<x64::Exit>(result & ((1u << x64::kExitBits) - 1));
    if (exit == x64::Exit::Site) exit = carry_out(detail);
    synchronize();
    switch (exit) {
        case x64::Exit::Link:
            link(static_cast<uint32_t>(detail));
            return true;
        case x64::Exit::Budget:
            // The next block is longer than what is left: of this run, or only of this piece.
            if (model_ == ModelKind::Clock && core_.timing().safe_cycles() < kManyCycles &&
                next_block_fits())  // a deadline may be too near
                return interpret(std::min(left_, kStretch)) != Stop::Mmio;
            if (left_ >= kMaxTraceInstructions || !is_all) return true;
            if (whole_blocks_) {
                block_is_too_long_ = true;
                return true;
            }
            return interpret(left_) != Stop::Mmio;
        case x64::Exit::Fault:
            return stopped();
        case x64::Exit::Hot:
            return record_trace();
        default:
            return true;
    }
}

// With the timing model only as far as nothing that is waited for can come: the last stretch to it
// is the interpreter's, which looks behind each instruction.
int64_t Translator::allowed() const {
    const core::CpuState& state = core_.state;
    const ModelKind kind = model_kind(state.model.parts());
    int64_t most = std::min(left_, kLongestRun);
    if (kind == ModelKind::None) return most;
    if (kind == ModelKind::Clock) return core_.timing().safe_cycles() < kFewCycles ? 0 : most;
    if (kind != ModelKind::Operations) most = std::min(most, Written::kInstructions);
    const uint64_t safe = core_.timing().safe_instructions();
    if (static_cast<uint64_t>(most) <= safe) return most;
    return safe < kMaxTraceInstructions ? 0 : static_cast<int64_t>(safe);
}

void Translator::tell_model(uint64_t instructions) {
    core::Timing& timing = core_.timing();
    if (model_ == ModelKind::Operations) {
        const auto more = static_cast<uint64_t>(std::exchange(shared_.more_ops, 0));
        const uint64_t untold = instructions - std::exchange(told_, 0);
        timing.count_operations(untold, untold + more);
        return;
    }
    const uint32_t* at = shared_.written.words.data();
    told_ = 0;
    const core::Timing::Access context = timing.context();
    while (at != shared_.written.next) {
        const core::timing::SegmentEnd* end;
        std::memcpy(&end, at, Written::kWordsOfEnd * sizeof *at);
        at = timing.replay(*end, at + Written::kWordsOfEnd, context);
    }
    shared_.written.next = shared_.written.words.data();
}

x64::Exit Translator::carry_out(uint64_t place) {
    CpuState& state = core_.state;
    const uint8_t* at = buffer_.code() + place;
    x64::ExitSite site;
    std::memcpy(&site, at, sizeof site);
    at += sizeof site;
    const auto exit = static_cast<x64::Exit>(site.exit);
    const bool happened = site.by_status && shared_.status == x64::kChanged;
    state.pc = site.pc + (happened ? 4 : 0);
    state.budget += site.refund - (happened ? 1 : 0);
    shared_.counts[0] += site.loads + (happened ? site.own_loads : 0u);
    shared_.counts[1] += site.stores + (happened ? site.own_stores : 0u);
    shared_.counts[2] += site.branches;
    shared_.counts[3] += site.taken;
    for (unsigned n = 0; n < site.pending; ++n, at += sizeof(x64::PendingField)) {
        x64::PendingField pending;
        std::memcpy(&pending, at, sizeof pending);
        x64::store_pending(state, pending.field, pending.comparison, site.summary_overflow);
    }
    if (const unsigned told = site.told - unsigned{site.by_status && !happened};
        site.told != 0 && told != 0) {
        const core::timing::Segment* segment;
        std::memcpy(&segment, at, sizeof segment);
        using core::timing::SegmentEnd;
        core_.timing().native_end({segment, told, SegmentEnd::Way::Along, 0, SegmentEnd::kNoEnd});
    }
    return happened ? x64::Exit::Return : exit;
}

void Translator::synchronize() {
    core::Totals& totals = core_.state.totals;
    const int64_t executed = budget_base_ - core_.state.budget;
    budget_base_ = core_.state.budget;
    left_ -= executed;
    pages_->ran(static_cast<uint64_t>(executed));
    totals[Total::Instructions] += static_cast<uint64_t>(executed);
    totals[Total::Loads] += shared_.counts[0];
    totals[Total::Stores] += shared_.counts[1];
    totals[Total::Branches] += shared_.counts[2];
    totals[Total::TakenBranches] += shared_.counts[3];
    shared_.counts = {};
    if (model_ == ModelKind::Clock)
        end_native(static_cast<uint32_t>(core_.state.pc), 0);
    else if (model_ != ModelKind::None)
        tell_model(static_cast<uint64_t>(executed));
    complete_float_status(core_.state, shared_);
}

bool Translator::stopped() {
    CpuState& state = core_.state;
    if (core_.fault_pending()) {
        // What faults and is not completed uses up budget all the same.
        if (core_.trap_pending()) ++state.totals[Total::Instructions];
        --left_;
        core_.deliver_fault(state.pc);
        return true;
    }
    // A device: the interpreter asks it, and executes the instruction again with the answer.
    return interpret(1) != Stop::Mmio;
}

// The edge's block was executed and leads to pc: directly from now on, if it always does. In the
// same page it does; to another wherever the fetch map has that page's code there. Where now one
// page is there and now another, for a page that several processes share, it is looked up.
void Translator::link(uint32_t number) {
    const CpuState& state = core_.state;
    const Edge* edge = blocks_.edge(number);
    if (!edge || left_ <= 0 || state.attention.load(std::memory_order_relaxed) != 0) return;
    const Block* from = edge->from;
    const bool far = edge->far();
    const uint64_t clears = clears_;
    const uint8_t* code = look_up();
    if (!code || clears != clears_ || from->mode != mode().bits()) return;
    if (edge->to && edge->to->code == code) return;
    Block& to = *BlockCache::block_at(code);
    if (!far) {
        const bool same_page = ((from->physical ^ to.physical) & core::kPageMask) == 0;
        if (same_page) blocks_.link(number, to);
        return;
    }
    if (!edge->to && fetches_->find(to.pc) != 0)
        blocks_.link(number, to);
    else
        blocks_.lead_stub_to(number, runtime_.dispatch_edge);
}

// ---- traces ----

bool Translator::record_trace() {
    CpuState& state = core_.state;
    const Mode mode = this->mode();
    uint64_t physical = 0;
    if (!core_.translate_fetch(state.pc, physical)) return stopped();
    shared_.heat[x64::heat_index(physical)] = trace_after_;
    const auto head = static_cast<uint32_t>(state.pc);
    path_.clear();
    code_changed_ = false;
    records_ = true;
    const bool answered = follow_path(mode);
    records_ = false;
    if (!emitter_.has_room()) next_region();
    const uint8_t* code = blocks_.find(physical, head, mode.bits()).code;
    Block* plain = code ? BlockCache::block_at(code) : nullptr;
    const bool usable = !path_.empty() && !code_changed_;
    if (usable && plain && !plain->is_trace) translate_path(*plain, mode);
    return answered;
}

// To where the trace began, to another page, or to what a trace cannot have inside.
bool Translator::follow_path(Mode mode) {
    CpuState& state = core_.state;
    const auto head = static_cast<uint32_t>(state.pc);
    uint64_t physical = 0;
    if (!core_.translate_fetch(head, physical)) return stopped();
    const uint8_t* page = core_.memory().host(physical & core::kPageMask);
    bool goes_on = false;  // behind the last instruction, a trace might
    while (path_.size() < kMaxTraceInstructions) {
        const auto pc = static_cast<uint32_t>(state.pc);
        if (((pc ^ head) & static_cast<uint32_t>(core::kPageMask)) != 0) break;
        if (std::find(path_.begin(), path_.end(), pc) != path_.end()) {
            if (pc == head && goes_on) unroll_path();
            break;
        }
        if (left_ <= 0 || core_.debug_armed() ||
            state.attention.load(std::memory_order_relaxed) != 0)
            break;
        const uint32_t word =
            core::from_big_endian(core::read_guest<uint32_t>(page + pc % core::kPageSize));
        const bool inside = may_be_inside_trace(core_.model(), word, mode);
        const bool branches = isa::describe(isa::decode(word)).flags & isa::kBranch;
        if (!inside && !branches) break;
        const int64_t left = left_;
        const uint64_t interrupts = state.totals[Total::Interrupts];
        if (interpret(1) == Stop::Mmio) return false;
        if (code_changed_ || left_ == left || state.totals[Total::Interrupts] != interrupts)
            return true;
        path_.push_back(pc);
        goes_on = inside;
        if (!inside) break;
    }
    return true;
}

// A short loop several times, as one budget and one count are enough for all of it.
void Translator::unroll_path() {
    constexpr size_t kTimes = 8, kLongest = 48;
    const size_t length = path_.size();
    for (size_t times = 1; times < kTimes && path_.size() + length <= kLongest; ++times)
        for (size_t n = 0; n < length; ++n)
            path_.push_back(path_[n]);
}

void Translator::translate_path(Block& plain, Mode mode) {
    auto block = std::make_unique<Block>();
    block->physical = plain.physical;
    block->pc = plain.pc;
    block->mode = plain.mode;
    decode_trace(core_.model(), path_, core_.memory().host(plain.physical & core::kPageMask), mode,
                 guest_);
    blocks_.remove(plain);
    emitter_.emit(guest_, *block);
    blocks_.add(std::move(block));
}

// ---- what translated code calls ----

void Translator::enter_pages(uint64_t ea, uint64_t size) {
    enter_page(ea);
    const uint64_t last = ea + size - 1;
    if (((ea ^ last) & core::kPageMask) != 0) enter_page(last & 0xffff'ffff);
}

void Translator::enter_page(uint64_t ea) {
    const CpuState& state = core_.state;
    const core::FastTlbEntry& fast = state.fast_tlb[core::fast_tlb_index(ea)];
    const uint64_t tag = (ea & core::kPageMask) | state.data_context;
    const bool reads = fast.read_tag == tag, writes = fast.write_tag == tag;
    if (reads || writes)
        pages_->enter(static_cast<uint32_t>(ea), fast.addend, fast.page, reads, writes);
}

template <typename T>
x64::LoadResult Translator::load(void* self, uint64_t ea) {
    auto& translator = *static_cast<Translator*>(self);
    T value = 0;
    translator.pages_->faulted();
    if (!translator.core_.load(ea, value)) return {0, x64::kStopped};
    translator.enter_pages(ea, sizeof(T));
    return {value, x64::kDone};
}

template <typename T>
uint64_t Translator::store(void* self, uint64_t ea, uint64_t value) {
    auto& translator = *static_cast<Translator*>(self);
    translator.pages_->faulted();
    if (!translator.core_.store(ea, static_cast<T>(value))) return x64::kStopped;
    translator.enter_pages(ea, sizeof(T));
    return translator.code_changed_ ? x64::kChanged : x64::kDone;
}

x64::LoadResult Translator::load_reserve(void* self, uint64_t ea) {
    auto& translator = *static_cast<Translator*>(self);
    uint64_t value = 0;
    if (!translator.core_.load_reserve(ea, 4, value)) return {0, x64::kStopped};
    translator.enter_page(ea);
    return {value, x64::kDone};
}

uint64_t Translator::store_conditional(void* self, uint64_t ea, uint64_t value) {
    auto& translator = *static_cast<Translator*>(self);
    core::CpuState& state = translator.core_.state;
    bool stored = false;
    if (!translator.core_.store_conditional(ea, 4, value, stored)) return x64::kStopped;
    state.cr.set(0, (stored ? core::ConditionRegister::kEQ : 0) | state.xer_so);
    translator.enter_page(ea);
    return translator.code_changed_ ? x64::kChanged : x64::kDone;
}

uint64_t Translator::execute_op(void* self, const interpreter::Op* op) {
    auto& translator = *static_cast<Translator*>(self);
    complete_float_status(translator.core_.state, translator.shared_);
    if (op->handler(translator.core_, op)) return x64::kStopped;
    translator.pages_->select(translator.core_.state.data_context);
    return translator.code_changed_ ? x64::kChanged : x64::kDone;
}

// dcbz: what follows it in the same page is translated code's.
uint64_t Translator::execute_zero(void* self, const interpreter::Op* op) {
    auto& translator = *static_cast<Translator*>(self);
    const uint64_t status = execute_op(self, op);
    const auto& gpr = translator.core_.state.gpr;
    if (status == x64::kDone)
        translator.enter_page(static_cast<uint32_t>((op->a == 0 ? 0 : gpr[op->a]) + gpr[op->b]));
    return status;
}

uint64_t Translator::enable_interrupts(void* self) {
    auto& translator = *static_cast<Translator*>(self);
    CpuState& state = translator.core_.state;
    translator.core_.set_msr(state.msr | core::msr::kEE);
    return state.attention.load(std::memory_order_relaxed) != 0 ? x64::kChanged : x64::kDone;
}

// Another kind of blocks is to go on, or the instructions that are left of this run's are too many
// for what comes next: the model may have been told of more than one instruction's most.
bool Translator::model_wants_a_look() const {
    const core::CpuState& state = core_.state;
    if (model_kind(state.model.parts()) != model_) return true;
    if (model_ == ModelKind::None || model_ == ModelKind::Clock) return false;
    const int64_t most = std::max<int64_t>(state.budget, 0) + kMaxTraceInstructions;
    return core_.timing().safe_instructions() < static_cast<uint64_t>(most);
}

bool Translator::execute_and_tell(const ToldOp& told) {
    core::Timing& timing = core_.timing();
    const core::Timing::Access access =
        timing.access_of(told.segment.entries().front().instruction);
    const bool done = told.both[0].handler(core_, told.both.data()) == nullptr;
    if (done || core_.trap_pending()) timing.completed(told.end, access);
    return done;
}

uint64_t Translator::execute_told(void* self, const ToldOp* told) {
    auto& translator = *static_cast<Translator*>(self);
    core::Core& core = translator.core_;
    complete_float_status(core.state, translator.shared_);
    const bool is_clock = translator.model_ == ModelKind::Clock;
    const core::timing::Segment::Entry& entry = told->segment.entries().front();
    if (is_clock)
        translator.end_native(entry.pc, told->rest);
    else if (translator.model_ != ModelKind::Operations)
        translator.tell_model(0);
    if (!translator.execute_and_tell(*told)) return x64::kStopped;
    if (is_clock)
        translator.begin_native(core.state.budget + told->rest - 1, entry.pc + 4);
    else
        ++translator.told_;
    translator.pages_->select(core.state.data_context);
    // What it missed may have brought a deadline near.
    const bool wanted = translator.code_changed_ || translator.model_wants_a_look() ||
                        core.state.attention.load(std::memory_order_relaxed) != 0 ||
                        (is_clock && !translator.may_take(told->most_cycles));
    return wanted ? x64::kChanged : x64::kDone;
}

uint64_t Translator::execute_last_told(void* self, const ToldOp* told) {
    auto& translator = *static_cast<Translator*>(self);
    core::CpuState& state = translator.core_.state;
    const bool is_clock = translator.model_ == ModelKind::Clock;
    if (is_clock)
        translator.end_native(static_cast<uint32_t>(state.pc), 1);
    else
        ++translator.told_;
    translator.synchronize();
    const bool done = translator.execute_and_tell(*told);
    const uint64_t status = translator.after_last_op(done);
    if (is_clock && status == x64::kDone)
        translator.begin_native(state.budget, static_cast<uint32_t>(state.pc));
    return status;
}

// ---- where only the clock runs ----

// `left`: of the budget, before the instruction at `pc`.
void Translator::begin_native(int64_t left, uint32_t pc) {
    core_.timing().begin_native(pc);
    native_left_ = left;
    is_native_ = true;
}

// At `pc`, with `rest` instructions of its block not yet executed.
void Translator::end_native(uint32_t pc, uint32_t rest) {
    if (!std::exchange(is_native_, false)) return;
    core_.timing().end_native(pc, native_executed(rest));
}

// Whether an access is one to memory, and will happen.
bool Translator::will_access(const core::timing::Instruction& in, uint32_t ea) const {
    using core::timing::MemoryUse;
    const unsigned size = std::max<unsigned>(in.size, 1);
    if (in.serializes && (ea & (size - 1u)) != 0) return false;
    const core::Access access =
        in.use == MemoryUse::Load ? core::Access::Load : core::Access::Store;
    const uint64_t known =
        access == core::Access::Load ? pages_->read_addend(ea) : pages_->write_addend(ea);
    const bool in_page = ea % core::kPageSize + size <= core::kPageSize;
    return (known != 0 && in_page) || core_.reaches_memory(ea, size, access);
}

bool Translator::next_block_fits() {
    const uint8_t* code = look_up();
    return code && BlockCache::block_at(code)->count <= left_;
}

// Whether the block that is being executed may take so many cycles.
bool Translator::may_take(uint64_t cycles) const {
    const CpuState& state = core_.state;
    return state.cycles_left + state.budget -
               static_cast<int64_t>(state.totals[Total::StallCycles]) >=
           static_cast<int64_t>(cycles);
}

uint64_t Translator::ask_access(void* self, const AskedAccess* op, uint64_t ea) {
    auto& translator = *static_cast<Translator*>(self);
    if (!translator.may_take(op->most_cycles + core::timing::Pace::kMostMisses))
        return x64::kStopped;
    const auto at = static_cast<uint32_t>(ea);
    if (!op->may_fault || translator.will_access(op->segment->entries()[op->index].instruction, at))
        translator.core_.timing().native_access(*op->segment, op->index,
                                                translator.native_executed(op->rest), at);
    return x64::kDone;
}

uint64_t Translator::ask_branch(void* self, const AskedBranch* op, uint64_t target) {
    auto& translator = *static_cast<Translator*>(self);
    translator.core_.timing().native_branch(
        *op->segment, op->index, op->taken,
        op->indirect ? static_cast<uint32_t>(target) : op->target);
    return x64::kDone;
}

uint64_t Translator::end_segment(void* self, const core::timing::SegmentEnd* end) {
    static_cast<Translator*>(self)->core_.timing().native_end(*end);
    return x64::kDone;
}

// The last of a block, with its totals added: it may read them, or change MSR.
uint64_t Translator::execute_last_op(void* self, const interpreter::Op* op) {
    auto& translator = *static_cast<Translator*>(self);
    translator.synchronize();
    return translator.after_last_op(op->handler(translator.core_, op) == nullptr);
}

uint64_t Translator::after_last_op(bool completed) {
    CpuState& state = core_.state;
    if (!completed) {
        --state.totals[Total::Instructions];
        ++left_;
        return x64::kStopped;
    }
    if (code_changed_ || core_.debug_armed() ||
        state.attention.load(std::memory_order_relaxed) != 0 || model_wants_a_look())
        return x64::kChanged;
    pages_->select(state.data_context);
    select_fetches();
    return x64::kDone;
}

x64::Callbacks Translator::callbacks() {
    return {this,
            {load<uint8_t>, load<uint16_t>, load<uint32_t>, load<uint64_t>},
            {store<uint8_t>, store<uint16_t>, store<uint32_t>, store<uint64_t>},
            load_reserve,
            store_conditional,
            execute_op,
            execute_zero,
            enable_interrupts,
            execute_last_op,
            execute_told,
            execute_last_told,
            ask_access,
            ask_branch,
            end_segment};
}

// ---- what ends ----

void Translator::clear() {
    ++clears_;
    blocks_.clear();
    std::fill(visits_.begin(), visits_.end(), uint8_t{0});
    use_region(0);
}

void Translator::flush() {
    clear();
    interpreter_.flush();
}

void Translator::code_changed(uint64_t physical, uint64_t length) {
    interpreter_.code_changed(physical, length);
    // While a path is recorded it matters too where there is no block: only the interpreter has
    // been there.
    if (blocks_.invalidate(physical, length) || records_) code_changed_ = true;
}

// Traces may go anywhere in the page.
void Translator::breakpoints_changed(const std::vector<uint64_t>& addresses) {
    interpreter_.breakpoints_changed(addresses);
    for (const uint64_t ea : addresses)
        blocks_.drop_page_at(static_cast<uint32_t>(ea));
}

void Translator::translations_changed(uint64_t ea, uint64_t size) {
    interpreter_.translations_changed(ea, size);
    pages_->forget(ea, size);
    fetches_->forget(ea, size);
}

void Translator::all_translations_changed() {
    interpreter_.all_translations_changed();
    pages_->forget_all();
    fetches_->forget_all();
}

void Translator::page_protected(uint64_t physical) {
    pages_->forget_writes(physical);
}

}  // namespace perfvisor::engine::translator
