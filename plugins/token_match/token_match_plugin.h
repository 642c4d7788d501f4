// TokenMatch as a TensorRT plugin: metric (B,N,D) -> source (B,R), target (B,R), kept (B,K). Attributes: the index
// tables sources, destinations, taken, left, and windows, ascending (edgeexport/ops/match_tables.py).
#pragma once

#include "common/plugin_base.h"
#include "token_match/match_tables.h"

namespace edgeexport {

class TokenMatchOp : public OpDefaults {
public:
    static constexpr char const* kName = "TokenMatch";
    static constexpr std::array<AttributeSpec, 6> kAttributes{{
        {"sources", AttributeSpec::Kind::kIntegers, -1, kMatchMaxTokens - 1},
        {"destinations", AttributeSpec::Kind::kIntegers, -1, kMatchMaxTokens - 1},
        {"taken", AttributeSpec::Kind::kIntegers, 0, kMatchMaxTokens - 1},
        {"left", AttributeSpec::Kind::kIntegers, 0, kMatchMaxTokens - 1},
        {"windows", AttributeSpec::Kind::kInteger, 1, kMatchMaxTokens},
        {"ascending", AttributeSpec::Kind::kInteger, 0, 1},
    }};
    static constexpr std::array<TensorSpec, 1> kInputs{{{"metric", Element::kData, 3}}};
    static constexpr std::array<TensorSpec, 3> kOutputs{
        {{"source", Element::kInt32, 2}, {"target", Element::kInt32, 2}, {"kept", Element::kInt32, 2}}};
    static constexpr std::array<char const*, 3> kLaunches{"matchSimilarityKernel", "matchRankKernel", "matchSortKernel"};

    // Throws InvalidAttribute: the tables contradict each other.
    explicit TokenMatchOp(Attributes const& attributes);

    void outputShapes(nvinfer1::DimsExprs const* in, nvinfer1::DimsExprs* out, nvinfer1::IExprBuilder& builder) const;
    void check(nvinfer1::Dims const* in) const;
    size_t workspaceBytes(nvinfer1::Dims const* in, ElementType type) const;
    std::vector<int32_t> deviceTable() const { return tables_.table; }
    cudaError_t launch(Launch const& launch) const;

private:
    MatchTables tables_;
};

// The creator, alive as long as the library.
nvinfer1::IPluginCreatorInterface* tokenMatchCreator();

}  // namespace edgeexport
