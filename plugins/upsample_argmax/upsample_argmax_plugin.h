// TensorRT's view of UpsampleArgmax. Host code only: the kernel is behind upsample_argmax.h.
#pragma once

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>

#include "common/fields.h"
#include "common/plugin_base.h"
#include "upsample_argmax/shape.h"

namespace edgeexport {

class UpsampleArgmaxOp : public OpDefaults {
public:
    static constexpr char const* kName = "UpsampleArgmax";
    static constexpr std::array<AttributeSpec, 3> kAttributes{{
        {"height", AttributeSpec::Kind::kInteger, 1},
        {"width", AttributeSpec::Kind::kInteger, 1},
        {"candidates", AttributeSpec::Kind::kInteger, 1},
    }};
    static constexpr std::array<TensorSpec, 1> kInputs{{{"scores", Element::kData, 4}}};  // (B, K, h, w)
    // class_map (B, height, width) and uncertified (B,). The plugin always has both; a node may name the first alone.
    static constexpr std::array<TensorSpec, 2> kOutputs{{
        {"class_map", Element::kInt32, 3},
        {"uncertified", Element::kInt32, 1},
    }};
    static constexpr std::array<char const*, 1> kLaunches{"upsampleArgmaxKernel"};

    explicit UpsampleArgmaxOp(Attributes const& attributes);

    // Throws std::invalid_argument where upsampleArgmaxRefusal() refuses the shape.
    void check(nvinfer1::Dims const* in) const;

    void outputShapes(nvinfer1::DimsExprs const* in, nvinfer1::DimsExprs* out, nvinfer1::IExprBuilder& builder) const;

    cudaError_t launch(Launch const& launch) const;

private:
    UpsampleArgmaxShape shape(int64_t batch, int64_t classes, int64_t h, int64_t w) const;

    int32_t height_;
    int32_t width_;
    int32_t candidates_;
};

// The creator, alive as long as the library.
nvinfer1::IPluginCreatorInterface* upsampleArgmaxCreator();

}  // namespace edgeexport
