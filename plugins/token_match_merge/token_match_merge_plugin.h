// TokenMatchMerge as a TensorRT plugin: metric (B,N,D) or, of H heads, (B,H,N,D); x (B,N,C), size (B,N,1)
// -> merged (B,M,C), merged_size (B,M,1), log_size (B,1,1,M), source (B,R), target (B,R), kept (B,K), M = prefix + K + destinations.
// Attributes: those of TokenMatch, and prefix.
#pragma once

#include "common/plugin_base.h"
#include "token_match_merge/match_merge_tables.h"

namespace edgeexport {

class TokenMatchMergeOp : public OpDefaults {
public:
    static constexpr char const* kName = "TokenMatchMerge";
    static constexpr std::array<AttributeSpec, 7> kAttributes{{
        {"sources", AttributeSpec::Kind::kIntegers, -1, kMatchMergeMaxTokens - 1},
        {"destinations", AttributeSpec::Kind::kIntegers, -1, kMatchMergeMaxTokens - 1},
        {"taken", AttributeSpec::Kind::kIntegers, 0, kMatchMergeMaxTokens - 1},
        {"left", AttributeSpec::Kind::kIntegers, 0, kMatchMergeMaxTokens - 1},
        {"windows", AttributeSpec::Kind::kInteger, 1, kMatchMergeMaxSources},
        {"ascending", AttributeSpec::Kind::kInteger, 0, 1},
        {"prefix", AttributeSpec::Kind::kInteger, 0, kMatchMergeMaxTokens},
    }};
    static constexpr std::array<TensorSpec, 3> kInputs{
        {{"metric", Element::kData, 3}, {"x", Element::kFloat32, 3}, {"size", Element::kFloat32, 3}}};
    static constexpr std::array<TensorSpec, 6> kOutputs{{{"merged", Element::kFloat32, 3},
        {"merged_size", Element::kFloat32, 3}, {"log_size", Element::kData, 4}, {"source", Element::kInt32, 2}, {"target", Element::kInt32, 2},
        {"kept", Element::kInt32, 2}}};
    static constexpr std::array<char const*, 2> kLaunches{"matchSimilarityKernel", "matchMergeKernel"};

    static constexpr bool mayHaveHeads(int32_t input) { return input == 0; }

    // Throws InvalidAttribute: the tables contradict each other.
    explicit TokenMatchMergeOp(Attributes const& attributes);

    void outputShapes(nvinfer1::DimsExprs const* in, nvinfer1::DimsExprs* out, nvinfer1::IExprBuilder& builder) const;
    void check(nvinfer1::Dims const* in) const;
    size_t workspaceBytes(nvinfer1::Dims const* in, ElementType type) const;
    std::vector<int32_t> deviceTable() const { return tables_.match.table; }
    cudaError_t launch(Launch const& launch) const;

private:
    MatchMergeSizes sizesOf(nvinfer1::Dims const& metric, nvinfer1::Dims const& x) const;

    MatchMergeTables tables_;
    int32_t prefix_;
};

// The creator, alive as long as the library.
nvinfer1::IPluginCreatorInterface* tokenMatchMergeCreator();

}  // namespace edgeexport
