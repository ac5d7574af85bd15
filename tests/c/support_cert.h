/* Small nets for the tests of bounds and certificates. */
#ifndef LIP_TEST_SUPPORT_CERT_H
#define LIP_TEST_SUPPORT_CERT_H

#include "core/cert/certify.h"
#include "core/net/net.h"

/* One layer: dense when `out` is positive, else the kind of that name without options. */
typedef struct piece {
  const char *kind;
  size_t out;
} piece;

/* Unconstrained net with weights of standard deviation `spread` / sqrt(fan-in) (0: all zero). Fails the test when
 * it cannot be made. */
lip_net *cert_net(const char *path, size_t n_in, const piece *p, size_t n, double spread, uint64_t seed,
                  const lip_engine *engine);
/* A net from text: layers separated by ';', each a kind and its options, and those inside of it in braces: "dense
 * out=6;groupsort size=3;residual alpha=0.3 {dense out=6;relu};dense out=2".
 * Unconstrained; weights and biases of standard deviation `spread` / sqrt(fan-in). */
lip_net *cert_build(const char *path, lip_shape in, const char *layers, double spread, uint64_t seed);
/* Copies numbers over the weights (bias) of the i-th weighted layer. */
void cert_set_weights(lip_net *net, size_t i, const float *w);
void cert_set_bias(lip_net *net, size_t i, const float *b);

/* Certifies one input with a fresh certifier. */
lip_radius cert_one(lip_net *net, const float *x);
/* The same as conf says. */
lip_radius cert_with(lip_net *net, const float *x, const lip_certify_conf *conf);
/* Executed label of one input. */
int32_t cert_label(lip_net *net, const float *x);

/* Tries to flip the label inside the radius (random directions, gradients of margins, single coordinates), with
 * distances computed outwards. Returns the number of flips: 0 or the certificate is wrong. */
size_t cert_attack(lip_net *net, const float *x, const lip_radius *r, lip_p p, size_t tries, uint64_t seed);

#endif
