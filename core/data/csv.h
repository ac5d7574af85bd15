/* Comma-separated values (RFC 4180, with the liberties found in practice): numbers in the C locale whatever the process's
 * locale, LF, CRLF or CR, a byte order mark, quoted fields, an optional header line, blank lines skipped. */
#ifndef LIP_DATA_CSV_H
#define LIP_DATA_CSV_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"
#include "core/data/dataset.h"

typedef enum lip_csv_header { LIP_CSV_GUESS, LIP_CSV_NO, LIP_CSV_YES } lip_csv_header;

/* A column by name (needs a header) or, where name is NULL, by index from 0. */
typedef struct lip_csv_column {
  const char *name;
  size_t index;
} lip_csv_column;

/* {0} reads comma-separated features. Columns that are neither label nor target are features, in the file's order. */
typedef struct lip_csv_conf {
  lip_csv_header header; /* GUESS: the first line is a header when one of its fields is not a number; one that
                                  counts 0, 1, 2, ... is a sample, and the data set's note says so */
  char separator;        /* 0: comma */
  const lip_csv_column *label; /* whole numbers 0..LIP_MAX_CLASSES-1; or NULL */
  const lip_csv_column *targets;
  size_t target_count;
  bool fill; /* empty fields, NA, N/A, NaN, null, ?: replaced by fill_value (features only), or an error */
  float fill_value;
} lip_csv_conf;

/* The file (plain or gzip) as a data set of float32 rows. LIP_FORMAT names line, column and field; LIP_ARGUMENT when a
 * column asked for is not there; LIP_NOT_FOUND, LIP_IO, LIP_MEMORY. */
lip_status lip_csv_load(const char *name, const char *path, const lip_csv_conf *conf, lip_dataset **out,
                        lip_err *err);

#endif
