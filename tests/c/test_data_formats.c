/* data: CIFAR, CSV, and the procedural digits. */
#include <locale.h>
#include <math.h>
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
#include "core/data/cifar.h"
#include "core/data/csv.h"
#include "core/data/synth.h"
#include "support_files.h"

static char path[2][300]; /* two names in the scratch folder of this program */

static int open_dir(void **state) {
  if (make_dir(state)) return 1;
  for (int i = 0; i < 2; i++) in_dir(path[i], sizeof path[i], *state, i ? "1" : "0");
  return 0;
}

/* ---- CIFAR ---- */

enum { CIFAR_RECORD = 3073 };

static void fill_cifar(uint8_t *file, size_t records, size_t labels, size_t first) {
  for (size_t k = 0; k < records; k++, file += labels + CIFAR_RECORD - 1) {
    file[0] = 1; /* with two labels: the coarse one */
    file[labels - 1] = (uint8_t)((first + k) % 10);
    for (size_t i = 0; i < CIFAR_RECORD - 1; i++) file[labels + i] = (uint8_t)(i * (first + k + 1));
  }
}

static void cifar_reads_records_of_all_files(void **state) {
  (void)state;
  static uint8_t file[3 * (CIFAR_RECORD + 1)];
  const char *paths[2] = {path[0], path[1]};
  lip_err err;
  lip_dataset *d;
  for (size_t labels = 1; labels <= 2; labels++) {
    fill_cifar(file, 3, labels, 0);
    write_file(path[0], file, 3 * (CIFAR_RECORD - 1 + labels));
    fill_cifar(file, 2, labels, 3);
    write_file(path[1], file, 2 * (CIFAR_RECORD - 1 + labels));
    assert_int_equal(lip_cifar_load("c", paths, 2, labels, 10, &d, &err), LIP_OK);
    assert_int_equal(d->n, 5);
    assert_int_equal(d->features, 3072);
    assert_int_equal(d->shape[0], 3);
    assert_int_equal(d->classes, 10);
    for (size_t k = 0; k < 5; k++) {
      assert_int_equal(d->labels[k], k);
      for (size_t i = 0; i < 3072; i++) assert_int_equal(d->bytes[k * 3072 + i], (uint8_t)(i * (k + 1)));
    }
    lip_dataset_free(d);
  }
}

static void cifar_damage_is_refused(void **state) {
  (void)state;
  static uint8_t file[2 * CIFAR_RECORD];
  const char *paths[1] = {path[0]};
  lip_err err;
  lip_dataset *d;
  size_t before = lip_mem_used();
  fill_cifar(file, 2, 1, 0);
  const size_t lengths[] = {1, 3072, 3074, 2 * CIFAR_RECORD - 1};
  for (size_t i = 0; i < 4; i++) {
    write_file(path[0], file, lengths[i]);
    assert_int_equal(lip_cifar_load("c", paths, 1, 1, 10, &d, &err), LIP_FORMAT);
    assert_null(d);
  }
  file[CIFAR_RECORD] = 10;
  write_file(path[0], file, sizeof file);
  assert_int_equal(lip_cifar_load("c", paths, 1, 1, 10, &d, &err), LIP_FORMAT);
  assert_non_null(strstr(err.msg, "record 2 is 10"));
  assert_int_equal(lip_cifar_load("c", paths, 1, 3, 10, &d, &err), LIP_ARGUMENT);
  file[CIFAR_RECORD] = 9;
  write_file(path[0], file, sizeof file);
  for (size_t n = 1;; n++) {
    lip_mem_fail_nth(n);
    lip_status s = lip_cifar_load("c", paths, 1, 1, 10, &d, &err);
    bool failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(s, failed ? LIP_MEMORY : LIP_OK);
    if (!failed) break;
    assert_int_equal(lip_mem_used(), before);
  }
  lip_dataset_free(d);
  assert_int_equal(lip_mem_used(), before);
}

/* ---- CSV ---- */

