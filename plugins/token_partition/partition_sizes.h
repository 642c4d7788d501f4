// Sizes of TokenPartition and which of them are accepted; for the launcher, the plugin and the CPU reference.
#pragma once

#include <cstdint>

namespace edgeexport {

// The op's ONNX function carries token indices as float32, which is exact up to here. One block works on one image:
// made for the 16384 tokens and less of a vision transformer, slow far beyond.
constexpr int32_t kPartitionMaxTokens = 1 << 24;

struct TokenPartitionSizes {
    int32_t batch;   // B
    int32_t tokens;  // N
    int32_t k;       // taken
};

// What is wrong with the sizes, or null.
constexpr char const* partitionRefusal(TokenPartitionSizes const& sizes) {
    if (sizes.batch < 0) {
        return "a negative number of images";
    }
    if (sizes.tokens < 1 || sizes.tokens > kPartitionMaxTokens) {
        return "a number of tokens outside 1 to 2^24";
    }
    if (sizes.k < 1 || sizes.k > sizes.tokens) {
        return "k outside 1 to the number of tokens";
    }
    return nullptr;
}

}  // namespace edgeexport
