// SPDX-License-Identifier: GPL-2.0-or-later
// The pipeline's rules, one by one, are in docs/timing.md. All times are cycles since the model
// began; "at" a cycle means at its beginning.
#include "core/timing/pipeline.h"

#include <algorithm>

namespace perfvisor::core::timing {

void Pipeline::restart() {
    const uint64_t now = completed_;
    fetch_ = next_fetch_ = now;
    decode_ = issue_ = complete_ = {now, 0};
    branch_issue_ = now;
    decoded_.clear();
    issued_.clear();
    branches_issued_.clear();
    completions_.clear();
    started_.fill(0);
    free_.fill(0);
    divider_free_ = 0;
    ready_.fill(0);
    cr_ready_.fill(0);
    mmu_free_ = stored_ = 0;
    filling_.fill({});
    missing_.fill(0);
    storing_.fill({});
    next_store_ = 0;
}

void Pipeline::mirror(const Pipeline& from) {
    fields(*this) = fields(from);
}

// Its steps are used nowhere else, and for every instruction.
[[gnu::flatten]] uint64_t Pipeline::complete(const Instruction& in, const FetchResult& fetch,
                                             std::span<const DataPart> parts, unsigned words,
                                             Prediction prediction) {
    miss_count_ = 0;
    if (fetch.new_group) fetch_group(fetch);
    const uint64_t decoded = decode(in);
    const Station station = station_of(in);
    const uint64_t issued = issue(station, decoded);

    uint64_t start = std::max({issued + 1, sources_ready(in, words), free_[station]});
    if (in.divides) start = std::max(start, divider_free_);
    if (in.serializes) start = std::max(start, completed_);
    if (in.drains) start = std::max(start, stored_);
    constexpr Modelled kStalled[kStations] = {Modelled::BranchStalled,    Modelled::Simple1Stalled,
                                              Modelled::Simple2Stalled,   Modelled::MultipleStalled,
                                              Modelled::LoadStoreStalled, Modelled::Count};
    const uint64_t waited_from = issued + 1;
    uint64_t finished;
    if (station == kLoadStore)
        finished = execute_memory(parts, start, in.latency);
    else
        finished = start + in.latency;
    if (station != kFloat) stalled(kStalled[station], waited_from, start);
    started_[station] = start;
    if (in.divides) {
        divider_free_ = start + in.occupancy;
        free_[station] = start + 1;
    } else {
        free_[station] = start + std::max<uint64_t>(in.occupancy, parts.size());
    }
    results_at(in, words, finished);

    const uint64_t before = completed_;
    completed_ = complete_.take(std::max(finished, before));
    if (in.serializes && completed_ == before) completed_ = complete_.take(before + 1);
    completions_.push(completed_);
    for (const DataPart& part : parts)
        if (part.store) store_completed(part, completed_);

    if (in.branch && prediction == Prediction::Wrong)
        next_fetch_ = finished + N::kFetchStages;
    else if (in.branch && prediction == Prediction::Biffed)
        next_fetch_ = decoded + N::kFetchStages;
    else if (in.refetches)
        next_fetch_ = completed_ + N::kFetchStages;
    return completed_ - before;
}

// ---- shapes ----

namespace {

// Times relative to one of them, eight to a word.
class Packer {
  public:
    Packer(Pipeline::Shape& shape, uint64_t now) : shape_(shape), now_(now) {}
    void add(uint64_t time, uint64_t earliest) { add_number(std::max(time, earliest) - now_); }
    void add_number(uint64_t number) {
        const auto near = static_cast<int8_t>(number);
        if (static_cast<uint64_t>(int64_t{near}) != number) fits_ = false;
        shape_.words[next_ / 8] |= uint64_t{static_cast<uint8_t>(near)} << next_ % 8 * 8;
        ++next_;
    }
    bool fits() const { return fits_; }

  private:
    Pipeline::Shape& shape_;
    uint64_t now_;
    unsigned next_ = 0;
    bool fits_ = true;
};

class Unpacker {
  public:
    Unpacker(const Pipeline::Shape& shape, uint64_t now) : shape_(shape), now_(now) {}
    uint64_t time() { return now_ + number(); }
    uint64_t number() {
        const auto near = static_cast<int8_t>(shape_.words[next_ / 8] >> next_ % 8 * 8);
        ++next_;
        return static_cast<uint64_t>(int64_t{near});
    }
    template <unsigned kEntries>
    void fill(History<kEntries>& history) {
        history.clear();
        for (unsigned n = 0; n < kEntries; ++n)
            history.push(time());
    }

