/* A libcudart without a GPU, for tests: "device" memory is the host's, every call is logged, any can be told to fail.

   Events tick once per record, a millisecond each. Launching a graph calls what stub_on_launch was given. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define CALL(...)                                                                    \
    do {                                                                             \
        int code_ = called(__func__, __VA_ARGS__);                                   \
        if (code_) return code_;                                                     \
    } while (0)

static char log_[1 << 16];
static char failing_[64];
static int failing_code_, skip_, live_, devices_ = 1, ticks_, capturing_;
static void (*launched_)(void);

static int called(char const* function, char const* what) {
    size_t used = strlen(log_);
    snprintf(log_ + used, sizeof log_ - used, "%s%s%s\n", function, *what ? " " : "", what);
    if (strcmp(function, failing_) == 0 && skip_-- <= 0) return failing_code_;
    return 0;
}
static int make(void** out, size_t bytes) {
    *out = calloc(1, bytes);
    ++live_;
    return 0;
}
static int drop(void* handle) {
    free(handle);
    --live_;
    return 0;
}
static char const* sized(size_t bytes) {
    static char text[32];
    snprintf(text, sizeof text, "%zu", bytes);
    return text;
}

EXPORT char const* stub_log(void) { return log_; }
EXPORT int stub_live(void) { return live_; }
EXPORT int stub_capturing(void) { return capturing_; }
EXPORT void stub_devices(int count) { devices_ = count; }
EXPORT void stub_on_launch(void (*function)(void)) { launched_ = function; }
EXPORT void stub_reset(void) { log_[0] = failing_[0] = 0; skip_ = 0; ticks_ = 0; capturing_ = 0; devices_ = 1; launched_ = 0; }
EXPORT void stub_fail(char const* function, int code, int after) {
    snprintf(failing_, sizeof failing_, "%s", function);
    failing_code_ = code;
    skip_ = after;
}

EXPORT char const* cudaGetErrorString(int code) { return code == 2 ? "out of memory" : code == 999 ? "unknown error" : "an error"; }
EXPORT int cudaGetDeviceCount(int* count) { CALL(""); *count = devices_; return 0; }
EXPORT int cudaMalloc(void** out, size_t bytes) { CALL(sized(bytes)); return make(out, bytes); }
EXPORT int cudaFree(void* pointer) { CALL(""); return drop(pointer); }
EXPORT int cudaMallocHost(void** out, size_t bytes) { CALL(sized(bytes)); return make(out, bytes); }
EXPORT int cudaFreeHost(void* pointer) { CALL(""); return drop(pointer); }
EXPORT int cudaMemcpyAsync(void* to, void const* from, size_t bytes, int kind, void* stream) {
    char text[64];
    snprintf(text, sizeof text, "%s %zu%s", kind == 1 ? "to-device" : kind == 2 ? "to-host" : "?", bytes, stream ? "" : " no-stream");
    CALL(text);
    memcpy(to, from, bytes);
    return 0;
}
EXPORT int cudaStreamCreateWithFlags(void** out, unsigned flags) { CALL(flags == 1 ? "non-blocking" : "?"); return make(out, 1); }
EXPORT int cudaStreamSynchronize(void* stream) { CALL(stream ? "" : "no-stream"); return 0; }
EXPORT int cudaStreamDestroy(void* stream) { CALL(""); return drop(stream); }
EXPORT int cudaStreamBeginCapture(void* stream, int mode) { (void)stream; CALL(mode == 2 ? "relaxed" : "?"); capturing_ = 1; return 0; }
EXPORT int cudaStreamEndCapture(void* stream, void** out) { (void)stream; capturing_ = 0; CALL(""); return make(out, 1); }
EXPORT int cudaEventCreate(void** out) { CALL(""); return make(out, sizeof(int)); }
EXPORT int cudaEventRecord(void* event, void* stream) { CALL(stream ? "" : "no-stream"); *(int*)event = ++ticks_; return 0; }
EXPORT int cudaEventElapsedTime(float* ms, void* begin, void* end) { CALL(""); *ms = (float)(*(int*)end - *(int*)begin); return 0; }
EXPORT int cudaEventDestroy(void* event) { CALL(""); return drop(event); }
EXPORT int cudaGraphInstantiateWithFlags(void** out, void* graph, unsigned long long flags) {
    CALL(graph && flags == 0 ? "" : "?");
    return make(out, 1);
}
EXPORT int cudaGraphLaunch(void* executable, void* stream) {
    CALL(executable && stream ? "" : "?");
    if (launched_) launched_();
    return 0;
}
EXPORT int cudaGraphExecDestroy(void* executable) { CALL(""); return drop(executable); }
EXPORT int cudaGraphDestroy(void* graph) { CALL(""); return drop(graph); }
