// A bundle's engine.plan in TensorRT 10.3 or newer, on the device that built it.
//   run_tensorrt BUNDLE/engine.plan input.raw prediction.raw [BUNDLE/plugins/libedgeexport_plugins.so]
// Compile: g++ -std=c++17 run_tensorrt.cpp -I /usr/local/cuda/include -L /usr/local/cuda/lib64 -lnvinfer -lcudart -o run_tensorrt
#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <vector>

class Logger : public nvinfer1::ILogger {
    void log(Severity severity, const char* text) noexcept override {
        if (severity <= Severity::kWARNING) std::fprintf(stderr, "%s\n", text);
    }
};

static std::vector<char> bytes_of(const char* path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

static size_t bytes_in(const nvinfer1::ICudaEngine& engine, const char* name) {
    const nvinfer1::Dims shape = engine.getTensorShape(name);
    size_t count = 1;
    for (int32_t axis = 0; axis < shape.nbDims; ++axis) count *= static_cast<size_t>(shape.d[axis]);
    switch (engine.getTensorDataType(name)) {
        case nvinfer1::DataType::kINT64: return count * 8;
        case nvinfer1::DataType::kHALF: return count * 2;
        case nvinfer1::DataType::kUINT8:
        case nvinfer1::DataType::kBOOL: return count;
        default: return count * 4;
    }
}

int main(int count, char** words) {
    if (count < 4) {
        std::fprintf(stderr, "usage: %s engine.plan input.raw prediction.raw [plugin library]\n", words[0]);
        return 2;
    }
    Logger logger;
    std::unique_ptr<nvinfer1::IRuntime> runtime(nvinfer1::createInferRuntime(logger));
    if (!runtime) return 1;
    // Plugins before the engine that asks for them. A library is code: load the one that you compiled.
    if (count > 4 && runtime->getPluginRegistry().loadLibrary(words[4]) == nullptr) return 1;
    const std::vector<char> plan = bytes_of(words[1]);
    std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime->deserializeCudaEngine(plan.data(), plan.size()));
    if (!engine) return 1;
    std::unique_ptr<nvinfer1::IExecutionContext> context(engine->createExecutionContext());
    if (!context) return 1;

    cudaStream_t stream;
    if (cudaStreamCreate(&stream) != cudaSuccess) return 1;
    std::vector<void*> buffers;
    const char *input = nullptr, *prediction = nullptr;
    for (int32_t index = 0; index < engine->getNbIOTensors(); ++index) {
        const char* name = engine->getIOTensorName(index);
        void* buffer = nullptr;
        if (cudaMalloc(&buffer, bytes_in(*engine, name)) != cudaSuccess) return 1;
        buffers.push_back(buffer);
        context->setTensorAddress(name, buffer);
        const bool in = engine->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
        if (in && input == nullptr) input = name;
        if (!in && prediction == nullptr) prediction = name;  // the first output is the prediction
    }
    if (input == nullptr || prediction == nullptr) return 1;
    const std::vector<char> pixels = bytes_of(words[2]);
    if (pixels.size() != bytes_in(*engine, input)) {
        std::fprintf(stderr, "%s has %zu bytes, %s takes %zu\n", words[2], pixels.size(), input, bytes_in(*engine, input));
        return 1;
    }
    std::vector<char> result(bytes_in(*engine, prediction));
    void* from = const_cast<void*>(context->getTensorAddress(prediction));
    cudaMemcpyAsync(const_cast<void*>(context->getTensorAddress(input)), pixels.data(), pixels.size(), cudaMemcpyHostToDevice,
                    stream);
    const bool ran = context->enqueueV3(stream);
    cudaMemcpyAsync(result.data(), from, result.size(), cudaMemcpyDeviceToHost, stream);
    if (cudaStreamSynchronize(stream) != cudaSuccess || !ran) return 1;
    std::ofstream(words[3], std::ios::binary).write(result.data(), static_cast<std::streamsize>(result.size()));
    for (void* buffer : buffers) cudaFree(buffer);
    cudaStreamDestroy(stream);
    return 0;
}
