// A plug-in that was built from an older interface: it knows no table of today's number.
#include "device/npu/openvino/openvino_runtime_abi.h"

extern "C" const lem::openvino::Runtime* lem_openvino_runtime(uint32_t) { return nullptr; }