  private:
    const Pipeline::Shape& shape_;
    uint64_t now_;
    unsigned next_ = 0;
};

}  // namespace

// What follows compares each of these times with others that are at least so late: the next fetch
// with fetch_ + 1, decoding with the last one and with what is fetched, issue with the cycle after
// that, execution with the one after issue. Of what happened lately, the entry for the instruction
// n behind the next is compared with its fetch or decoding: four a cycle, or two.
bool Pipeline::get_shape(Shape& shape, unsigned& live_stores, bool fetches) const {
    uint64_t fetched = std::max(fetch_ + 1, decoded_.oldest()) - 1;
    const uint64_t next_fetch = std::max(fetched + 1, next_fetch_);
    if (fetches) fetched = next_fetch - 1;
    const uint64_t next = fetches ? next_fetch : fetched;  // what is decoded next is there
    const bool decodes_later = decode_.cycle < next;       // than the last
    const uint64_t decoding = decodes_later ? next : decode_.cycle;
    const uint64_t issuing = decoding + 1, starting = decoding + 2;
    const uint64_t storing = std::min(starting, completed_);
    const auto under_way = [](const auto& of, uint64_t time) {
        return std::any_of(of.begin(), of.end(), [=](const Filling& f) { return f.until > time; });
    };
    if (complete_.cycle != completed_ || mmu_free_ > starting ||
        under_way(filling_, std::min(starting, completed_ + 1)) ||
        *std::max_element(missing_.begin(), missing_.end()) > starting)
        return false;
    shape = {};
    Packer to(shape, completed_);
    to.add(fetched, 0);
    to.add(next_fetch, 0);
    to.add(decodes_later ? decoding - 1 : decode_.cycle, 0);
    to.add_number(decodes_later ? 0 : decode_.used);
    const bool issues_later = issue_.cycle < issuing;
    to.add(issue_.cycle, decoding);
    to.add_number(issues_later ? 0 : issue_.used);
    to.add(branch_issue_, decoding);
    to.add_number(complete_.used);
    for (unsigned n = 0; n < N::kInstructionQueue; ++n)
        to.add(decoded_[n], fetched + 1 + n / 4);
    for (unsigned n = 0; n < N::kGeneralIssueQueue; ++n)
        to.add(issued_[n], decoding + n / N::kWidth);
    for (unsigned n = 0; n < N::kBranchIssueQueue; ++n)
        to.add(branches_issued_[n], decoding + n / N::kWidth);
    for (unsigned n = 0; n < N::kCompletionQueue; ++n)
        to.add(completions_[n], decoding + n / N::kWidth);
    // Which of the simple units is chosen depends on the order of the two.
    const bool second_first =
        started_[kSimple1] > started_[kSimple2] && started_[kSimple1] <= issuing;
    for (unsigned n = 0; n < kStations; ++n)
        to.add(started_[n], issuing - (n == kSimple2 && second_first ? 1 : 0));
    for (const uint64_t time : free_)
        to.add(time, starting);
    to.add(divider_free_, starting);
    for (unsigned n = 0; n < kNoRegister; ++n)
        to.add(ready_[n], starting);
    for (const uint64_t time : cr_ready_)
        to.add(time, starting);
    to.add(stored_, storing);
    live_stores = 0;
    for (unsigned n = 0; n < kStores; ++n) {
        const Storing& store = storing_[(next_store_ + n) % kStores];
        to.add(store.until, starting);
        if (store.until > starting) ++live_stores;
    }
    return to.fits();
}

void Pipeline::set_shape(const Shape& shape, const std::array<uint64_t, kStores>& stores) {
    Unpacker from(shape, completed_);
    fetch_ = from.time();
    next_fetch_ = from.time();
    const auto slots = [&] {
        const uint64_t cycle = from.time();
        return Slots{cycle, static_cast<unsigned>(from.number())};
    };
    decode_ = slots();
    issue_ = slots();
    branch_issue_ = from.time();
    complete_ = {completed_, static_cast<unsigned>(from.number())};
    from.fill(decoded_);
    from.fill(issued_);
    from.fill(branches_issued_);
    from.fill(completions_);
    for (uint64_t& time : started_)
        time = from.time();
    for (uint64_t& time : free_)
        time = from.time();
    divider_free_ = from.time();
    for (unsigned n = 0; n < kNoRegister; ++n)
        ready_[n] = from.time();
    for (uint64_t& time : cr_ready_)
        time = from.time();
    stored_ = from.time();
    next_store_ = 0;
    for (unsigned n = 0; n < kStores; ++n)
        storing_[n] = {stores[kStores - 1 - n], from.time()};
    mmu_free_ = 0;
    filling_.fill({});
    missing_.fill(0);
}

std::array<uint64_t, Pipeline::kStores> Pipeline::stores() const {
    std::array<uint64_t, kStores> last;
    for (unsigned n = 0; n < kStores; ++n)
        last[n] = storing_[(next_store_ + kStores - 1 - n) % kStores].address;
    return last;
}

// ---- fetch, decode, issue ----

// One group a cycle, as long as the instruction queue has room.
void Pipeline::fetch_group(const FetchResult& fetch) {
    uint64_t time = std::max({fetch_ + 1, next_fetch_, decoded_.oldest()});
    if (fetch.mmu_miss) time += N::kL2MmuLatency;
    if (fetch.level != Level::L1) {
        const uint64_t cycles = fetch.level == Level::L2 ? N::kL2Latency : N::kMemoryLatency;
        time += cycles;
        misses_[miss_count_++] = {kFetchMiss, cycles};
    }
    fetch_ = time;
}

// Two a cycle, where the completion queue and the issue queue have room.
uint64_t Pipeline::decode(const Instruction& in) {
    const uint64_t issued = in.unit == Unit::Branch ? branches_issued_.oldest() : issued_.oldest();
    const uint64_t last = decode_.cycle;
    const uint64_t time = decode_.take(std::max({fetch_, completions_.oldest(), issued}));
    if (time > last) stalled(Modelled::DecodeStalled, std::max(last + 1, fetch_), time);
    decoded_.push(time);
    return time;
}

// Of the two simple units the one whose station is free sooner.
Pipeline::Station Pipeline::station_of(const Instruction& in) const {
    switch (in.unit) {
        case Unit::Branch:
            return kBranch;
        case Unit::Multiple:
            return kMultiple;
        case Unit::LoadStore:
            return kLoadStore;
        case Unit::Float:
            return kFloat;
        default:
            return started_[kSimple1] <= started_[kSimple2] ? kSimple1 : kSimple2;
    }
}

// In order, one branch and two others a cycle, when the reservation station is empty.
uint64_t Pipeline::issue(Station station, uint64_t decoded) {
    const uint64_t earliest = std::max(decoded + 1, started_[station]);
    if (station == kBranch) {
        const uint64_t last = branch_issue_;
        branch_issue_ = std::max(earliest, last + 1);
        stalled(Modelled::BranchIssueStalled, std::max(last + 1, decoded + 1), branch_issue_);
        branches_issued_.push(branch_issue_);
        return branch_issue_;
    }
    const uint64_t last = issue_.cycle;
    const uint64_t time = issue_.take(earliest);
    if (time > last) stalled(Modelled::IssueStalled, std::max(last + 1, decoded + 1), time);
    issued_.push(time);
    return time;
}

// ---- registers ----

uint64_t Pipeline::sources_ready(const Instruction& in, unsigned words) const {
    uint64_t time = 0;
    for (const uint8_t reg : in.sources)
        time = std::max(time, ready_[reg]);  // ready_[kNoRegister] stays 0
    for (unsigned fields = in.reads_cr; fields != 0; fields &= fields - 1)
        time = std::max(time, cr_ready_[7 - static_cast<unsigned>(__builtin_ctz(fields))]);
    if (in.first != kNoRegister && in.use == MemoryUse::Store)
        for (unsigned n = 0; n < words; ++n)
            time = std::max(time, ready_[(in.first + n) % 32]);
    return time;
}

void Pipeline::results_at(const Instruction& in, unsigned words, uint64_t finished) {
    // An updated base is there sooner than what is loaded: it comes from the address adder.
    for (unsigned n = 0; n < in.results.size(); ++n) {
        const uint8_t reg = in.results[n];
        if (reg == kNoRegister) break;
        const bool base = in.ops == 2 && reg == in.base;
        ready_[reg] = base ? started_[kLoadStore] + 1 : finished;
    }
    if (in.first != kNoRegister && in.use == MemoryUse::Load)
        for (unsigned n = 0; n < words; ++n)
            ready_[(in.first + n) % 32] = finished;
    for (unsigned fields = in.writes_cr; fields != 0; fields &= fields - 1)
        cr_ready_[7 - static_cast<unsigned>(__builtin_ctz(fields))] = finished;
}

// ---- memory ----

// The instruction goes through its unit once more, when what it waits for is there.
void Pipeline::replay(Modelled which, uint64_t& start, uint64_t until) {
    constexpr auto kToCycles = static_cast<unsigned>(Modelled::ReplayBuffersFullCycles) -
                               static_cast<unsigned>(Modelled::ReplayBuffersFull);
    if (until <= start) return;
    ++counts_[which];
    counts_[static_cast<Modelled>(static_cast<unsigned>(which) + kToCycles)] += until - start;
    start = until;
}

// Gives when the last part has its data; `start` becomes that of the last try of the first part.
uint64_t Pipeline::execute_memory(std::span<const DataPart> parts, uint64_t& start,
                                  uint64_t latency) {
    uint64_t finished = start + latency;
    uint64_t part_start = start;
    bool missed = false;
    for (const DataPart& part : parts) {
        if (&part != parts.data()) ++part_start;  // one a cycle
        if (part.second && missed) replay(Modelled::ReplaySecondPart, part_start, finished);
        if (part.mmu_miss) {
            replay(Modelled::ReplayMmuBusy, part_start, mmu_free_);
            mmu_free_ = part_start + N::kL2MmuLatency;
            replay(Modelled::ReplayMmuMiss, part_start, mmu_free_);
        }
        const uint64_t done =
            part.store ? store(part, part_start, latency) : load(part, part_start, latency);
        missed = !part.store && done > part_start + latency;
        if (&part == parts.data()) start = part_start;
        finished = std::max(finished, done);
    }
    return finished;
}

// A store waits for room in its queue; the rest happens when it is completed.
uint64_t Pipeline::store(const DataPart& /*part*/, uint64_t& start, uint64_t latency) {
    replay(Modelled::ReplayStoreQueueFull, start, storing_[next_store_].until);
    return start + latency;
}

uint64_t Pipeline::load(const DataPart& part, uint64_t& start, uint64_t latency) {
    const uint64_t doubleword = part.physical & ~uint64_t{7};
    uint64_t stored = 0;  // the last of several
    for (const Storing& storing : storing_)
        if (storing.address == doubleword) stored = std::max(stored, storing.until);
    replay(Modelled::ReplayCollision, start, stored);
    const bool missed = part.inhibited || part.level != Level::L1;
    if (part.guarded && missed) replay(Modelled::ReplayGuarded, start, completed_);
    if (part.inhibited) return start + latency + N::kMemoryLatency;
    const uint64_t line = part.physical & ~uint64_t{kLineBytes - 1};
    if (!part.waits) {  // a touch: if every buffer is taken it is forgotten
        if (missed)
            if (Filling* buffer = free_buffer(start)) *buffer = {line, fill_time(part, start)};
        return start + latency;
    }
    const Filling* under_way = filling(line, start);
    if (!missed && !under_way) return start + latency;
    // Both queues have to have room; one that is full is left at the earliest cycle.
    const auto shortest = std::min_element(missing_.begin(), missing_.end());
    replay(Modelled::ReplayLoadQueueFull, start, *shortest);
    uint64_t until;
    under_way = filling(line, start);
    if (under_way) {
        until = under_way->until;
    } else if (!missed) {
        return start + latency;
    } else {
        Filling& buffer = first_free_buffer();
        replay(Modelled::ReplayBuffersFull, start, buffer.until);
        until = fill_time(part, start);
        buffer = {line, until};
        if (miss_count_ < misses_.size()) misses_[miss_count_++] = {kLoadMiss, until - start};
    }
    *shortest = until;
    return until + latency;
}

uint64_t Pipeline::fill_time(const DataPart& part, uint64_t start) {
    return start + (part.level == Level::Memory ? N::kMemoryLatency : N::kL2Latency);
}

// The last of several, where a line was flushed while it was being filled.
const Pipeline::Filling* Pipeline::filling(uint64_t line, uint64_t time) const {
    const Filling* last = nullptr;
    for (const Filling& buffer : filling_)
        if (buffer.line == line && buffer.until > (last ? last->until : time)) last = &buffer;
    return last;
}

Pipeline::Filling& Pipeline::first_free_buffer() {
    return *std::min_element(filling_.begin(), filling_.end(),
                             [](const auto& a, const auto& b) { return a.until < b.until; });
}

Pipeline::Filling* Pipeline::free_buffer(uint64_t time) {
    Filling& first = first_free_buffer();
    return first.until <= time ? &first : nullptr;
}

// In order, one a cycle; a line that is not there is filled first.
void Pipeline::store_completed(const DataPart& part, uint64_t completed) {
    uint64_t time = std::max(completed, stored_) + 1;
    const uint64_t line = part.physical & ~uint64_t{kLineBytes - 1};
    if (part.inhibited) {
        time += N::kMemoryLatency;
    } else if (part.level != Level::L1) {
        Filling& buffer = first_free_buffer();
        time = fill_time(part, std::max(time, buffer.until));
        buffer = {line, time};
    } else if (const Filling* under_way = filling(line, time)) {
        time = under_way->until;
    }
    stored_ = time;
    storing_[next_store_] = {part.physical & ~uint64_t{7}, time};
    next_store_ = (next_store_ + 1) % N::kStoreQueue;
}

}  // namespace perfvisor::core::timing
