// TokenMatch, first step, by one thread block: the most similar destination of each source, without a matrix of
// similarities in memory. Run by the kernel and by the CPU (see common/block.h).
//
// A block holds kMatchRows sources of one window and walks over kMatchSplitTiles tiles of kMatchColumns of its
// destinations. Rows are scaled to length 1 while they are copied into shared memory. What leaves the block is each
// source's best destination among those it saw.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/block.h"
#include "common/selection.h"
#include "common/to_float.h"
#include "token_match/match_view.h"

namespace edgeexport {

constexpr float kMatchEpsilon = 1e-12f;  // lower bound of norms, as in edgeexport/ops/token_match.py

constexpr int32_t kDepth = 32;  // channels per tile
constexpr int32_t kPatch = 4;   // a thread computes kPatch x kPatch similarities of a tile
constexpr int32_t kColumnThreads = kMatchColumns / kPatch;
constexpr int32_t kMatchThreads = kMatchRows / kPatch * kColumnThreads;
constexpr int32_t kNormThreads = kMatchThreads / kMatchRows;  // that share the norm of one row
static_assert(kMatchColumns % kMatchRows == 0, "norms are computed kMatchRows rows at a time");

struct SimilarityShared {
    // Channel by channel, so that a thread's kPatch rows lie side by side; padded against bank conflicts.
    alignas(16) float sources[kDepth][kMatchRows + 4];
    alignas(16) float destinations[kDepth][kMatchColumns + 4];
    float norm_parts[kMatchThreads];
    float source_scale[kMatchRows];
    float destination_scale[kMatchColumns];
    int32_t source_token[kMatchRows];
    int32_t destination_token[kMatchColumns];
    Best candidates[kMatchRows][kColumnThreads];
};

struct Patch {
    float sum[kPatch][kPatch];
};

struct PatchBest {
    Best best[kPatch];
};

// scale[i] = 1 / max(|row of tokens[i]|, epsilon) for kMatchRows tokens; rows that do not exist (-1) are left out.
template <class Metric>
EDGEEXPORT_HD inline void scaleRows(Block block, MatchView<Metric> const& view, int32_t image, int32_t const* tokens,
    float* norm_parts, float* scale) {
    block.phase([&](int32_t thread) {
        int32_t const token = tokens[thread / kNormThreads];
        float sum = 0.0f;
        if (token >= 0) {
            Metric const* const row = view.row(image, token);
            for (int32_t channel = thread % kNormThreads; channel < view.channels; channel += kNormThreads) {
                float const value = view.value(row, channel);
                sum = fmaf(value, value, sum);
            }
        }
        norm_parts[thread] = sum;
    });
    block.phase([&](int32_t thread) {
        if (thread < kMatchRows) {
            float sum = 0.0f;
            for (int32_t part = 0; part < kNormThreads; ++part) {
                sum += norm_parts[thread * kNormThreads + part];
            }
            float const norm = sqrtf(sum);
            scale[thread] = 1.0f / (norm > kMatchEpsilon ? norm : kMatchEpsilon);
        }
    });
}

// Copies kDepth channels from `first` of `count` rows, scaled, into tile[channel][row] (`stride` floats per channel).
template <class Metric>
EDGEEXPORT_HD inline void loadTile(int32_t thread, MatchView<Metric> const& view, int32_t image, int32_t const* tokens,
    float const* scale, int32_t count, int32_t first, float* tile, int32_t stride) {
    for (int32_t i = thread; i < count * kDepth; i += kMatchThreads) {
        int32_t const row = i / kDepth;
        int32_t const depth = i % kDepth;
        bool const exists = tokens[row] >= 0 && first + depth < view.channels;
        tile[depth * stride + row] =
            exists ? view.value(view.row(image, tokens[row]), first + depth) * scale[row] : 0.0f;
    }
}

// Sources kMatchRows * `tile` and on of one window against the destinations of one split: writes candidates.
template <class Metric>
EDGEEXPORT_HD inline void bestDestinations(Block block, SimilarityShared& shared, MatchView<Metric> const& view,
    int32_t window, int32_t tile, int32_t split, int32_t image) {
    PerThread<Patch, kMatchThreads> patches;
    PerThread<PatchBest, kMatchThreads> bests;
    block.phase([&](int32_t thread) {
        if (thread < kMatchRows) {
            shared.source_token[thread] = view.sourceToken(window, tile * kMatchRows + thread);
        }
        EDGEEXPORT_UNROLL
        for (int32_t i = 0; i < kPatch; ++i) {
            bests[thread].best[i] = Best{-HUGE_VALF, 0};
        }
    });
    scaleRows(block, view, image, shared.source_token, shared.norm_parts, shared.source_scale);
    for (int32_t turn = 0; turn < kMatchSplitTiles; ++turn) {
        int32_t const first_column = (split * kMatchSplitTiles + turn) * kMatchColumns;
        if (first_column >= view.counts.destinations) {
            break;
        }
        block.phase([&](int32_t thread) {
            for (int32_t column = thread; column < kMatchColumns; column += kMatchThreads) {
                shared.destination_token[column] = view.destinationToken(window, first_column + column);
            }
            EDGEEXPORT_UNROLL
            for (int32_t i = 0; i < kPatch; ++i) {
                EDGEEXPORT_UNROLL
                for (int32_t j = 0; j < kPatch; ++j) {
                    patches[thread].sum[i][j] = 0.0f;
                }
            }
        });
        for (int32_t column = 0; column < kMatchColumns; column += kMatchRows) {
            scaleRows(block, view, image, shared.destination_token + column, shared.norm_parts,
                shared.destination_scale + column);
        }
        for (int32_t channel = 0; channel < view.channels; channel += kDepth) {
            block.phase([&](int32_t thread) {
                loadTile(thread, view, image, shared.source_token, shared.source_scale, kMatchRows, channel,
                    &shared.sources[0][0], kMatchRows + 4);
                loadTile(thread, view, image, shared.destination_token, shared.destination_scale, kMatchColumns,
                    channel, &shared.destinations[0][0], kMatchColumns + 4);
            });
            block.phase([&](int32_t thread) {
                int32_t const row = thread / kColumnThreads * kPatch;
                int32_t const column = thread % kColumnThreads * kPatch;
                Patch& patch = patches[thread];
                EDGEEXPORT_UNROLL
                for (int32_t depth = 0; depth < kDepth; ++depth) {
                    EDGEEXPORT_UNROLL
                    for (int32_t i = 0; i < kPatch; ++i) {
                        EDGEEXPORT_UNROLL
                        for (int32_t j = 0; j < kPatch; ++j) {
                            patch.sum[i][j] = fmaf(shared.sources[depth][row + i],
                                shared.destinations[depth][column + j], patch.sum[i][j]);
                        }
                    }
                }
            });
        }
        block.phase([&](int32_t thread) {
            int32_t const column = thread % kColumnThreads * kPatch;
            EDGEEXPORT_UNROLL
            for (int32_t j = 0; j < kPatch; ++j) {
                bool const exists = shared.destination_token[column + j] >= 0;
                EDGEEXPORT_UNROLL
                for (int32_t i = 0; i < kPatch; ++i) {
                    // Columns rise, so that the first of equals stands.
                    Best& best = bests[thread].best[i];
                    float const similarity = patches[thread].sum[i][j];
                    if (exists && similarity > best.score) {
                        best = Best{similarity, first_column + column + j};
                    }
                }
            }
        });
    }
    block.phase([&](int32_t thread) {
        EDGEEXPORT_UNROLL
        for (int32_t i = 0; i < kPatch; ++i) {
            int32_t const row = thread / kColumnThreads * kPatch + i;
            shared.candidates[row][thread % kColumnThreads] = bests[thread].best[i];
        }
    });
    block.phase([&](int32_t thread) {
        int32_t const position = tile * kMatchRows + thread;
        if (thread < kMatchRows && position < view.counts.sources) {
            Best best = shared.candidates[thread][0];
            for (int32_t other = 1; other < kColumnThreads; ++other) {
                best = betterOf(best, shared.candidates[thread][other]);
            }
            view.candidatesOf(split, image, window)[position] = best;
        }
    });
}

}  // namespace edgeexport
