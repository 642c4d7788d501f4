// TokenMerge as a TensorRT plugin: x (B,N,C), size (B,N,1), source (B,R), target (B,R), kept (B,K)
// -> merged (B,M,C), merged_size (B,M,1), M = prefix + K + destinations. Attributes: prefix, destinations (token
// indices).
//
// Where no source stays the node carries a stand-in for `kept` (see edgeexport/ops/token_merge.py), so M = N - R is not
// assumed.
#pragma once

#include "common/plugin_base.h"

namespace edgeexport {

class TokenMergeOp : public OpDefaults {
public:
    static constexpr char const* kName = "TokenMerge";
    static constexpr std::array<AttributeSpec, 2> kAttributes{
        {{"prefix", AttributeSpec::Kind::kInteger, 0}, {"destinations", AttributeSpec::Kind::kIntegers, 0}}};
    static constexpr std::array<TensorSpec, 5> kInputs{{{"x", Element::kData, 3}, {"size", Element::kFloat32, 3},
        {"source", Element::kInt32, 2}, {"target", Element::kInt32, 2}, {"kept", Element::kInt32, 2}}};
    static constexpr std::array<TensorSpec, 2> kOutputs{
        {{"merged", Element::kData, 3}, {"merged_size", Element::kFloat32, 3}}};
    static constexpr std::array<char const*, 1> kLaunches{"tokenMergeKernel"};

    explicit TokenMergeOp(Attributes const& attributes)
        : prefix_(attributes.integer("prefix")), destinations_(attributes.integers("destinations")) {}

    void outputShapes(nvinfer1::DimsExprs const* in, nvinfer1::DimsExprs* out, nvinfer1::IExprBuilder& builder) const;
    void check(nvinfer1::Dims const* in) const;
    std::vector<int32_t> deviceTable() const { return destinations_; }
    cudaError_t launch(Launch const& launch) const;

private:
    int32_t prefix_;
    std::vector<int32_t> destinations_;
};

// The creator, alive as long as the library.
nvinfer1::IPluginCreatorInterface* tokenMergeCreator();

}  // namespace edgeexport
