// A table of integers in device memory, uploaded once and read by every launch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace edgeexport {

// Not copyable; clones of a plugin share one by pointer, since it never changes.
class DeviceTable {
public:
    // Allocates on the current device and copies, waiting for the copy: for set-up, never for enqueue.
    // Returns null and sets `error` where that fails.
    static std::shared_ptr<DeviceTable const> upload(std::vector<int32_t> const& values, cudaError_t& error) {
        auto table = std::shared_ptr<DeviceTable>(new DeviceTable());
        error = cudaGetDevice(&table->device_);
        if (error == cudaSuccess) {
            error = cudaMalloc(&table->data_, values.size() * sizeof(int32_t));
        }
        if (error == cudaSuccess) {
            error = cudaMemcpy(table->data_, values.data(), values.size() * sizeof(int32_t), cudaMemcpyHostToDevice);
        }
        if (error != cudaSuccess) {
            table.reset();
            (void)cudaGetLastError();  // reported through `error`; a later launch must not find it again
        }
        return table;
    }

    DeviceTable(DeviceTable const&) = delete;
    DeviceTable& operator=(DeviceTable const&) = delete;

    // An error here means that the context is gone, and the memory with it.
    ~DeviceTable() { (void)cudaFree(data_); }

    int32_t const* data() const { return static_cast<int32_t const*>(data_); }
    int device() const { return device_; }

private:
    DeviceTable() = default;

    void* data_ = nullptr;
    int device_ = -1;
};

}  // namespace edgeexport
