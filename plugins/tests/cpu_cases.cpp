// Runs the CPU references over a fixed set of cases, with sanitizers: every tensor lies in memory of exactly its size.
// Each op has two executions, the definition and the kernel's steps, which have to give the same; the values themselves
// are held to torch by tests/plugins/test_cpu_*.py. Prints how many calls it made; exit code 1 where two differ.
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <iostream>
#include <string>
#include <vector>

#include "common/half.h"
#include "common/status.h"
#include "token_match/token_match_cpu.h"
#include "token_match_merge/token_match_merge_cpu.h"
#include "token_merge/token_merge_cpu.h"
#include "token_partition/token_partition_cpu.h"
#include "token_protect_select/token_protect_select_cpu.h"
#include "token_unmerge/token_unmerge_cpu.h"

// Of upsample_argmax_cpu.cpp, for ctypes: no header declares it.
extern "C" int edgeexport_cpu_upsample_argmax(void const* scores, int32_t type, int32_t batch, int32_t classes,
    int32_t h, int32_t w, int32_t height, int32_t width, int32_t candidates, int32_t* class_map, int32_t* uncertified);

namespace {

constexpr int32_t kFloat = 0;
constexpr int32_t kHalf = 1;

int calls = 0;

void expect(bool holds, std::string const& what) {
    if (!holds) {
        std::cerr << what << "\n";
        std::exit(1);
    }
}

void succeeds(int status, std::string const& what) {
    ++calls;
    expect(status == 0, what + ": " + edgeexport::statusText(static_cast<edgeexport::Status>(status)));
}

void fails(int status, edgeexport::Status expected, std::string const& what) {
    ++calls;
    expect(status == static_cast<int>(expected), what + ": status " + std::to_string(status));
}

// The same numbers on every machine.
class Random {
public:
    uint32_t below(uint32_t limit) {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return static_cast<uint32_t>(state_ >> 33) % limit;
    }

    // Multiples of 1/4 from -2 to 2 where `coarse`, so that ties abound; of 1/512 otherwise. Exact in FP16.
    float value(bool coarse) {
        return coarse ? static_cast<float>(static_cast<int32_t>(below(17)) - 8) / 4.0f
                      : static_cast<float>(static_cast<int32_t>(below(2048)) - 1024) / 512.0f;
    }

private:
    uint64_t state_ = 20240511;
};

Random random_numbers;

// Numbers of an element type.
class Values {
public:
    Values(size_t count, int32_t type, bool coarse)
        : type_(type), floats_(type == kFloat ? count : 0), halves_(type == kFloat ? 0 : count) {
        for (float& value : floats_) {
            value = random_numbers.value(coarse);
        }
        for (uint16_t& value : halves_) {
            value = edgeexport::halfFromFloat(random_numbers.value(coarse));
        }
    }

    void* data() { return type_ == kFloat ? static_cast<void*>(floats_.data()) : static_cast<void*>(halves_.data()); }
    bool operator==(Values const& other) const { return floats_ == other.floats_ && halves_ == other.halves_; }

    // Whether all are within a rounding of FP16 of the other's, for sums that are taken in another order.
    bool near(Values const& other) const {
        float const tolerance = type_ == kFloat ? 1e-5f : 4e-3f;
        for (size_t i = 0; i < floats_.size() + halves_.size(); ++i) {
            float const distance = at(i) - other.at(i);
            if (!(distance <= tolerance && distance >= -tolerance)) {
                return false;
            }
        }
        return true;
    }

private:
    float at(size_t i) const { return type_ == kFloat ? floats_[i] : edgeexport::floatFromHalf(halves_[i]); }

