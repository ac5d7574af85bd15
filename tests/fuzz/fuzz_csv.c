/* CSV: the first byte chooses the options, the rest is the file. */
#include "core/data/csv.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char separator[] = {0, ';', '\t', ' '};
  static const lip_csv_column columns[] = {{NULL, 0}, {"y", 0}, {NULL, 1}, {"label", 0}};
  if (size < 1) return 0;
  unsigned how = data[0];
  lip_csv_conf conf = {.header = (lip_csv_header)(how % 3),
                       .separator = separator[how >> 2 & 3],
                       .fill = how >> 4 & 1,
                       .fill_value = -1};
  if (how >> 5 == 1) conf.label = &columns[0];
  if (how >> 5 == 2) conf.label = &columns[1];
  if (how >> 5 == 3) conf.targets = columns, conf.target_count = 1;
  if (how >> 5 == 4) conf.targets = columns + 1, conf.target_count = 2, conf.label = &columns[0];
  if (how >> 5 == 5) conf.label = &columns[3];
  const char *path = fuzz_file(0, data + 1, size - 1);
  size_t readable = fuzz_readable(path);
  lip_dataset *d;
  lip_err err;
  fuzz_begin();
  if (fuzz_answer(lip_csv_load("fuzz", path, &conf, &d, &err), &err)) fuzz_dataset(d);
  fuzz_end(size + readable, 0);
  return 0;
}
