/* Data sets: samples as bytes or float32, labels or target values, and batches gathered from them without copying
 * or reordering the data. */
#ifndef LIP_DATA_DATASET_H
#define LIP_DATA_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/rng.h"

/* Samples are kept as stored: pixels as bytes cost a quarter of float32 and become x/255 in the gather. Bytes are
 * pixels in every format and for everybody who takes a file as samples (training, attacks, `lipwb check`); lip.load_npy
 * alone, which reads an array and not samples, gives the numbers as they stand. */
typedef struct lip_dataset {
  char name[64];
  size_t n; /* samples */
  int ndim; /* of one sample: 1..3 */
  size_t shape[3];
  size_t features; /* product of shape */
  uint8_t *bytes;  /* (n, features) or NULL */
  float *values;   /* (n, features) or NULL: exactly one of the two */
  int32_t *labels; /* (n) or NULL */
  size_t classes;  /* 1 + largest label, or 0 */
  float *targets;  /* (n, target_width) or NULL */
  size_t target_width;
  char sha256[65]; /* of the unpacked files, in reading order, concatenated digests hashed; "" unknown */
  char note[256];  /* what its reader decided by itself and the user should hear, or "" */
  bool borrowed;   /* the arrays belong to another data set, which must outlive this one */
} lip_dataset;

/* Labels at or above this are taken for a damaged or wrong file. */
#define LIP_MAX_CLASSES 65536

/* Owned by the caller: lip_dataset_free (accepts NULL; frees the struct too). */
void lip_dataset_free(lip_dataset *d);
/* A fresh data set without arrays; LIP_SHAPE on overflow. */
lip_status lip_dataset_new(const char *name, size_t n, int ndim, const size_t *shape, lip_dataset **out,
                           lip_err *err);
/* ---- which array is which samples: one rule for files and tensors ---- */

typedef enum lip_channels { LIP_CHANNELS_GUESS, LIP_CHANNELS_FIRST, LIP_CHANNELS_LAST } lip_channels;

/* One sample of an array, as the engine keeps it: (F), or (C, H, W). */
typedef struct lip_layout {
  int ndim;
  size_t shape[3];
  bool turn; /* the array has them as (H, W, C) */
} lip_layout;

/* (N) and (N, F) are rows, (N, H, W) images of one channel, (N, C, H, W) images. So are (N, H, W, C) when `as` says
 * LAST, or when it leaves it open, C is 1, 3 or 4 and H and W are larger; *note then says so (note may be NULL). Open,
 * with a second side of 1, 3 or 4 as well, it could be either: LIP_FORMAT names both readings. LIP_FORMAT also for
 * ndim < 1 or > 4, LIP_ARGUMENT for LAST without four sides. `what` names the array. */
lip_status lip_layout_of(const char *what, int ndim, const size_t *dims, lip_channels as, lip_layout *out,
                         char note[256], lip_err *err);
/* Moves samples read as (H, W, C) to d's shape, (C, H, W). LIP_MEMORY. */
lip_status lip_dataset_turn(lip_dataset *d, lip_err *err);

/* A view of samples [first, first + count) of d, which must outlive it; keeps d's number of classes. LIP_ARGUMENT when
 * the range is not inside. */
lip_status lip_dataset_view(const lip_dataset *d, size_t first, size_t count, lip_dataset **out,
                            lip_err *err);
/* Takes memory for the arrays of a fresh data set: samples as bytes or as float32, labels, targets of `target_width`
 * values (0: none). LIP_MEMORY, LIP_SHAPE. */
lip_status lip_dataset_alloc(lip_dataset *d, bool bytes, bool labels, size_t target_width, lip_err *err);
/* Adds a sentence to d->note, as much of it as there is room for. */
void lip_dataset_note(lip_dataset *d, const char *text);
/* Proves that labels are 0..LIP_MAX_CLASSES-1 (those of a set that has -1 and 1 alone become 0 and 1, with a note) and sets `classes` to max(least, 1 + largest). LIP_FORMAT names the
 * sample. */
lip_status lip_dataset_count_classes(lip_dataset *d, size_t least, lip_err *err);
/* Sets sha256 from the digests (32 bytes each) of `files` files. */
void lip_dataset_set_digest(lip_dataset *d, const uint8_t *digests, size_t files);
/* Bytes of memory held (0 for a view). */
size_t lip_dataset_bytes(const lip_dataset *d);

/* Rows index[0..B) of d as float32 into x (B, features); labels and targets likewise when not NULL. Indices proved. */
void lip_dataset_gather(const lip_dataset *d, const uint32_t *index, size_t B, float *x, int32_t *labels,
                        float *targets);

/* Random shifts, the cheapest augmentation: each of the B samples in x (B, C, H, W) moves by up to `most` pixels in both
 * directions, 0 comes in at the edges. Sample b's shift depends on (seed, draw, b) only. */
void lip_augment_shift(float *x, size_t B, size_t C, size_t H, size_t W, size_t most, uint64_t seed,
                       uint64_t draw);

/* A walk over the samples in batches: a permutation per epoch from (seed, epoch), so position (epoch, next) is all
 * that must be stored to continue bit for bit. */
typedef struct lip_loader {
  const lip_dataset *data; /* borrowed */
  size_t batch;
  bool shuffle, drop_last;
  uint64_t seed;
  uint64_t epoch;  /* the one under way, from 0 */
  size_t next;     /* samples of it already handed out */
  uint32_t *index; /* (n) the permutation of this epoch */
} lip_loader;

lip_status lip_loader_new(const lip_dataset *d, size_t batch, bool shuffle, bool drop_last, uint64_t seed,
                          lip_loader **out, lip_err *err);
void lip_loader_free(lip_loader *l);
/* Next batch: indices lent in *index, its size returned; 0 = the epoch has ended (the next call starts a new one). */
size_t lip_loader_next(lip_loader *l, const uint32_t **index);
/* Puts the walk where a stored (epoch, next) says. LIP_ARGUMENT when next > n. */
lip_status lip_loader_seek(lip_loader *l, uint64_t epoch, size_t next, lip_err *err);

#endif