static lip_status read_csv(const char *text, const lip_csv_conf *conf, lip_dataset **d, lip_err *err) {
  *err = (lip_err){LIP_OK, ""};
  write_file(path[0], text, strlen(text));
  lip_status s = lip_csv_load("csv", path[0], conf, d, err);
  assert_int_equal(s, err->code);
  assert_true((s == LIP_OK) == (*d != NULL));
  return s;
}

static void expect_values(const lip_dataset *d, size_t rows, size_t columns, const float *v) {
  assert_int_equal(d->n, rows);
  assert_int_equal(d->features, columns);
  for (size_t i = 0; i < rows * columns; i++) assert_true(d->values[i] == v[i]);
}

/* The same table written in every way the reader promises to understand. */
static void csv_dialects_say_the_same(void **state) {
  (void)state;
  static const char *const texts[] = {
      "1,2.5,-3e2\n4,0.1,6\n",
      "1,2.5,-3e2\r\n4,0.1,6\r\n",
      "1,2.5,-3e2\r4,0.1,6\r",
      "1,2.5,-3e2\n4,0.1,6",
      "\357\273\2771,2.5,-3e2\n4,0.1,6\n",
      "a,b,c\n1,2.5,-3e2\n4,0.1,6\n",
      "\n  \n1,2.5,-3e2\n\n\n4,0.1,6\n\n",
      " 1 ,\t2.5 , -3e2 \n4, .1,+6.\n",
      "\"1\",\"2.5\",\"-3e2\"\n4,\"0.1\" ,6\n",
      "\"a\",\"b, or\nnot b\",\"say \"\"c\"\"\"\n1,2.5,-3e2\n4,1e-1,6\n",
      "\357\273\277\"a\",b,c\r\n1,2.5,-3e2\r\n4,0.1,6\r\n",
  };
  const float expected[] = {1, 2.5f, -300, 4, 0.1f, 6};
  lip_csv_conf conf = {0};
  lip_err err;
  lip_dataset *d;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    assert_int_equal(read_csv(texts[i], &conf, &d, &err), LIP_OK);
    expect_values(d, 2, 3, expected);
    lip_dataset_free(d);
  }
  conf.separator = ';';
  assert_int_equal(read_csv("1;2.5;-3e2\n4;0.1;6\n", &conf, &d, &err), LIP_OK);
  expect_values(d, 2, 3, expected);
  lip_dataset_free(d);
  conf.separator = '\t';
  assert_int_equal(read_csv("1\t2.5\t-3e2\n4\t0.1\t6\n", &conf, &d, &err), LIP_OK);
  expect_values(d, 2, 3, expected);
  lip_dataset_free(d);
}

static void csv_ignores_the_locale(void **state) {
  (void)state;
  static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
  bool set = false;
  for (size_t i = 0; i < 4 && !set; i++) set = setlocale(LC_NUMERIC, names[i]) != NULL;
  if (!set) {
    print_message("no locale with a decimal comma is installed (locale-gen de_DE.UTF-8)\n");
    skip();
  }
  char probe[8];
  snprintf(probe, sizeof probe, "%.1f", 0.5);
  lip_csv_conf conf = {0};
  lip_err err;
  lip_dataset *d;
  lip_status s = read_csv("0.5,1.25\n", &conf, &d, &err);
  char after[8];
  snprintf(after, sizeof after, "%.1f", 0.5);
  setlocale(LC_NUMERIC, "C");
  assert_string_equal(probe, "0,5");
  assert_string_equal(after, "0,5"); /* put back */
  assert_int_equal(s, LIP_OK);
  expect_values(d, 1, 2, (const float[]){0.5f, 1.25f});
  lip_dataset_free(d);
}

