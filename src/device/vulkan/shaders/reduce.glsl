// Sums over a workgroup in a tree of fixed shape. WORKGROUP is a power of two.
shared float partial_sums[WORKGROUP];

float workgroup_sum(float value) {
  partial_sums[thread_idx()] = value;
  for (uint half_size = WORKGROUP / 2; half_size > 0; half_size /= 2) {
    barrier();
    if (thread_idx() < half_size) partial_sums[thread_idx()] += partial_sums[thread_idx() + half_size];
  }
  barrier();
  return partial_sums[0];
}
