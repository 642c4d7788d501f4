// Tensors of a node as TensorRT describes them to a plugin.
#pragma once

#include <NvInferRuntime.h>

#include <algorithm>
#include <vector>

#include "tests/nodes.h"

namespace driver {

inline nvinfer1::DataType typeOf(Element element, nvinfer1::DataType data) {
    switch (element) {
    case Element::kFloat32: return nvinfer1::DataType::kFLOAT;
    case Element::kInt32: return nvinfer1::DataType::kINT32;
    case Element::kData: break;
    }
    return data;
}

inline nvinfer1::PluginTensorDesc describe(Tensor const& tensor, nvinfer1::DataType data) {
    nvinfer1::PluginTensorDesc description{};
    description.dims.nbDims = static_cast<int32_t>(tensor.dims.size());
    std::copy(tensor.dims.begin(), tensor.dims.end(), description.dims.d);
    description.type = typeOf(tensor.element, data);
    description.format = nvinfer1::TensorFormat::kLINEAR;
    description.scale = 1.0f;
    return description;
}

inline std::vector<nvinfer1::PluginTensorDesc> describe(std::vector<Tensor> const& tensors, nvinfer1::DataType data) {
    std::vector<nvinfer1::PluginTensorDesc> result;
    for (Tensor const& tensor : tensors) {
        result.push_back(describe(tensor, data));
    }
    return result;
}

// With the same least, most and usual dimensions.
inline std::vector<nvinfer1::DynamicPluginTensorDesc> dynamic(
    std::vector<Tensor> const& tensors, nvinfer1::DataType data) {
    std::vector<nvinfer1::DynamicPluginTensorDesc> result;
    for (nvinfer1::PluginTensorDesc const& description : describe(tensors, data)) {
        result.push_back({description, description.dims, description.dims, description.dims});
    }
    return result;
}

}  // namespace driver