    int32_t type_;
    std::vector<float> floats_;
    std::vector<uint16_t> halves_;
};

size_t count(int32_t a, int32_t b = 1, int32_t c = 1, int32_t d = 1) {
    return static_cast<size_t>(a) * static_cast<size_t>(b) * static_cast<size_t>(c) * static_cast<size_t>(d);
}

std::vector<int32_t> integers(size_t length) { return std::vector<int32_t>(length, -7); }

void partition(int32_t batch, int32_t tokens, int32_t k, int32_t type, bool coarse) {
    Values score(count(batch, tokens), type, coarse);
    std::vector<int32_t> kept = integers(count(batch, tokens - k) + (k == tokens ? 1 : 0));  // never a null address
    std::vector<int32_t> taken = integers(count(batch, k));
    succeeds(
        edgeexport_cpu_token_partition(score.data(), type, batch, tokens, k, kept.data(), taken.data()), "partition");
    for (int32_t const threads : {1, 7, 32, 1024}) {
        for (int32_t const backward : {0, 1}) {
            std::vector<int32_t> other_kept = integers(kept.size());
            std::vector<int32_t> other_taken = integers(taken.size());
            succeeds(edgeexport_cpu_token_partition_kernel(score.data(), type, batch, tokens, k, other_kept.data(),
                         other_taken.data(), threads, backward),
                "partition, kernel");
            expect(kept == other_kept && taken == other_taken, "partition and its kernel differ");
        }
    }
}

// Matching and merging as one, on top of a call of TokenMatch whose outputs are of no matter.
void matchMerge(EdgeexportTokenMatch match, int32_t prefix, int32_t destinations, int32_t width, bool exact) {
    int32_t const rows = prefix + match.left_length + destinations;
    Values x(count(match.batch, match.tokens, width), kFloat, false);
    std::vector<float> size(count(match.batch, match.tokens));
    for (float& value : size) {
        value = static_cast<float>(1 + random_numbers.below(9));
    }
    struct Result {
        Values merged;
        std::vector<float> size;
        Values log_size;
        std::vector<int32_t> source;
        std::vector<int32_t> target;
        std::vector<int32_t> kept;
    };
    auto const run = [&](auto const& execute) {
        Result result{Values(count(match.batch, rows, width), kFloat, true),
            std::vector<float>(count(match.batch, rows)), Values(count(match.batch, rows), match.type, true), integers(count(match.batch, match.taken_length)),
            integers(count(match.batch, match.taken_length)), integers(count(match.batch, match.left_length))};
        match.source = result.source.data();
        match.target = result.target.data();
        match.kept = result.kept.data();
        EdgeexportTokenMatchMerge const call{match, static_cast<float const*>(x.data()), size.data(), 1, width, prefix,
            static_cast<float*>(result.merged.data()), result.size.data(), result.log_size.data()};
        succeeds(execute(call), "match and merge");
        return result;
    };
    Result const expected = run([](auto const& call) { return edgeexport_cpu_token_match_merge(&call); });
    for (int32_t const lanes : {1, 4}) {
        for (int32_t const parts : {1, 3}) {
            if (width % lanes != 0) {
                continue;
            }
            Result const found = run([&](auto const& call) {
                return edgeexport_cpu_token_match_merge_kernel(&call, lanes, parts, parts == 1 ? 1 : 0);
            });
            // Rounding may order values that are not exact differently.
            expect(!exact || (found.source == expected.source && found.target == expected.target &&
                                 found.kept == expected.kept && found.size == expected.size &&
                                 found.merged.near(expected.merged) && found.log_size.near(expected.log_size)),
                "match and merge and its kernels differ");
        }
    }
}

// What TokenMatch leaves for TokenMerge.
struct Matched {
    std::vector<int32_t> destinations;
    std::vector<int32_t> source;
    std::vector<int32_t> target;
    std::vector<int32_t> kept;
};

// Tokens behind `prefix` alternate, in `windows` runs of equal length; the last run may lack its last token.
Matched match(int32_t batch, int32_t tokens, int32_t prefix, int32_t windows, int32_t r, int32_t channels, int32_t type,
    bool coarse, bool ascending) {
    std::vector<int32_t> sources;
    std::vector<int32_t> destinations;
    int32_t const length = (tokens - prefix + windows - 1) / windows;
    int32_t const na = (length + 1) / 2;
    for (int32_t i = 0; i < windows * length + (length % 2) * windows; ++i) {
        int32_t const even = length + length % 2;
        int32_t const place = i / even * length + i % even;
        bool const exists = i % even < length && prefix + place < tokens;
        (i % 2 == 0 ? sources : destinations).push_back(exists ? prefix + place : -1);
    }
    Matched result;
    std::vector<int32_t> taken;
    std::vector<int32_t> left;
    for (int32_t rank = 0; rank < na; ++rank) {
        for (int32_t window = 0; window < windows; ++window) {
            int32_t const slot = window * na + rank;
            if (sources[static_cast<size_t>(slot)] >= 0) {
                (static_cast<int32_t>(taken.size()) < r ? taken : left).push_back(slot);
            }
        }
    }
    Values metric(count(batch, tokens, channels), type, coarse);
    auto const length_of = [](std::vector<int32_t> const& list) { return static_cast<int32_t>(list.size()); };
    EdgeexportTokenMatch call{metric.data(), type, batch, tokens, channels, sources.data(), length_of(sources),
        destinations.data(), length_of(destinations), taken.data(), length_of(taken), left.data(), length_of(left),
        windows, ascending ? 1 : 0, nullptr, nullptr, nullptr};
    for (int32_t const execution : {0, 1, 2}) {  // the definition, the kernels, the kernels with threads backward
        Matched found{{}, integers(count(batch, call.taken_length)), integers(count(batch, call.taken_length)),
            integers(count(batch, call.left_length))};
        call.source = found.source.data();
        call.target = found.target.data();
        call.kept = found.kept.data();
        succeeds(execution == 0 ? edgeexport_cpu_token_match(&call)
                                : edgeexport_cpu_token_match_kernel(&call, execution - 1),
            "match");
        // Rounding may order values that are not exact differently.
        expect(execution == 0 || !coarse || channels > 1 ||
                   (found.source == result.source && found.target == result.target && found.kept == result.kept),
            "match and its kernels differ");
        if (execution == 0) {
            result = found;
        }
    }
    for (int32_t const token : destinations) {
        if (token >= 0) {
            result.destinations.push_back(token);
        }
    }
    matchMerge(call, prefix, length_of(result.destinations), channels, coarse && channels == 1);
    return result;
}

void merge(Matched const& matched, int32_t batch, int32_t tokens, int32_t prefix, int32_t width, int32_t type) {
    auto const per_image = [batch](
                               std::vector<int32_t> const& list) { return static_cast<int32_t>(list.size()) / batch; };
    int32_t const sources = per_image(matched.source);
    int32_t const stay = per_image(matched.kept);
    auto const destinations = static_cast<int32_t>(matched.destinations.size());
    int32_t const rows = prefix + stay + destinations;
    Values x(count(batch, tokens, width), type, false);
    std::vector<float> size(count(batch, tokens));
    for (float& value : size) {
        value = static_cast<float>(1 + random_numbers.below(9));
    }
    Values merged(count(batch, rows, width), type, true);
    std::vector<float> merged_size(count(batch, rows));
    succeeds(edgeexport_cpu_token_merge(x.data(), size.data(), matched.source.data(), matched.target.data(),
                 matched.kept.data(), matched.destinations.data(), merged.data(), merged_size.data(), batch, tokens,
                 width, sources, stay, prefix, destinations, type),
        "merge");
    for (int32_t const lanes : {1, type == kFloat ? 4 : 8}) {
        for (int32_t const threads : {1, 5, 256}) {
            if (width % lanes != 0) {
                continue;
            }
            Values other(count(batch, rows, width), type, true);
            std::vector<float> other_size(merged_size.size());
            succeeds(
                edgeexport_cpu_token_merge_block(x.data(), size.data(), matched.source.data(), matched.target.data(),
                    matched.kept.data(), matched.destinations.data(), other.data(), other_size.data(), batch, tokens,
                    width, sources, stay, prefix, destinations, type, lanes, threads, threads % 2),
                "merge, kernel");
            expect(merged.near(other) && merged_size == other_size, "merge and its kernel differ");
        }
    }
}

void unmerge(int32_t batch, int32_t tokens, int32_t rows, int32_t width, int32_t type) {
    Values from(count(batch, tokens, width), type, false);
    Values to(count(batch, rows, width), type, false);
    std::vector<int32_t> index(count(batch, rows));
    for (int32_t& token : index) {
        token = static_cast<int32_t>(random_numbers.below(static_cast<uint32_t>(tokens)));
    }
    succeeds(edgeexport_cpu_token_unmerge(from.data(), index.data(), to.data(), batch, tokens, rows, width, type),
        "unmerge");
    index.back() = tokens;
    Values const before = to;
    fails(edgeexport_cpu_token_unmerge(from.data(), index.data(), to.data(), batch, tokens, rows, width, type),
        edgeexport::Status::kBadIndex, "unmerge beyond the tokens");
    expect(to == before, "unmerge wrote though it failed");
}

void protectSelect(int32_t batch, int32_t classes, int32_t tokens, int32_t k, int32_t per_class, int32_t width,
    int32_t type, bool coarse) {
    int32_t const row_width = classes;
    Values scores(count(batch, classes, tokens), type, coarse);
    Values x(count(batch, tokens, width), type, false);
    Values rows(count(batch, tokens, row_width), type, false);
    std::vector<int32_t> alive(count(batch, tokens));
    for (int32_t& token : alive) {
        token = static_cast<int32_t>(random_numbers.below(1000));
    }
    edgeexport::ProtectSelectSizes const sizes{batch, classes, tokens, width, row_width, k, per_class};
    struct Result {
        Values x_kept;
        Values rows_left;
        std::vector<int32_t> alive_kept;
        std::vector<int32_t> alive_left;
    };
    auto const run = [&](auto const& call) {
        Result result{Values(count(batch, tokens - k, width), type, true),
            Values(count(batch, k, row_width), type, true), integers(count(batch, tokens - k)),
            integers(count(batch, k))};
        std::vector<uint64_t> workspace(edgeexport::protectSelectWorkspaceBytes(sizes) / sizeof(uint64_t), ~uint64_t{0});
        edgeexport::ProtectSelectAddresses const tensors{scores.data(), x.data(), rows.data(), alive.data(),
            result.x_kept.data(), result.rows_left.data(), result.alive_kept.data(), result.alive_left.data(),
            workspace.data()};
        succeeds(call(tensors), "protect and select");
        return result;
    };
    Result const expected =
        run([&](auto const& tensors) { return edgeexport_cpu_token_protect_select(&tensors, &sizes, type); });
    for (int32_t const threads : {32, 1024}) {
        for (int32_t const parts : {1, 3}) {
            Result const found = run([&](auto const& tensors) {
                return edgeexport_cpu_token_protect_select_kernel(
                    &tensors, &sizes, type, parts, threads, parts == 1 ? 1 : 0);
            });
            expect(found.x_kept == expected.x_kept && found.rows_left == expected.rows_left &&
                       found.alive_kept == expected.alive_kept && found.alive_left == expected.alive_left,
                "protect and select and its kernels differ");
        }
    }
}

void upsample(int32_t batch, int32_t classes, int32_t h, int32_t w, int32_t factor, int32_t candidates, int32_t type,
    bool coarse) {
    Values scores(count(batch, classes, h, w), type, coarse);
    std::vector<int32_t> map = integers(count(batch, h * factor, w * factor));
    std::vector<int32_t> uncertified = integers(count(batch));
    succeeds(edgeexport_cpu_upsample_argmax(scores.data(), type, batch, classes, h, w, h * factor, w * factor,
                 candidates, map.data(), uncertified.data()),
        "upsample");
    std::vector<int32_t> other = integers(map.size());
    succeeds(edgeexport_cpu_upsample_argmax(
                 scores.data(), type, batch, classes, h, w, h * factor, w * factor, candidates, other.data(), nullptr),
        "upsample without a count");
    expect(map == other, "upsample differs without a count");
    for (int32_t const label : map) {
        expect(label >= 0 && label < classes, "upsample left a pixel unwritten");
    }
}

void halves() {
    for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
        auto const half = static_cast<uint16_t>(bits);
        bool const is_nan = (half & 0x7FFFu) > 0x7C00u;
        expect(is_nan || edgeexport::halfFromFloat(edgeexport::floatFromHalf(half)) == half, "a half changed");
    }
}

}  // namespace

