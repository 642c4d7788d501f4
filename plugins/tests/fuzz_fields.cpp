// What a node or a serialised engine hands to the plugins, out of arbitrary bytes: attributes, dimensions, and the values
// of tensors. Whatever they hold, a plugin is made and works on memory of exactly its tensors' sizes, or refuses.
//
// With clang it is a libFuzzer program (`make fuzz`); with any compiler it runs the files that it is given.
#include <NvInferRuntime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <list>
#include <string>
#include <vector>

#include "common/portable.h"
#include "tests/descriptions.h"
#include "tests/fields.h"
#include "tests/stand_ins.h"

EDGEEXPORT_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count);
EDGEEXPORT_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder);

namespace driver {
namespace {

using nvinfer1::DataType;
using nvinfer1::PluginFieldType;

constexpr int64_t kMostElements = 1 << 12;  // of one tensor that is run

// The bytes of one input, in order; zeros where they end.
class Bytes {
public:
    Bytes(uint8_t const* data, size_t size) : data_(data), size_(size) {}

    bool any() const { return at_ < size_; }

    template <class T>
    T take() {
        T value{};
        size_t const count = std::min(sizeof(T), size_ - at_);
        if (count > 0) {
            std::memcpy(&value, data_ + at_, count);
        }
        at_ += count;
        return value;
    }

