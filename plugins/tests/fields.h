// Attributes as TensorRT hands them over: PluginFields that point into memory of this object.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <cstring>
#include <list>
#include <string>
#include <vector>

#include "tests/nodes.h"

namespace driver {

class Fields {
public:
    Fields() = default;
    Fields(Fields const&) = delete;
    Fields& operator=(Fields const&) = delete;

    template <class T>
    void add(
        std::string const& name, std::vector<T> const& values, nvinfer1::PluginFieldType type, int32_t length = -1) {
        names_.push_back(name);
        // Off by one byte: what comes out of an engine need not be aligned, and what lies behind it is not ours.
        bytes_.emplace_back(values.size() * sizeof(T) + 1);
        if (!values.empty()) {
            std::memcpy(bytes_.back().data() + 1, values.data(), values.size() * sizeof(T));
        }
        int32_t const count = length >= 0 ? length : static_cast<int32_t>(values.size());
        fields_.emplace_back(names_.back().c_str(), bytes_.back().data() + 1, type, count);
    }

    void add(Attribute const& attribute, bool wide = false) {
        if (wide) {
            std::vector<int64_t> const values(attribute.values.begin(), attribute.values.end());
            add(attribute.name, values, nvinfer1::PluginFieldType::kINT64);
        } else {
            add(attribute.name, attribute.values, nvinfer1::PluginFieldType::kINT32);
        }
    }

    void add(nvinfer1::PluginField const& field) { fields_.push_back(field); }

    // Valid until the next change.
    nvinfer1::PluginFieldCollection const* collection() {
        collection_.nbFields = static_cast<int32_t>(fields_.size());
        collection_.fields = fields_.data();
        return &collection_;
    }

private:
    std::list<std::string> names_;
    std::list<std::vector<char>> bytes_;
    std::vector<nvinfer1::PluginField> fields_;
    nvinfer1::PluginFieldCollection collection_{};
};

}  // namespace driver
