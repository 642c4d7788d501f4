// TokenProtectSelect as a TensorRT plugin: scores (B,K,n), x (B,n,C), rows (B,n,R), alive (B,n,1)
// -> x_kept (B,n-k,C), rows_left (B,k,R), alive_kept (B,n-k,1), alive_left (B,k,1). Attributes: k, per_class.
#pragma once

#include "common/plugin_base.h"
#include "token_protect_select/protect_select_sizes.h"

namespace edgeexport {

class TokenProtectSelectOp : public OpDefaults {
public:
    static constexpr char const* kName = "TokenProtectSelect";
    static constexpr std::array<AttributeSpec, 2> kAttributes{
        {{"k", AttributeSpec::Kind::kInteger, 1, kSelectMaxTokens}, {"per_class", AttributeSpec::Kind::kInteger, 1}}};
    static constexpr std::array<TensorSpec, 4> kInputs{{{"scores", Element::kData, 3}, {"x", Element::kData, 3},
        {"rows", Element::kData, 3}, {"alive", Element::kInt32, 3}}};
    static constexpr std::array<TensorSpec, 4> kOutputs{{{"x_kept", Element::kData, 3}, {"rows_left", Element::kData, 3},
        {"alive_kept", Element::kInt32, 3}, {"alive_left", Element::kInt32, 3}}};
    static constexpr std::array<char const*, 2> kLaunches{"tokenConfidenceKernel", "tokenSelectKernel"};

    explicit TokenProtectSelectOp(Attributes const& attributes)
        : k_(attributes.integer("k")), per_class_(attributes.integer("per_class")) {}

    void outputShapes(nvinfer1::DimsExprs const* in, nvinfer1::DimsExprs* out, nvinfer1::IExprBuilder& builder) const;
    void check(nvinfer1::Dims const* in) const;
    size_t workspaceBytes(nvinfer1::Dims const* in, ElementType type) const;
    cudaError_t launch(Launch const& launch) const;

private:
    ProtectSelectSizes sizesOf(nvinfer1::Dims const& scores, nvinfer1::Dims const& x, nvinfer1::Dims const& rows) const;

    int32_t k_;
    int32_t per_class_;
};

// The creator, alive as long as the library.
nvinfer1::IPluginCreatorInterface* tokenProtectSelectCreator();

}  // namespace edgeexport