int main() {
    halves();
    for (int32_t const type : {kFloat, kHalf}) {
        for (bool const coarse : {true, false}) {
            for (int32_t const tokens : {1, 2, 31, 33, 197, 1025}) {
                for (int32_t const k : {1, (tokens + 1) / 2, tokens}) {
                    partition(2, tokens, k, type, coarse);
                }
            }
            for (int32_t const tokens : {6, 7, 14, 65, 198}) {
                for (int32_t const windows : {1, 3}) {
                    for (int32_t const r : {1, tokens / 2 - 2}) {
                        for (int32_t const channels : {1, 5, 64}) {
                            int32_t const prefix = tokens % 2;
                            Matched const matched =
                                match(2, tokens, prefix, windows, r, channels, type, coarse, windows > 1);
                            merge(matched, 2, tokens, prefix, channels, type);
                        }
                    }
                }
            }
            for (int32_t const tokens : {2, 5, 33, 130}) {
                for (int32_t const per_class : {1, 3, tokens + 1}) {
                    protectSelect(2, 7, tokens, (tokens + 1) / 2, per_class, tokens, type, coarse);
                }
            }
            protectSelect(1, 1, 3, 2, 1, 4, type, coarse);
            upsample(2, 5, 3, 4, 4, 2, type, coarse);
            upsample(1, 33, 2, 1, 7, 3, type, coarse);
            upsample(3, 2, 1, 1, 3, 1, type, coarse);
            upsample(1, 150, 8, 8, 16, 8, type, coarse);
            upsample(1, 4, 3, 2, 1, 9, type, coarse);
        }
        unmerge(3, 5, 9, 7, type);
        unmerge(1, 1, 1, 1, type);
    }
    std::cout << calls << "\n";
    return 0;
}
