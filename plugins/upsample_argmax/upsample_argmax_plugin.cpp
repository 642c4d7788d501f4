// UpsampleArgmax as a TensorRT plugin: shapes and the call of the launcher.
#include "upsample_argmax/upsample_argmax_plugin.h"

#include <stdexcept>
#include <string>

#include "upsample_argmax/upsample_argmax.h"

namespace edgeexport {

UpsampleArgmaxOp::UpsampleArgmaxOp(Attributes const& attributes)
    : height_(attributes.integer("height")),
      width_(attributes.integer("width")),
      candidates_(attributes.integer("candidates")) {}

void UpsampleArgmaxOp::check(nvinfer1::Dims const* in) const {
    nvinfer1::Dims const& scores = in[0];
    char const* const refusal = upsampleArgmaxRefusal(shape(scores.d[0], scores.d[1], scores.d[2], scores.d[3]));
    if (refusal != nullptr) {
        std::string sizes;
        for (int32_t axis = 0; axis < scores.nbDims; ++axis) {
            sizes += (axis > 0 ? " x " : "") + std::to_string(scores.d[axis]);
        }
        throw std::invalid_argument("scores of " + sizes + " and an output of " + std::to_string(height_) + " x " +
                                    std::to_string(width_) + " pixels: " + refusal);
    }
}

void UpsampleArgmaxOp::outputShapes(nvinfer1::DimsExprs const* in, nvinfer1::DimsExprs* out,
                                    nvinfer1::IExprBuilder& builder) const {
    out[0].d[0] = in[0].d[0];
    out[0].d[1] = builder.constant(height_);
    out[0].d[2] = builder.constant(width_);
    out[1].d[0] = in[0].d[0];
}

cudaError_t UpsampleArgmaxOp::launch(Launch const& launch) const {
    UpsampleArgmaxShape const sizes =
        shape(launch.inputDim(0, 0), launch.inputDim(0, 1), launch.inputDim(0, 2), launch.inputDim(0, 3));
    return launchUpsampleArgmax(launch.inputs[0], launch.inputType(0), sizes, launch.output<int32_t>(0),
                                launch.output<int32_t>(1), launch.stream);
}

// Dimensions that are checked to fit int32 already.
UpsampleArgmaxShape UpsampleArgmaxOp::shape(int64_t batch, int64_t classes, int64_t h, int64_t w) const {
    return {static_cast<int32_t>(batch), static_cast<int32_t>(classes), static_cast<int32_t>(h),
            static_cast<int32_t>(w),     height_,                       width_,
            candidates_};
}

nvinfer1::IPluginCreatorInterface* upsampleArgmaxCreator() {
    static OpCreator<UpsampleArgmaxOp> creator;
    return &creator;
}

}  // namespace edgeexport
