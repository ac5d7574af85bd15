/* A net as an ONNX file: opset 17, the operators that its layers execute, one after the other, in float32. Other programs
 * sum in other orders; what is certified of the net holds for all of them, as long as their functions (tanh and the like)
 * are as exact as stated in core/tensor/smooth.h.
 *
 * Value "input" (N, shape of a sample) becomes "output"; the batch N is symbolic. Arrays are called as in our own files
 * ("3.dense.weight"); of computed weights only the effective ones are written. Metadata: lipwb.budget, lipwb.norm,
 * lipwb.bound (upper, rounded up), lipwb.bound_method, lipwb.kinds and, where it was given, lipwb.certificate_sha256. */
#ifndef LIP_EXCHANGE_ONNX_WRITE_H
#define LIP_EXCHANGE_ONNX_WRITE_H

#include "core/base/error.h"
#include "core/net/net.h"

typedef struct lip_onnx_write_conf {
  const char *certificate; /* a file whose SHA-256 goes into the metadata, or NULL */
  const char *version;     /* of the program that writes */
} lip_onnx_write_conf;

/* There in full or not at all; only a regular file is replaced. LIP_UNSUPPORTED names the kind that ONNX cannot hold
 * (emit.h; l2_pool2d too, whose squares ONNX would sum in float32), or says that the file would have over 2 GB; LIP_IO,
 * LIP_NOT_FOUND, LIP_MEMORY. */
lip_status lip_onnx_write(const lip_net *net, const char *path, const lip_onnx_write_conf *conf,
                          lip_err *err);

#endif