static void csv_labels_and_targets(void **state) {
  (void)state;
  static const char text[] = "width,kind,\"the \"\"y\"\"\",height\n1,2,0.5,3\n4,0,-1,6\n";
  const lip_csv_column kind = {"kind", 0}, second = {NULL, 1}, y[2] = {{"the \"y\"", 0}, {NULL, 0}};
  lip_err err;
  lip_dataset *d;
  lip_csv_conf conf = {.label = &kind, .targets = y, .target_count = 1};
  assert_int_equal(read_csv(text, &conf, &d, &err), LIP_OK);
  expect_values(d, 2, 2, (const float[]){1, 3, 4, 6});
  assert_int_equal(d->labels[0], 2);
  assert_int_equal(d->labels[1], 0);
  assert_int_equal(d->classes, 3);
  assert_int_equal(d->target_width, 1);
  assert_true(d->targets[0] == 0.5f && d->targets[1] == -1);
  lip_dataset_free(d);
  conf = (lip_csv_conf){.label = &second, .targets = y, .target_count = 2};
  assert_int_equal(read_csv(text, &conf, &d, &err), LIP_OK);
  expect_values(d, 2, 1, (const float[]){3, 6});
  assert_true(d->targets[2] == -1 && d->targets[3] == 4); /* in the order asked for */
  lip_dataset_free(d);
}

static void csv_misuse_names_the_column(void **state) {
  (void)state;
  static const char text[] = "a,b\n1,2\n";
  const lip_csv_column none = {"c", 0}, far = {NULL, 2}, a = {"a", 0}, both[2] = {{"a", 0}, {"b", 0}};
  lip_err err;
  lip_dataset *d;
  lip_csv_conf conf = {.label = &none};
  assert_int_equal(read_csv(text, &conf, &d, &err), LIP_ARGUMENT);
  assert_non_null(strstr(err.msg, "'c'"));
  conf.label = &far;
  assert_int_equal(read_csv(text, &conf, &d, &err), LIP_ARGUMENT);
  assert_non_null(strstr(err.msg, "no column 3"));
  conf.label = &a;
  assert_int_equal(read_csv("1,2\n", &conf, &d, &err), LIP_ARGUMENT); /* a name, but no header */
  conf = (lip_csv_conf){.targets = both, .target_count = 2};
  assert_int_equal(read_csv(text, &conf, &d, &err), LIP_ARGUMENT); /* no feature left */
  conf.label = &a;
  assert_int_equal(read_csv(text, &conf, &d, &err), LIP_ARGUMENT); /* twice */
}

