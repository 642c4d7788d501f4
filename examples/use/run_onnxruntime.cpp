// A bundle's model.onnx in ONNX Runtime: one input from a raw file, the prediction into another.
//   run_onnxruntime BUNDLE/model.onnx input.raw prediction.raw
// Compile: g++ -std=c++17 -I INCLUDE run_onnxruntime.cpp -L LIB -lonnxruntime -o run_onnxruntime
#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

int main(int count, char** words) {
    if (count != 4) {
        std::fprintf(stderr, "usage: %s BUNDLE/model.onnx input.raw prediction.raw\n", words[0]);
        return 2;
    }
    try {
        Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "bundle");
        Ort::Session session(env, words[1], Ort::SessionOptions{});
        Ort::AllocatorWithDefaultOptions allocator;
        // Every shape is fixed, and the first output is the prediction.
        auto input_name = session.GetInputNameAllocated(0, allocator);
        auto output_name = session.GetOutputNameAllocated(0, allocator);
        auto input_type = session.GetInputTypeInfo(0);
        auto input_info = input_type.GetTensorTypeAndShapeInfo();
        std::vector<int64_t> shape = input_info.GetShape();

        std::ifstream stream(words[2], std::ios::binary);
        std::vector<char> bytes{std::istreambuf_iterator<char>(stream), {}};
        auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        // uint8 (N, H, W, 3) with normalisation in the graph, or float32 (N, 3, H, W): manifest.json says which.
        Ort::Value input = Ort::Value::CreateTensor(memory, bytes.data(), bytes.size(), shape.data(), shape.size(),
                                                    input_info.GetElementType());
        const char* inputs[] = {input_name.get()};
        const char* outputs[] = {output_name.get()};
        auto results = session.Run(Ort::RunOptions{nullptr}, inputs, &input, 1, outputs, 1);

        auto told = results[0].GetTensorTypeAndShapeInfo();
        const ONNXTensorElementDataType type = told.GetElementType();
        const bool wide = type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
        const size_t size = told.GetElementCount() * (wide ? 8 : type == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 ? 1 : 4);
        std::ofstream(words[3], std::ios::binary)
            .write(static_cast<const char*>(results[0].GetTensorMutableData<void>()), static_cast<std::streamsize>(size));
        std::printf("%s: %zu values\n", output_name.get(), told.GetElementCount());
    } catch (const Ort::Exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
