// Sizes and index tables of TokenMatchMerge: TokenMatch's, and where destinations stand in the output. For the kernels, the
// launcher, the plugin and the CPU references.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "common/portable.h"
#include "token_match/match_tables.h"

namespace edgeexport {

constexpr int32_t kMatchMergeMaxSources = 4096;  // a block sorts an image's in its shared memory, padding among them
constexpr int32_t kMatchMergeMaxTokens = 65535;  // there, a token has 16 bits
constexpr int32_t kMatchMergeMaxWidth = 1 << 24;

struct MatchMergeSizes {
    TokenMatchSizes match;
    int32_t width;         // C, elements of a token
    int32_t prefix;        // tokens at the start that are copied
    int32_t destinations;  // without padding, over all windows

    // Output rows lie as [prefix | kept | destinations].
    EDGEEXPORT_HD constexpr int32_t rows() const { return prefix + match.counts.left + destinations; }

    // Behind TokenMatch's table: the number of each destination among those that exist (windows * nb, -1 for padding), and
    // their tokens (destinations).
    EDGEEXPORT_HD constexpr size_t numbersAt() const { return match.counts.tableEntries(); }
    EDGEEXPORT_HD constexpr size_t tokensAt() const {
        return numbersAt() +
               static_cast<size_t>(match.counts.windows) * static_cast<size_t>(match.counts.destinations);
    }
};

// What is wrong with the sizes, or null.
constexpr char const* matchMergeRefusal(MatchMergeSizes const& sizes) {
    if (char const* const refusal = matchRefusal(sizes.match); refusal != nullptr) {
        return refusal;
    }
    if (sizes.match.counts.slots() > static_cast<size_t>(kMatchMergeMaxSources)) {
        return "windows of more than 4096 sources in all";
    }
    if (sizes.match.tokens > kMatchMergeMaxTokens) {
        return "more than 65535 tokens";
    }
    if (sizes.width < 1 || sizes.width > kMatchMergeMaxWidth) {
        return "rows of a length outside 1 to 2^24";
    }
    if (sizes.prefix < 0 || sizes.prefix > sizes.match.tokens) {
        return "a prefix outside 0 to the number of tokens";
    }
    return nullptr;
}

struct MatchMergeTables {
    MatchTables match;           // with the kernels' whole table
    int32_t destinations = 0;    // without padding

    MatchMergeSizes sizes(TokenMatchSizes const& match_sizes, int32_t width, int32_t prefix) const {
        return MatchMergeSizes{match_sizes, width, prefix, destinations};
    }
};

// Completes checked tables of TokenMatch.
inline MatchMergeTables matchMergeTables(MatchTables match, std::vector<int32_t> const& destinations) {
    MatchMergeTables tables{std::move(match), 0};
    std::vector<int32_t>& table = tables.match.table;
    for (int32_t const token : destinations) {
        table.push_back(token < 0 ? -1 : tables.destinations++);
    }
    for (int32_t const token : destinations) {
        if (token >= 0) {
            table.push_back(token);
        }
    }
    return tables;
}

}  // namespace edgeexport
