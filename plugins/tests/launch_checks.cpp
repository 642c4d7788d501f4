// Running plugins: what they say where there is no GPU, and, with a stand-in for CUDA, whether each wrapper gives its
// launcher the right tensors, sizes and tables.
#include <cstring>

#include "common/half.h"
#include "tests/check.h"
#include "tests/descriptions.h"
#include "tests/library.h"

namespace driver {
namespace {

using nvinfer1::DataType;

// The tensor's values in memory of exactly its size, so that a sanitizer sees every access beyond.
std::vector<char> memory(Tensor const& tensor, DataType data) {
    DataType const type = typeOf(tensor.element, data);
    size_t const bytes = type == DataType::kHALF ? 2 : 4;
    std::vector<char> result(tensor.values.size() * bytes);
    for (size_t i = 0; i < tensor.values.size(); ++i) {
        float const value = tensor.values[i];
        auto const integer = static_cast<int32_t>(value);
        uint16_t const half = edgeexport::halfFromFloat(value);
        void const* const from = type == DataType::kFLOAT  ? static_cast<void const*>(&value)
                                 : type == DataType::kHALF ? static_cast<void const*>(&half)
                                                           : static_cast<void const*>(&integer);
        std::memcpy(result.data() + i * bytes, from, bytes);
    }
    return result;
}

std::vector<float> values(std::vector<char> const& bytes, DataType type) {
    size_t const size = type == DataType::kHALF ? 2 : 4;
    std::vector<float> result;
    for (size_t at = 0; at < bytes.size(); at += size) {
        float value = 0.0f;
        int32_t integer = 0;
        uint16_t half = 0;
        if (type == DataType::kFLOAT) {
            std::memcpy(&value, bytes.data() + at, size);
        } else if (type == DataType::kHALF) {
            std::memcpy(&half, bytes.data() + at, size);
            value = edgeexport::floatFromHalf(half);
        } else {
            std::memcpy(&integer, bytes.data() + at, size);
            value = static_cast<float>(integer);
        }
        result.push_back(value);
    }
    return result;
}

int32_t changeShape(Plugin const& plugin, Node const& node, DataType data) {
    std::vector<nvinfer1::PluginTensorDesc> const in = describe(node.inputs, data);
    std::vector<nvinfer1::PluginTensorDesc> const out = describe(node.outputs, data);
    return plugin.runtime().onShapeChange(
        in.data(), static_cast<int32_t>(in.size()), out.data(), static_cast<int32_t>(out.size()));
}

// Runs a node and compares its outputs; returns what enqueue returned.
int32_t enqueue(Plugin const& plugin, Node const& node, DataType data) {
    std::vector<nvinfer1::PluginTensorDesc> const in = describe(node.inputs, data);
    std::vector<nvinfer1::PluginTensorDesc> const out = describe(node.outputs, data);
    std::vector<std::vector<char>> input_memory;
    std::vector<std::vector<char>> output_memory;
    std::vector<void const*> inputs;
    std::vector<void*> outputs;
    for (Tensor const& tensor : node.inputs) {
        input_memory.push_back(memory(tensor, data));
        inputs.push_back(input_memory.back().data());
    }
    for (Tensor const& tensor : node.outputs) {
        output_memory.push_back(memory(tensor, data));
        std::fill(output_memory.back().begin(), output_memory.back().end(), '\x55');
        outputs.push_back(output_memory.back().data());
    }
    std::vector<char> workspace(node.workspace_bytes);
    int32_t const status =
        plugin.runtime().enqueue(in.data(), out.data(), inputs.data(), outputs.data(), workspace.data(), nullptr);
    for (size_t i = 0; status == 0 && i < outputs.size(); ++i) {
        DataType const type = typeOf(node.outputs[i].element, data);
        CHECK_EQUAL(node.op + ", type " + text(static_cast<int32_t>(data)) + ", output " + text(i),
            text(values(output_memory[i], type)), text(values(memory(node.outputs[i], data), type)));
    }
    return status;
}

void checkMessage(Log& log, std::string const& what, std::string const& part) {
    std::vector<std::string> const messages = log.take();
    if (messages.size() != 1 || messages[0].find(part) == std::string::npos) {
        report(__FILE__, __LINE__, what + ": found " + text(messages) + ", expected one message with " + part);
    }
}

std::vector<DataType> dataTypes(Node const& node) {
    std::vector<DataType> types{DataType::kFLOAT, DataType::kHALF};
    if (node.integer_data) {
        types.push_back(DataType::kINT32);
    }
    return types;
}

}  // namespace

void checkWithoutGpu(Library const& library, Log& log) {
    for (Node const& node : nodes()) {
        Plugin const plugin = create(library, node);
        Plugin const attached(plugin.runtime().attachToContext(nullptr));
        CHECK(node.op, attached);
        for (Plugin const* one : {&plugin, &attached}) {
            CHECK_EQUAL(node.op, changeShape(*one, node, DataType::kFLOAT), node.has_table ? -1 : 0);
            if (node.has_table) {
                checkMessage(
                    log, node.op, node.op + ", onShapeChange: the index tables could not be copied to the GPU: ");
            }
            CHECK(node.op, enqueue(*one, node, DataType::kFLOAT) != 0);
            checkMessage(log, node.op, node.has_table ? "called before onShapeChange" : "the launch failed: ");
        }
    }
}

void checkEnqueue(Library const& library, Log& log) {
    auto const set_cuda = reinterpret_cast<void (*)(int, int)>(library.symbol("standInCuda"));
    auto const allocations = reinterpret_cast<int (*)()>(library.symbol("standInAllocations"));
    CHECK("the library with a stand-in for CUDA", set_cuda != nullptr && allocations != nullptr);
    if (set_cuda == nullptr || allocations == nullptr) {
        return;
    }
    for (Node const& node : nodes()) {
        for (DataType const data : dataTypes(node)) {
            Plugin const plugin = create(library, node);
            CHECK_EQUAL(node.op + ", memory before any shape", allocations(), 0);
            CHECK_EQUAL(node.op, changeShape(plugin, node, data), 0);
            int const tables = node.has_table ? 1 : 0;
            CHECK_EQUAL(node.op + ", tables", allocations(), tables);
            CHECK_EQUAL(node.op, enqueue(plugin, node, data), 0);
            CHECK_EQUAL(node.op, enqueue(plugin, node, data), 0);
            CHECK_EQUAL(node.op + ", enqueue allocates nothing", allocations(), tables);

            // A context's plugin shares the table, has it before any shape is set, and outlives the one it comes from.
            Plugin const attached(plugin.runtime().attachToContext(nullptr));
            CHECK_EQUAL(node.op + ", shared table", allocations(), tables);
            CHECK_EQUAL(node.op, enqueue(attached, node, data), 0);

            set_cuda(1, 0);  // another GPU needs a table of its own
            CHECK_EQUAL(node.op, changeShape(attached, node, data), 0);
            CHECK_EQUAL(node.op + ", table per GPU", allocations(), 2 * tables);
            CHECK_EQUAL(node.op, enqueue(attached, node, data), 0);
            set_cuda(0, 0);
        }
        CHECK_EQUAL(node.op + ", memory after the plugins", allocations(), 0);

        Plugin const refused = create(library, node);
        set_cuda(0, 1);
        CHECK_EQUAL(node.op + ", broken", changeShape(refused, node, DataType::kFLOAT), node.has_table ? -1 : 0);
        if (node.has_table) {
            checkMessage(log, node.op, "could not be copied to the GPU: the stand-in is told to fail");
            CHECK(node.op, enqueue(refused, node, DataType::kFLOAT) != 0);
            checkMessage(log, node.op, "called before onShapeChange");
        }
        set_cuda(0, 0);
        CHECK_EQUAL(node.op + ", memory after a failure", allocations(), 0);
    }
    // What the launcher refuses comes back as a failure with its reason.
    Node const partition = nodes()[3];
    Plugin const plugin = create(library, partition);
    CHECK(partition.op, enqueue(plugin, partition, DataType::kINT32) != 0);
    checkMessage(log, partition.op, "the launch failed: invalid argument; is the library built for this GPU");
}

}  // namespace driver
