/* lipwb: Lipschitz-bounded neural networks. The whole public engine. */
#ifndef LIP_H
#define LIP_H

#define LIP_VERSION "0.1.0"

#include "core/attack/attack.h"
#include "core/base/cancel.h"
#include "core/base/error.h"
#include "core/base/mem.h"
#include "core/base/opt.h"
#include "core/base/rng.h"
#include "core/base/str.h"
#include "core/base/thread.h"
#include "core/cert/affine.h"
#include "core/cert/bound.h"
#include "core/cert/certify.h"
#include "core/cert/lmi.h"
#include "core/cert/local.h"
#include "core/cert/method.h"
#include "core/cert/relax.h"
#include "core/data/dataset.h"
#include "core/io/checkpoint.h"
#include "core/layer/layer.h"
#include "core/net/loss.h"
#include "core/net/net.h"
#include "core/net/optim.h"
#include "core/net/pairs.h"
#include "core/net/schedule.h"
#include "core/net/wide.h"
#include "core/norm/opnorm.h"
#include "core/norm/pnorm.h"
#include "core/norm/project.h"
#include "core/tensor/gemm.h"
#include "core/tensor/linalg.h"
#include "core/tensor/tensor.h"
#include "core/tensor/vec.h"

#endif
