// The kernels behind tinymtl's fused operations; their NumPy twins stand where they are used (see kernels.py).
// `real` is float or double. Every kernel runs one thread per element of its first argument.

#define THREAD (blockIdx.x * (long long)blockDim.x + threadIdx.x)

// z ← z + b, and its ReLU if asked; z (N, out), b (out,)
extern "C" __global__ void add_bias(real* z, long long z_size, const real* b, long long b_size, long long relu) {
  long long i = THREAD;
  if (i >= z_size) return;
  real value = z[i] + b[i % b_size];
  z[i] = relu && !(value > 0) ? (value != value ? value : (real)0) : value;  // a NaN stays one
}

// out ← g where z > 0, else 0; g (…, N, out) may have leading axes that z (N, out) has not
extern "C" __global__ void relu_gradient(real* out, long long out_size, const real* g, long long g_size,
                                         const real* z, long long z_size) {
  long long i = THREAD;
  if (i < out_size) out[i] = z[i % z_size] > 0 ? g[i] : (real)0;
}

// One softmax cross-entropy per row of logits (cells, C): its loss times `scale`, and the gradient of that.
// `scales` has one number for all cells, or one for each.
extern "C" __global__ void softmax_cross_entropy(real* losses, long long cells, real* gradient, long long g_size,
                                                 const real* logits, long long l_size, const long long* labels,
                                                 long long y_size, const real* scales, long long s_size) {
  long long i = THREAD;
  if (i >= cells) return;
  real scale = scales[i % s_size];
  long long classes = l_size / cells;
  const real* x = logits + i * classes;
  real* d = gradient + i * classes;
  real largest = x[0], others = 0;  // others: the sum of exp(x - largest) without the label's
  for (long long c = 1; c < classes; ++c)
    if (x[c] > largest || x[c] != x[c]) largest = x[c];
  for (long long c = 0; c < classes; ++c) {
    d[c] = exp(x[c] - largest);
    if (c != labels[i]) others += d[c];
  }
  real own = d[labels[i]], share = scale / (others + own);
  losses[i] = scale * (log1p(others + (own - 1)) - (x[labels[i]] - largest));
  for (long long c = 0; c < classes; ++c) d[c] *= share;
  d[labels[i]] = -share * others;
}

// Binary cross-entropy of each logit times `scale`, and the gradient of that; `scales` as above
extern "C" __global__ void binary_cross_entropy(real* losses, long long size, real* gradient, long long g_size,
                                                const real* logits, long long l_size, const real* targets,
                                                long long t_size, const real* scales, long long s_size) {
  long long i = THREAD;
  if (i >= size) return;
  real scale = scales[i % s_size];
  real x = logits[i], e = exp(x > 0 ? -x : x);
  real factor = (x > 0 ? 1 : 0) - targets[i];
  losses[i] = scale * ((factor != 0 ? factor * x : 0) + log1p(e));  // not 0 * infinity
  gradient[i] = scale * (factor + (x > 0 ? -e : e) / (1 + e));
}

extern "C" __global__ void sgd(real* p, long long p_size, const real* g, long long g_size, real* v, long long v_size,
                               real lr, real momentum, real weight_decay) {
  long long i = THREAD;
  if (i >= p_size) return;
  real d = weight_decay != 0 ? g[i] + weight_decay * p[i] : g[i];
  v[i] = momentum * v[i] + d;
  p[i] -= lr * v[i];
}

extern "C" __global__ void adam(real* p, long long p_size, const real* g, long long g_size, real* m, long long m_size,
                                real* v, long long v_size, real beta1, real beta2, real one_minus_beta1,
                                real one_minus_beta2, real step_size, real correction, real eps, real weight_decay,
                                real kept) {
  long long i = THREAD;
  if (i >= p_size) return;
  real d = weight_decay != 0 ? g[i] + weight_decay * p[i] : g[i];
  m[i] = beta1 * m[i] + one_minus_beta1 * d;
  v[i] = beta2 * v[i] + one_minus_beta2 * (d * d);
  p[i] = kept * p[i] - step_size * m[i] / (sqrt(v[i]) * correction + eps);
}
