// Integer products without vector instructions.
#include "kernels/portable/integer_lanes.h"

// After the lanes that it is written against.
#include "kernels/generic/integer_linear_inl.h"