static void csv_faults_say_where(void **state) {
  (void)state;
  const lip_csv_column first = {NULL, 0};
  static const struct {
    const char *text, *where;
    bool label;
  } cases[] = {
      {"1,2\n3,x\n", "line 2, column 2: 'x'", false},
      {"a,b\r\n1,2\r\n3,0x10\r\n", "line 3, column 2: '0x10'", false},
      {"1,2\n\n\n3,\n", "line 4, column 2: '' is a missing value", false},
      {"1,2\nNA,4\n", "line 2, column 1: 'NA' is a missing value", false},
      {"\"a\nb\",c\n1,nan\n", "line 3, column 2: 'nan' is a missing value", false},
      {"1,2\n3,inf\n", "line 2, column 2", false},
      {"1,2\n3,1e39\n", "line 2, column 2", false},
      {"1,2\n3\n", "line 2: 1 fields where the first line has 2", false},
      {"1,2\n3,4,5\n", "line 2: 3 fields", false},
      {"1,2\n3,\"4\n", "line 2, column 2: a quote is opened", false},
      {"1,2\n\"3\"4,4\n", "line 2, column 1", false},
      {"1,2\n1 2,4\n", "line 2, column 1: '1 2'", false},
      {"0,2\n1.5,4\n", "line 2, column 1: '1.5' is not a label", true},
      {"0,2\n-1,4\n", "line 2, column 1: '-1' is not a label", true},
      {"1,2\n-1,2\n2,4\n", "line 3, column 1: '2' is not a label", true},
      {"-2,2\n1,4\n", "line 1, column 1: '-2' is not a label", true},
      {"0,2\n65536,4\n", "line 2, column 1", true},
      {"", "no data", false},
      {" \n\n", "no data", false},
      {"a,b\n", "no data", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    lip_err err;
    lip_dataset *d;
    const lip_csv_conf conf = {.label = cases[i].label ? &first : NULL};
    assert_int_equal(read_csv(cases[i].text, &conf, &d, &err), LIP_FORMAT);
    if (!strstr(err.msg, cases[i].where)) fail_msg("'%s' does not say '%s'", err.msg, cases[i].where);
  }
}

static void csv_fills_missing_values(void **state) {
  (void)state;
  const lip_csv_column last = {NULL, 3};
  lip_csv_conf conf = {.fill = true, .fill_value = -1};
  lip_err err;
  lip_dataset *d;
  assert_int_equal(read_csv("1,,NA,?\nNaN,n/a,null,2\n", &conf, &d, &err), LIP_OK);
  expect_values(d, 2, 4, (const float[]){1, -1, -1, -1, -1, -1, -1, 2});
  lip_dataset_free(d);
  conf.label = &last; /* a label is never made up */
  assert_int_equal(read_csv("1,,NA,?\nNaN,n/a,null,2\n", &conf, &d, &err), LIP_FORMAT);
  /* header: forced and forbidden */
  conf = (lip_csv_conf){.header = LIP_CSV_YES};
  assert_int_equal(read_csv("1,2\n3,4\n", &conf, &d, &err), LIP_OK);
  expect_values(d, 1, 2, (const float[]){3, 4});
  lip_dataset_free(d);
  conf.header = LIP_CSV_NO;
  assert_int_equal(read_csv("a,2\n3,4\n", &conf, &d, &err), LIP_FORMAT);
}

static void csv_any_bytes_are_survived(void **state) {
  (void)state;
  static const char text[] = "\357\273\277a,\"b \"\"c\"\"\",d\r\n1,2.5,0\r\n\"-3\",4e-1,1\n";
  const lip_csv_column label = {NULL, 2};
  const lip_csv_conf conf = {.label = &label};
  size_t n = sizeof text - 1, before = lip_mem_used(), good = 0;
  lip_err err;
  lip_dataset *d;
  for (size_t k = 0; k <= n; k++) { /* prefixes */
    write_file(path[0], text, k);
    if (lip_csv_load("csv", path[0], &conf, &d, &err) == LIP_OK) good++;
    lip_dataset_free(d);
  }
  assert_true(good > 0 && good < n);
  for (size_t k = 0; k < n; k++)
    for (int v = 0; v < 256; v++) { /* every byte with every value */
      char bad[sizeof text];
      memcpy(bad, text, sizeof bad);
      bad[k] = (char)v;
      write_file(path[0], bad, n);
      lip_status s = lip_csv_load("csv", path[0], &conf, &d, &err);
      assert_true(s == LIP_OK || s == LIP_FORMAT || s == LIP_ARGUMENT);
      if (d)
        for (size_t i = 0; i < d->n * d->features; i++) assert_true(isfinite(d->values[i]));
      lip_dataset_free(d);
    }
  assert_int_equal(lip_mem_used(), before);
  write_file(path[0], text, n);
  for (size_t i = 1;; i++) {
    lip_mem_fail_nth(i);
    lip_status s = lip_csv_load("csv", path[0], &conf, &d, &err);
    bool failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(s, failed ? LIP_MEMORY : LIP_OK);
    if (!failed) break;
    assert_int_equal(lip_mem_used(), before);
  }
  lip_dataset_free(d);
}

/* ---- procedural digits ---- */

static void digits_depend_on_seed_and_number_only(void **state) {
  (void)state;
  lip_err err;
  lip_dataset *a, *b, *c;
  assert_int_equal(lip_synth_digits(300, 5, &a, &err), LIP_OK);
  assert_int_equal(lip_synth_digits(100, 5, &b, &err), LIP_OK);
  assert_int_equal(lip_synth_digits(100, 6, &c, &err), LIP_OK);
  assert_memory_equal(a->bytes, b->bytes, 100 * 784);
  assert_memory_equal(a->labels, b->labels, 100 * sizeof *a->labels);
  assert_memory_not_equal(b->bytes, c->bytes, 100 * 784);
  lip_dataset_free(b);
  lip_dataset_free(c);
  int seen[10] = {0};
  for (size_t i = 0; i < a->n; i++) {
    size_t dark = 0, edge = 0;
    seen[a->labels[i]]++;
    for (size_t k = 0; k < 784; k++) {
      dark += a->bytes[784 * i + k] > 127;
      edge += (k < 28 || k >= 756) && a->bytes[784 * i + k] > 127;
    }
    assert_in_range(dark, 10, 400); /* something is drawn, and it is not a blot */
    assert_in_range(edge, 0, 14);
  }
  for (int k = 0; k < 10; k++) assert_in_range(seen[k], 10, 60);
  lip_dataset_free(a);
  for (size_t n = 1; n <= 3; n++) {
    lip_mem_fail_nth(n);
    assert_int_equal(lip_synth_digits(3, 5, &a, &err), LIP_MEMORY);
    assert_null(a);
  }
  lip_mem_fail_nth(0);
}

/* Learnable: 1 nearest neighbour among 4000 recognises most of 300 new ones; hard: the class means do not. */
static void digits_are_learnable_but_not_trivial(void **state) {
  (void)state;
  enum { TRAIN = 4000, TEST = 300 };
  static double mean[10][784];
  lip_err err;
  lip_dataset *a, *b;
  assert_int_equal(lip_synth_digits(TRAIN, 1, &a, &err), LIP_OK);
  assert_int_equal(lip_synth_digits(TEST, 2, &b, &err), LIP_OK);
  size_t count[10] = {0}, by_neighbour = 0, by_mean = 0;
  for (size_t i = 0; i < TRAIN; i++) {
    count[a->labels[i]]++;
    for (size_t k = 0; k < 784; k++) mean[a->labels[i]][k] += a->bytes[784 * i + k];
  }
  for (size_t t = 0; t < TEST; t++) {
    const uint8_t *x = b->bytes + 784 * t;
    long best = 0;
    int32_t label = -1;
    for (size_t i = 0; i < TRAIN; i++) {
      long gap = 0;
      for (size_t k = 0; k < 784; k++)
        gap += (long)(x[k] - a->bytes[784 * i + k]) * (x[k] - a->bytes[784 * i + k]);
      if (label < 0 || gap < best) best = gap, label = a->labels[i];
    }
    by_neighbour += label == b->labels[t];
    double nearest = INFINITY;
    for (int c = 0; c < 10; c++) {
      double gap = 0;
      for (size_t k = 0; k < 784; k++) {
        double z = x[k] - mean[c][k] / (double)count[c];
        gap += z * z;
      }
      if (gap < nearest) nearest = gap, label = c;
    }
    by_mean += label == b->labels[t];
  }
  print_message("nearest neighbour %zu, class means %zu of %d\n", by_neighbour, by_mean, TEST);
  assert_true(by_neighbour > TEST * 85 / 100);
  assert_true(by_mean < TEST * 90 / 100);
  lip_dataset_free(a);
  lip_dataset_free(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(cifar_reads_records_of_all_files),
      cmocka_unit_test(cifar_damage_is_refused),
      cmocka_unit_test(csv_dialects_say_the_same),
      cmocka_unit_test(csv_ignores_the_locale),
      cmocka_unit_test(csv_labels_and_targets),
      cmocka_unit_test(csv_misuse_names_the_column),
      cmocka_unit_test(csv_faults_say_where),
      cmocka_unit_test(csv_fills_missing_values),
      cmocka_unit_test(csv_any_bytes_are_survived),
      cmocka_unit_test(digits_depend_on_seed_and_number_only),
      cmocka_unit_test(digits_are_learnable_but_not_trivial),
  };
  return cmocka_run_group_tests(tests, open_dir, remove_dir);
}
