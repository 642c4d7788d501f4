// Element types of tensors, for launchers and CPU references, which know nothing of TensorRT.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgeexport {

// The numbers are nvinfer1::DataType's (held by plugin_base.h), and what the CPU references take as `type`.
enum class ElementType : int32_t { kFloat32 = 0, kFloat16 = 1, kInt32 = 3 };

// Bytes of one element; 0 for a number that is no ElementType.
constexpr size_t elementBytes(ElementType type) {
    switch (type) {
    case ElementType::kFloat32:
    case ElementType::kInt32: return 4;
    case ElementType::kFloat16: return 2;
    }
    return 0;
}

}  // namespace edgeexport
