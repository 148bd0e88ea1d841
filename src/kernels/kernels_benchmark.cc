// Speeds of the kernels: GB/s of weights and GFLOP/s, for each instruction set.
