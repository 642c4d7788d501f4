// Marks for code that the kernels share with the CPU references.
#pragma once

#ifdef __CUDACC__
#define EDGEEXPORT_HD __host__ __device__
#else
#define EDGEEXPORT_HD
#endif

// Of the few functions that are seen from outside; everything else is hidden (-fvisibility=hidden).
#define EDGEEXPORT_EXPORT extern "C" __attribute__((visibility("default")))