    // Mostly small, since large ones are refused early.
    int64_t number() {
        switch (take<uint8_t>() % 8) {
        case 0: return take<int32_t>();
        case 1: return take<int64_t>();
        case 2: return take<int16_t>();
        default: return take<int8_t>();
        }
    }

private:
    uint8_t const* data_;
    size_t size_;
    size_t at_ = 0;
};

void require(bool holds, char const* what) {
    if (!holds) {
        std::fprintf(stderr, "does not hold: %s\n", what);
        std::abort();
    }
}

// A field of any type; its data have the bytes that its length promises, and nothing lies behind them.
void addAny(Fields& fields, Bytes& bytes, std::string const& name) {
    auto const type = static_cast<PluginFieldType>(bytes.take<uint8_t>() % 16);
    auto const length = static_cast<int32_t>(bytes.take<int8_t>());
    if (type == PluginFieldType::kINT32) {
        std::vector<int32_t> values(static_cast<size_t>(std::max(length, 0)));
        std::generate(values.begin(), values.end(), [&] { return static_cast<int32_t>(bytes.number()); });
        fields.add(name, values, type, length);
        return;
    }
    std::vector<int64_t> values(static_cast<size_t>(std::max(length, 0)));
    std::generate(values.begin(), values.end(), [&] { return bytes.number(); });
    fields.add(name, values, type, length);
}

void addFields(Fields& fields, Bytes& bytes, Node const& node) {
    for (Attribute const& attribute : node.attributes) {
        switch (bytes.take<uint8_t>() % 8) {
        case 0: break;
        case 1: fields.add(nvinfer1::PluginField(attribute.name.c_str(), nullptr, PluginFieldType::kINT32, 1)); break;
        case 2: fields.add(attribute, true); break;
        case 3: addAny(fields, bytes, attribute.name); break;
        case 4: {
            Attribute changed = attribute;
            changed.values.resize(1 + bytes.take<uint8_t>() % 16);
            std::generate(changed.values.begin(), changed.values.end(), [&] { return int32_t{bytes.take<int8_t>()}; });
            fields.add(changed);
            break;
        }
        case 5: {
            Attribute changed = attribute;
            changed.values[bytes.take<uint8_t>() % changed.values.size()] = static_cast<int32_t>(bytes.number());
            fields.add(changed);
            break;
        }
        default: fields.add(attribute);
        }
    }
    switch (bytes.take<uint8_t>() % 8) {
    case 0: addAny(fields, bytes, "surprise"); break;
    case 1: fields.add(nvinfer1::PluginField(nullptr, nullptr, PluginFieldType::kINT32, 1)); break;
    case 2: addAny(fields, bytes, "plugin_version"); break;
    default: break;
    }
}

// The node's own dimensions, some of them changed.
void changeDims(Bytes& bytes, std::vector<nvinfer1::PluginTensorDesc>& descriptions) {
    for (nvinfer1::PluginTensorDesc& description : descriptions) {
        uint8_t const change = bytes.take<uint8_t>();
        if (change % 16 == 0) {
            description.dims.nbDims = bytes.take<uint8_t>() % (nvinfer1::Dims::MAX_DIMS + 1);
        }
        if (change % 4 == 1) {
            description.dims.d[bytes.take<uint8_t>() % 4] = bytes.number();
        }
    }
}

int64_t elements(nvinfer1::Dims const& dims) {
    int64_t count = 1;
    for (int32_t axis = 0; axis < dims.nbDims; ++axis) {
        int64_t const size = dims.d[axis];
        count = size < 0 || size > kMostElements ? kMostElements + 1 : count * size;
        count = std::min(count, kMostElements + 1);
    }
    return count;
}

// Memory of a tensor; false where it is too large to run.
bool allocate(nvinfer1::PluginTensorDesc const& description, std::list<std::vector<char>>& memory) {
    int64_t const count = elements(description.dims);
    if (count > kMostElements) {
        return false;
    }
    memory.emplace_back(static_cast<size_t>(count) * (description.type == DataType::kHALF ? 2 : 4));
    return true;
}

void run(Bytes& bytes, Node const& node, nvinfer1::IPluginV3& plugin) {
    using Type = nvinfer1::PluginCapabilityType;
    auto& build = *static_cast<nvinfer1::IPluginV3OneBuild*>(plugin.getCapabilityInterface(Type::kBUILD));
    auto& runtime = *static_cast<nvinfer1::IPluginV3OneRuntime*>(plugin.getCapabilityInterface(Type::kRUNTIME));
    DataType const data = bytes.take<uint8_t>() % 2 == 0 ? DataType::kFLOAT : DataType::kHALF;
    std::vector<nvinfer1::PluginTensorDesc> in = describe(node.inputs, data);
    std::vector<nvinfer1::PluginTensorDesc> out = describe(node.outputs, data);
    changeDims(bytes, in);
    auto const inputs = static_cast<int32_t>(in.size());
    auto const outputs = static_cast<int32_t>(out.size());

    Expressions expressions;
    std::vector<nvinfer1::DimsExprs> dims(in.size());
    std::vector<nvinfer1::DimsExprs> made(out.size());
    std::vector<nvinfer1::DynamicPluginTensorDesc> dynamic;
    for (size_t i = 0; i < in.size(); ++i) {
        dims[i].nbDims = in[i].dims.nbDims;
        for (int32_t axis = 0; axis < nvinfer1::Dims::MAX_DIMS; ++axis) {
            dims[i].d[axis] = expressions.dimension(static_cast<int32_t>(i), axis, in[i].dims.d[axis]);
        }
        dynamic.push_back({in[i], in[i].dims, in[i].dims, in[i].dims});
    }
    if (build.getOutputShapes(dims.data(), inputs, nullptr, 0, made.data(), outputs, expressions) != 0) {
        return;
    }
    for (size_t i = 0; i < out.size(); ++i) {
        out[i].dims.nbDims = made[i].nbDims;
        for (int32_t axis = 0; axis < made[i].nbDims; ++axis) {
            out[i].dims.d[axis] = Expressions::of(*made[i].d[axis]).value();
        }
    }
    // As TensorRT does it: scratch memory is asked for, and a node run, where the shapes were accepted.
    if (build.configurePlugin(dynamic.data(), inputs, nullptr, outputs) != 0 ||
        runtime.onShapeChange(in.data(), inputs, out.data(), outputs) != 0) {
        return;
    }
    size_t const scratch = build.getWorkspaceSize(dynamic.data(), inputs, nullptr, outputs);
    std::list<std::vector<char>> memory;
    std::vector<void const*> from;
    std::vector<void*> to;
    for (nvinfer1::PluginTensorDesc const& description : in) {
        if (!allocate(description, memory)) {
            return;
        }
        std::vector<char>& values = memory.back();
        if (description.type == DataType::kINT32) {
            for (size_t at = 0; at < values.size() && bytes.any(); at += 4) {
                auto const index = static_cast<int32_t>(bytes.number());
                std::memcpy(values.data() + at, &index, 4);
            }
        } else {
            std::generate(values.begin(), values.end(), [&] { return static_cast<char>(bytes.take<uint8_t>()); });
        }
        from.push_back(values.data());
    }
    for (nvinfer1::PluginTensorDesc const& description : out) {
        if (!allocate(description, memory)) {
            return;
        }
        to.push_back(memory.back().data());
    }
    if (scratch > size_t{1} << 20) {
        return;
    }
    std::vector<char> workspace(scratch);
    (void)runtime.enqueue(in.data(), out.data(), from.data(), to.data(), workspace.data(), nullptr);
}

void fuzzOne(Bytes bytes) {
    static std::vector<Node> const all = nodes();
    int32_t count = 0;
    nvinfer1::IPluginCreatorInterface* const* const creators = getCreators(count);
    size_t const place = bytes.take<uint8_t>() % all.size();
    Node const& node = all[place];
    require(static_cast<size_t>(count) == all.size(), "a node of every creator");
    auto& creator = *static_cast<nvinfer1::IPluginCreatorV3One*>(creators[place]);
    auto const make = [&](nvinfer1::PluginFieldCollection const* fields, nvinfer1::TensorRTPhase phase) {
        return std::unique_ptr<nvinfer1::IPluginV3>(creator.createPlugin("node", fields, phase));
    };
    Fields fields;
    addFields(fields, bytes, node);
    auto const plugin = make(fields.collection(), nvinfer1::TensorRTPhase::kBUILD);
    if (plugin == nullptr) {
        return;
    }
    // What an engine would hold makes the same plugin.
    using Type = nvinfer1::PluginCapabilityType;
    auto& runtime = *static_cast<nvinfer1::IPluginV3OneRuntime*>(plugin->getCapabilityInterface(Type::kRUNTIME));
    auto const again = make(runtime.getFieldsToSerialize(), nvinfer1::TensorRTPhase::kRUNTIME);
    require(again != nullptr, "a plugin is made of what one serialises");
    std::unique_ptr<nvinfer1::IPluginV3> const copy(again->clone());
    run(bytes, node, *copy);
}

}  // namespace
}  // namespace driver

extern "C" int LLVMFuzzerTestOneInput(uint8_t const* data, size_t size) {
    static driver::Log log;
    setLoggerFinder(&log);
    driver::fuzzOne(driver::Bytes(data, size));
    log.take();
    return 0;
}

#ifndef EDGEEXPORT_LIBFUZZER
int main(int count, char** files) {
    for (int i = 1; i < count; ++i) {
        std::ifstream stream(files[i], std::ios::binary);
        if (!stream) {
            std::fprintf(stderr, "%s cannot be read\n", files[i]);
            return 2;
        }
        std::vector<char> const content{std::istreambuf_iterator<char>(stream), {}};
        LLVMFuzzerTestOneInput(reinterpret_cast<uint8_t const*>(content.data()), content.size());
    }
    std::printf("%d inputs\n", count - 1);
    return 0;
}
#endif
