/* data: hash, gzip, data sets, gathering, the loader, IDX. Other formats: test_data_formats.c, test_data_npy.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/data/dataset.h"
#include "core/data/gz.h"
#include "core/data/idx.h"
#include "core/data/sha256.h"
#include "support_files.h"

static const char *dir;   /* the scratch folder of this program */
static char path[2][300]; /* and two names in it */

static int open_dir(void **state) {
  if (make_dir(state)) return 1;
  dir = *state;
  for (int i = 0; i < 2; i++) in_dir(path[i], sizeof path[i], *state, i ? "1" : "0");
  return 0;
}

/* ---- SHA-256 ---- */

static void hash_in_pieces(const char *text, size_t n, size_t piece, char hex[65]) {
  uint8_t digest[32];
  lip_sha256 h;
  lip_sha256_init(&h);
  for (size_t at = 0; at < n; at += piece) lip_sha256_add(&h, text + at, n - at < piece ? n - at : piece);
  lip_sha256_end(&h, digest);
  lip_sha256_hex(digest, hex);
}

/* Examples published with FIPS 180-4; the lengths around a block by sha256sum. */
static void sha256_known_answers(void **state) {
  (void)state;
  static char million[1000000];
  memset(million, 'a', sizeof million);
  static const char two[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  const struct {
    const char *text;
    size_t n;
    const char *hex;
  } cases[] = {
      {"", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {two, 56, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {million, sizeof million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
      {million, 55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
      {million, 64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
  };
  for (int fast = 0; fast < 2; fast++) {
    lip_sha256_allow_fast(fast);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
      static const size_t pieces[] = {1, 7, 63, 64, 65, 4096, 1000000};
      for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
        char hex[65];
        hash_in_pieces(cases[i].text, cases[i].n, pieces[k], hex);
        assert_string_equal(hex, cases[i].hex);
      }
    }
  }
}

/* ---- gzip ---- */

/* "hello, hello, hello" packed with gzip -n. */
static const uint8_t hello_gz[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03,
                                   0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0xd7, 0x51, 0xc8, 0x40, 0xa2,
                                   0x00, 0x9f, 0xa1, 0xca, 0x09, 0x13, 0x00, 0x00, 0x00};

static lip_status read_all(const char *name, size_t cap, char **text, size_t *n) {
  lip_err err = {LIP_OK, ""};
  lip_status s = lip_read_file(name, cap, text, n, NULL, &err);
  assert_int_equal(s, err.code);
  if (s) assert_non_null(strstr(err.msg, name)); /* says which file */
  return s;
}

static void gzip_and_plain_read_alike(void **state) {
  (void)state;
  char *text;
  size_t n;
  uint8_t twice[2 * sizeof hello_gz];
  write_file(path[0], "hello, hello, hello", 19);
  assert_int_equal(read_all(path[0], 100, &text, &n), LIP_OK);
  assert_int_equal(n, 19);
  assert_string_equal(text, "hello, hello, hello");
  lip_free(text);
  write_file(path[0], hello_gz, sizeof hello_gz);
  assert_int_equal(read_all(path[0], 19, &text, &n), LIP_OK);
  assert_string_equal(text, "hello, hello, hello");
  lip_free(text);
  assert_int_equal(read_all(path[0], 18, &text, &n), LIP_FORMAT); /* over the cap */
  assert_null(text);
  /* two members are one file */
  memcpy(twice, hello_gz, sizeof hello_gz);
  memcpy(twice + sizeof hello_gz, hello_gz, sizeof hello_gz);
  write_file(path[0], twice, sizeof twice);
  assert_int_equal(read_all(path[0], 1000, &text, &n), LIP_OK);
  assert_int_equal(n, 38);
  lip_free(text);
  write_file(path[0], "", 0);
  assert_int_equal(read_all(path[0], 1000, &text, &n), LIP_OK);
  assert_int_equal(n, 0);
  lip_free(text);
}

static void damaged_gzip_is_an_error(void **state) {
  (void)state;
  char *text;
  size_t n, before = lip_mem_used();
  /* every prefix from the two magic bytes on is truncated */
  for (size_t k = 2; k < sizeof hello_gz; k++) {
    write_file(path[0], hello_gz, k);
    assert_int_equal(read_all(path[0], 1000, &text, &n), LIP_FORMAT);
  }
  /* a byte changed anywhere in method, data, checksum or length (the time, flags of speed and system are free) */
  for (size_t k = 10; k < sizeof hello_gz; k++) {
    uint8_t bad[sizeof hello_gz];
    memcpy(bad, hello_gz, sizeof bad);
    bad[k] ^= 0xff;
    write_file(path[0], bad, sizeof bad);
    assert_int_equal(read_all(path[0], 1000, &text, &n), LIP_FORMAT);
  }
  /* bytes after the end */
  uint8_t more[sizeof hello_gz + 1] = {0};
  memcpy(more, hello_gz, sizeof hello_gz);
  write_file(path[0], more, sizeof more);
  assert_int_equal(read_all(path[0], 1000, &text, &n), LIP_FORMAT);
  assert_int_equal(lip_mem_used(), before);
}

static void what_cannot_be_read_says_why(void **state) {
  (void)state;
  char *text;
  size_t n;
  assert_int_equal(read_all("/nonexistent/file", 10, &text, &n), LIP_NOT_FOUND);
  assert_int_equal(read_all(dir, 10, &text, &n), LIP_IO);
  assert_int_equal(read_all("/dev/null", 10, &text, &n), LIP_IO);
}

/* ---- data sets ---- */

static void sizes_are_proved(void **state) {
  (void)state;
  lip_err err;
  lip_dataset *d;
  const size_t huge[3] = {SIZE_MAX / 2, 3, 1}, zero[1] = {0}, one[1] = {1};
  assert_int_equal(lip_dataset_new("x", 1, 3, huge, &d, &err), LIP_SHAPE);
  assert_null(d);
  assert_int_equal(lip_dataset_new("x", 1, 1, zero, &d, &err), LIP_SHAPE);
  assert_int_equal(lip_dataset_new("x", 1, 0, one, &d, &err), LIP_SHAPE);
  assert_int_equal(lip_dataset_new("x", 1, 4, huge, &d, &err), LIP_SHAPE);
  assert_int_equal(lip_dataset_new("x", (size_t)UINT32_MAX + 1, 1, one, &d, &err), LIP_SHAPE);
  assert_int_equal(lip_dataset_new("x", UINT32_MAX, 2, huge, &d, &err), LIP_SHAPE);
  lip_dataset_free(NULL);
}

/* 256 samples of 5 bytes, so that every byte occurs; label = index % 10; targets (2 i, 2 i + 1). */
static lip_dataset *sample_set(void) {
  lip_err err;
  lip_dataset *d;
  const size_t shape[1] = {5};
  assert_int_equal(lip_dataset_new("sample", 256, 1, shape, &d, &err), LIP_OK);
  assert_int_equal(lip_dataset_alloc(d, true, true, 2, &err), LIP_OK);
  for (size_t i = 0; i < 256; i++) {
    for (size_t j = 0; j < 5; j++) d->bytes[5 * i + j] = (uint8_t)(i + 50 * j);
    d->labels[i] = (int32_t)(i % 10);
    d->targets[2 * i] = (float)(2 * i);
    d->targets[2 * i + 1] = (float)(2 * i + 1);
  }
  assert_int_equal(lip_dataset_count_classes(d, 0, &err), LIP_OK);
  assert_int_equal(d->classes, 10);
  assert_int_equal(lip_dataset_bytes(d), 256 * (5 + 4 + 8));
  return d;
}

static void gather_divides_by_255_exactly(void **state) {
  (void)state;
  lip_dataset *d = sample_set();
  uint32_t index[256];
  float x[256 * 5], targets[512];
  int32_t labels[256];
  for (uint32_t i = 0; i < 256; i++) index[i] = (i * 77 + 3) % 256; /* 77 is odd: a permutation */
  lip_dataset_gather(d, index, 256, x, labels, targets);
  for (size_t b = 0; b < 256; b++) {
    for (size_t j = 0; j < 5; j++) {
      volatile float quotient = (float)(uint8_t)(index[b] + 50 * j) / 255.0f;
      assert_true(x[5 * b + j] == quotient);
    }
    assert_int_equal(labels[b], index[b] % 10);
    assert_true(targets[2 * b + 1] == (float)(2 * index[b] + 1));
  }
  lip_dataset_gather(d, index, 3, NULL, NULL, NULL); /* nothing asked */
  lip_dataset_free(d);
}

static void views_share_the_arrays(void **state) {
  (void)state;
  lip_err err;
  lip_dataset *d = sample_set(), *v;
  const uint32_t index[1] = {4};
  float x[5], targets[2];
  int32_t label;
  assert_int_equal(lip_dataset_view(d, 200, 57, &v, &err), LIP_ARGUMENT);
  assert_int_equal(lip_dataset_view(d, 257, 0, &v, &err), LIP_ARGUMENT);
  assert_int_equal(lip_dataset_view(d, 1, SIZE_MAX, &v, &err), LIP_ARGUMENT);
  size_t before = lip_mem_used();
  assert_int_equal(lip_dataset_view(d, 200, 56, &v, &err), LIP_OK);
  assert_true(lip_mem_used() - before < 512);
  assert_int_equal(v->n, 56);
  assert_int_equal(v->classes, 10);
  assert_int_equal(lip_dataset_bytes(v), 0);
  lip_dataset_gather(v, index, 1, x, &label, targets);
  assert_true(x[0] == 204 / 255.0f && targets[0] == 408.0f);
  assert_int_equal(label, 4);
  lip_dataset_free(v);
  lip_dataset_free(d);
}

static void labels_out_of_range_are_refused(void **state) {
  (void)state;
  lip_err err;
  lip_dataset *d = sample_set();
  d->labels[7] = -1;
  assert_int_equal(lip_dataset_count_classes(d, 0, &err), LIP_FORMAT);
  assert_non_null(strstr(err.msg, "label 8 is -1"));
  d->labels[7] = LIP_MAX_CLASSES;
  assert_int_equal(lip_dataset_count_classes(d, 0, &err), LIP_FORMAT);
  d->labels[7] = 3;
  assert_int_equal(lip_dataset_count_classes(d, 20, &err), LIP_OK);
  assert_int_equal(d->classes, 20);
  assert_string_equal(d->note, "");
  for (size_t i = 0; i < d->n; i++) d->labels[i] = i % 3 == 1 ? -1 : 1; /* signs */
  assert_int_equal(lip_dataset_count_classes(d, 0, &err), LIP_OK);
  assert_int_equal(d->classes, 2);
  for (size_t i = 0; i < d->n; i++) assert_int_equal(d->labels[i], i % 3 != 1);
  assert_string_equal(d->note, "labels -1 and 1 are read as 0 and 1");
  lip_dataset_free(d);
}

/* ---- augmentation ---- */

static void shifts_move_whole_images(void **state) {
  (void)state;
  enum { B = 60, C = 2, H = 5, W = 4 };
  float x[B][C][H][W], again[B][C][H][W];
  bool seen[7][7] = {{false}};
  for (size_t i = 0; i < sizeof x / sizeof(float); i++) (&x[0][0][0][0])[i] = (float)(i % (C * H * W) + 1);
  memcpy(again, x, sizeof x);
  lip_augment_shift(&x[0][0][0][0], B, C, H, W, 3, 5, 9);
  lip_augment_shift(&again[0][0][0][0], B, C, H, W, 3, 5, 9);
  assert_memory_equal(x, again, sizeof x);
  for (size_t b = 0; b < B; b++) {
    int matches = 0;
    for (int dy = -3; dy <= 3; dy++)
      for (int dx = -3; dx <= 3; dx++) { /* every shift, by the definition */
        bool same = true;
        for (int c = 0; c < C; c++)
          for (int i = 0; i < H; i++)
            for (int j = 0; j < W; j++) {
              int si = i - dy, sj = j - dx;
              bool inside = si >= 0 && si < H && sj >= 0 && sj < W;
              float want = inside ? (float)(c * H * W + si * W + sj + 1) : 0;
              same = same && x[b][c][i][j] == want;
            }
        matches += same;
        if (same) seen[dy + 3][dx + 3] = true;
      }
    assert_int_equal(matches, 1);
  }
  int kinds = 0;
  for (int i = 0; i < 49; i++) kinds += seen[i / 7][i % 7];
  assert_true(kinds > 20);
}

/* ---- the loader ---- */

static void every_epoch_hands_out_every_sample_once(void **state) {
  (void)state;
  lip_err err;
  lip_dataset *d = sample_set();
  const size_t sizes[] = {1, 7, 32, 256, 1000};
  for (size_t k = 0; k < 5; k++)
    for (int drop = 0; drop < 2; drop++) {
      lip_loader *l;
      lip_status s = lip_loader_new(d, sizes[k], true, drop, 42, &l, &err);
      if (drop && sizes[k] > 256) {
        assert_int_equal(s, LIP_ARGUMENT);
        continue;
      }
      assert_int_equal(s, LIP_OK);
      uint32_t first[2] = {0, 0};
      for (uint64_t epoch = 0; epoch < 2; epoch++) {
        int times[256] = {0};
        size_t total = 0, n;
        const uint32_t *index;
        assert_int_equal(l->epoch, epoch);
        while ((n = lip_loader_next(l, &index)) > 0) {
          if (total == 0) first[epoch] = index[0] * 256 + index[n > 1 ? 1 : 0];
          total += n;
          assert_true(n == sizes[k] || (!drop && total == 256));
          for (size_t i = 0; i < n; i++) assert_int_equal(times[index[i]]++, 0);
        }
        assert_int_equal(total, drop ? 256 / sizes[k] * sizes[k] : 256);
      }
      assert_int_not_equal(first[0], first[1]); /* another order in the next epoch */
      lip_loader_free(l);
    }
  lip_loader *l;
  assert_int_equal(lip_loader_new(d, 0, true, false, 42, &l, &err), LIP_ARGUMENT);
  lip_loader_free(NULL);
  lip_dataset_free(d);
}

static void a_stored_position_continues_the_same_walk(void **state) {
  (void)state;
  lip_err err;
  lip_dataset *d = sample_set();
  for (int shuffle = 0; shuffle < 2; shuffle++) {
    lip_loader *a, *b;
    const uint32_t *ia, *ib;
    assert_int_equal(lip_loader_new(d, 48, shuffle, false, 7, &a, &err), LIP_OK);
    assert_int_equal(lip_loader_new(d, 48, shuffle, false, 7, &b, &err), LIP_OK);
    for (int step = 0; step < 25; step++) { /* 6 batches and the end mark make an epoch */
      assert_int_equal(lip_loader_seek(b, a->epoch, a->next, &err), LIP_OK);
      size_t na = lip_loader_next(a, &ia), nb = lip_loader_next(b, &ib);
      assert_int_equal(na, nb);
      if (na) assert_memory_equal(ia, ib, na * sizeof *ia);
      if (step % 5 == 0) assert_int_equal(lip_loader_seek(b, 99, 3, &err), LIP_OK);
    }
    assert_int_equal(lip_loader_seek(b, 0, 257, &err), LIP_ARGUMENT);
    lip_loader_free(a);
    lip_loader_free(b);
  }
  lip_dataset_free(d);
}

static void an_empty_set_has_empty_epochs(void **state) {
  (void)state;
  lip_err err;
  lip_dataset *d;
  lip_loader *l;
  const size_t shape[1] = {3};
  const uint32_t *index;
  assert_int_equal(lip_dataset_new("none", 0, 1, shape, &d, &err), LIP_OK);
  assert_int_equal(lip_dataset_alloc(d, false, true, 0, &err), LIP_OK);
  assert_int_equal(lip_loader_new(d, 4, true, false, 1, &l, &err), LIP_OK);
  assert_int_equal(lip_loader_next(l, &index), 0);
  assert_int_equal(l->epoch, 1);
  lip_loader_free(l);
  lip_dataset_free(d);
}

/* ---- IDX ---- */

/* Two images of 2 x 3 bytes and their labels. */
static const uint8_t images_idx[] = {0, 0, 8, 3, 0, 0, 0, 2, 0,   0,   0,   2,   0,   0,
                                     0, 3, 1, 2, 3, 4, 5, 6, 250, 251, 252, 253, 254, 255};
static const uint8_t labels_idx[] = {0, 0, 8, 1, 0, 0, 0, 2, 9, 4};

static lip_status load_pair(lip_dataset **d, lip_err *err) {
  *err = (lip_err){LIP_OK, ""};
  lip_status s = lip_idx_load("test", path[0], path[1], d, NULL, err);
  assert_int_equal(s, err->code);
  assert_true((s == LIP_OK) == (*d != NULL));
  return s;
}

static void idx_known_file(void **state) {
  (void)state;
  lip_err err;
  lip_dataset *d;
  write_file(path[0], images_idx, sizeof images_idx);
  write_file(path[1], labels_idx, sizeof labels_idx);
  assert_int_equal(load_pair(&d, &err), LIP_OK);
  assert_int_equal(d->n, 2);
  assert_int_equal(d->ndim, 3);
  assert_int_equal(d->shape[0], 1);
  assert_int_equal(d->shape[1], 2);
  assert_int_equal(d->shape[2], 3);
  assert_int_equal(d->features, 6);
  assert_int_equal(d->bytes[6], 250);
  assert_int_equal(d->labels[0], 9);
  assert_int_equal(d->labels[1], 4);
  assert_int_equal(d->classes, 10);
  assert_int_equal(strlen(d->sha256), 64);
  lip_dataset_free(d);
}

/* Writes a one-dimensional IDX file of the type with these bytes and returns what is read as float32. */
static void read_typed(uint8_t type, const uint8_t *bytes, size_t item, size_t count, float *out) {
  uint8_t file[64] = {0, 0, type, 1, 0, 0, 0, (uint8_t)count};
  lip_err err;
  lip_dataset *d;
  memcpy(file + 8, bytes, item * count);
  write_file(path[0], file, 8 + item * count);
  assert_int_equal(lip_idx_load("typed", path[0], NULL, &d, NULL, &err), LIP_OK);
  assert_int_equal(d->n, count);
  assert_int_equal(d->features, 1);
  memcpy(out, d->values, count * sizeof *out);
  lip_dataset_free(d);
}

static void idx_numbers_are_big_endian(void **state) {
  (void)state;
  float v[2];
  read_typed(0x09, (const uint8_t[]){0x80, 0x7f}, 1, 2, v);
  assert_true(v[0] == -128 && v[1] == 127);
  read_typed(0x0B, (const uint8_t[]){0xff, 0xfe, 0x01, 0x02}, 2, 2, v);
  assert_true(v[0] == -2 && v[1] == 258);
  read_typed(0x0C, (const uint8_t[]){0xff, 0xff, 0xff, 0xff, 0, 1, 0, 0}, 4, 2, v);
  assert_true(v[0] == -1 && v[1] == 65536);
  read_typed(0x0D, (const uint8_t[]){0x40, 0x49, 0x0f, 0xdb, 0xc0, 0, 0, 0}, 4, 2, v);
  assert_true(v[0] == 0x1.921fb6p+1f && v[1] == -2);
  read_typed(0x0E, (const uint8_t[]){0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0}, 8, 2, v);
  assert_true(v[0] == 1.5f && v[1] == -2);
}

/* Every prefix and every flipped byte of either file: an error or a consistent data set, and no claim is believed. */
static void idx_damage_never_gets_through(void **state) {
  (void)state;
  static const struct {
    const uint8_t *bytes;
    size_t n, head;
  } file[2] = {{images_idx, sizeof images_idx, 16}, {labels_idx, sizeof labels_idx, 8}};
  size_t before = lip_mem_used();
  lip_err err;
  lip_dataset *d;
  for (int f = 0; f < 2; f++) {
    write_file(path[1 - f], file[1 - f].bytes, file[1 - f].n);
    for (size_t k = 0; k < file[f].n; k++) {
      write_file(path[f], file[f].bytes, k);
      assert_int_equal(load_pair(&d, &err), LIP_FORMAT);
    }
    for (size_t k = 0; k < file[f].n; k++)
      for (int bit = 0; bit < 8; bit++) {
        uint8_t bad[sizeof images_idx];
        memcpy(bad, file[f].bytes, file[f].n);
        bad[k] = (uint8_t)(bad[k] ^ 1 << bit);
        write_file(path[f], bad, file[f].n);
        lip_status s = load_pair(&d, &err);
        bool harmless = k >= file[f].head || (k == 2 && bit == 0); /* a value; bytes read as signed bytes */
        assert_int_equal(s, harmless ? LIP_OK : LIP_FORMAT);
        lip_dataset_free(d);
      }
  }
  /* one byte too many */
  uint8_t more[sizeof labels_idx + 1] = {0};
  memcpy(more, labels_idx, sizeof labels_idx);
  write_file(path[1], more, sizeof more);
  assert_int_equal(load_pair(&d, &err), LIP_FORMAT);
  assert_int_equal(lip_mem_used(), before);
}

static void idx_huge_claims_take_no_memory(void **state) {
  (void)state;
  lip_err err;
  lip_dataset *d;
  uint8_t huge[sizeof images_idx];
  memcpy(huge, images_idx, sizeof huge);
  memset(huge + 4, 0xff, 12); /* 2^96 values */
  write_file(path[0], huge, sizeof huge);
  size_t count = lip_mem_count();
  assert_int_equal(load_pair(&d, &err), LIP_FORMAT);
  assert_int_equal(lip_mem_count() - count, 1); /* the reader */
  memcpy(huge, images_idx, sizeof huge);
  huge[4] = 0x7f; /* 12 GB */
  write_file(path[0], huge, sizeof huge);
  count = lip_mem_count();
  assert_int_equal(load_pair(&d, &err), LIP_FORMAT);
  assert_int_equal(lip_mem_count() - count, 1);
}

/* No image of these sides is there, so none needs room. */
static void idx_without_images_takes_no_memory(void **state) {
  (void)state;
  static const uint8_t none[] = {0, 0, 8, 4, 0, 0, 0, 0, 1, 254, 255, 255, 255, 0, 0, 0, 0, 0, 0, 4};
  lip_dataset *d = NULL;
  lip_err err;
  write_file(path[0], none, sizeof none);
  assert_int_not_equal(lip_idx_load("none", path[0], NULL, &d, NULL, &err), LIP_MEMORY);
  lip_dataset_free(d);
}

static void idx_survives_every_failed_allocation(void **state) {
  (void)state;
  lip_err err;
  lip_dataset *d;
  write_file(path[0], images_idx, sizeof images_idx);
  write_file(path[1], labels_idx, sizeof labels_idx);
  size_t before = lip_mem_used(), n = 1;
  for (;; n++) {
    lip_mem_fail_nth(n);
    lip_status s = load_pair(&d, &err);
    bool failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(s, failed ? LIP_MEMORY : LIP_OK);
    if (!failed) break;
    assert_int_equal(lip_mem_used(), before);
  }
  assert_true(n > 4);
  for (n = 1;; n++) { /* the loader */
    lip_loader *l;
    lip_mem_fail_nth(n);
    lip_status s = lip_loader_new(d, 1, true, false, 1, &l, &err);
    lip_mem_fail_nth(0);
    assert_int_equal(s, n <= 2 ? LIP_MEMORY : LIP_OK);
    lip_loader_free(l);
    if (s == LIP_OK) break;
  }
  lip_dataset_free(d);
  assert_int_equal(lip_mem_used(), before);
}

/* Real MNIST, when it is there: the published digests and the number of samples of each class. */
static void mnist_is_what_was_published(void **state) {
  (void)state;
  const char *root = getenv("LIPWB_DATA");
  char images[512], labels[512], hex[65];
  uint8_t digests[64];
  lip_err err;
  lip_dataset *d;
  snprintf(images, sizeof images, "%s/mnist/train-images-idx3-ubyte.gz", root ? root : "");
  snprintf(labels, sizeof labels, "%s/mnist/train-labels-idx1-ubyte.gz", root ? root : "");
  if (!root || access(images, R_OK) != 0) {
    print_message("no MNIST: set LIPWB_DATA to the folder that has mnist/train-images-idx3-ubyte.gz\n");
    skip();
  }
  assert_int_equal(lip_idx_load("mnist", images, labels, &d, digests, &err), LIP_OK);
  assert_int_equal(d->n, 60000);
  assert_int_equal(d->features, 784);
  assert_int_equal(d->classes, 10);
  assert_int_equal(lip_dataset_bytes(d), 60000 * (784 + 4));
  lip_sha256_hex(digests, hex);
  assert_string_equal(hex, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db");
  lip_sha256_hex(digests + 32, hex);
  assert_string_equal(hex, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5");
  assert_int_equal(d->labels[0], 5);
  size_t of_one = 0;
  for (size_t i = 0; i < d->n; i++) of_one += d->labels[i] == 1;
  assert_int_equal(of_one, 6742);
  lip_dataset_free(d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sha256_known_answers),
      cmocka_unit_test(gzip_and_plain_read_alike),
      cmocka_unit_test(damaged_gzip_is_an_error),
      cmocka_unit_test(what_cannot_be_read_says_why),
      cmocka_unit_test(sizes_are_proved),
      cmocka_unit_test(gather_divides_by_255_exactly),
      cmocka_unit_test(views_share_the_arrays),
      cmocka_unit_test(labels_out_of_range_are_refused),
      cmocka_unit_test(shifts_move_whole_images),
      cmocka_unit_test(every_epoch_hands_out_every_sample_once),
      cmocka_unit_test(a_stored_position_continues_the_same_walk),
      cmocka_unit_test(an_empty_set_has_empty_epochs),
      cmocka_unit_test(idx_known_file),
      cmocka_unit_test(idx_numbers_are_big_endian),
      cmocka_unit_test(idx_damage_never_gets_through),
      cmocka_unit_test(idx_huge_claims_take_no_memory),
      cmocka_unit_test(idx_without_images_takes_no_memory),
      cmocka_unit_test(idx_survives_every_failed_allocation),
      cmocka_unit_test(mnist_is_what_was_published),
  };
  return cmocka_run_group_tests(tests, open_dir, remove_dir);
}
