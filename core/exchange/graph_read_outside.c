/* Constants whose numbers stand in files beside the ONNX file. */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <onnx.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/exchange/graph_parts.h"

static lip_status refuse(const lip_graph_source *s, const lip_graph_job *job, const char *what,
                         const char *which) {
  char text[LIP_GRAPH_TENSOR_TEXT];
  return lip_fail(s->err, LIP_FORMAT, "%.100s: %s %s '%.60s'", s->path, lip_graph_job_text(s, job, text),
                  what, which);
}

static lip_status no_memory(const lip_graph_source *s) {
  return lip_fail(s->err, LIP_MEMORY, "%.100s: out of memory", s->path);
}

static const char *entry(const LipOnnx__TensorProto *p, const char *key) {
  for (size_t k = 0; k < p->n_external_data; k++)
    if (p->external_data[k]->key && strcmp(p->external_data[k]->key, key) == 0)
      return p->external_data[k]->value ? p->external_data[k]->value : "";
  return NULL;
}

/* Digits alone; false: something else, or too many. */
static bool take_size(const char *text, size_t *v) {
  *v = 0;
  if (*text == '\0') return false;
  for (; *text; text++)
    if (*text < '0' || *text > '9' || !lip_mul_fits(*v, 10, v) || !lip_add_fits(*v, (size_t)(*text - '0'), v))
      return false;
  return true;
}

/* Whether every part of the relative path `at` names something; `..` would lead out. */
static bool stays_inside(const char *at) {
  if (*at == '/' || *at == '\0') return false;
  for (;;) {
    size_t n = strcspn(at, "/");
    if (n == 0 || (n == 2 && at[0] == '.' && at[1] == '.')) return false;
    if (at[n] == '\0') return true;
    at += n + 1;
  }
}

/* A link below the folder could lead out of it as well. `from`: where the part below it begins. */
static bool has_links(char *path, size_t from) {
  struct stat st;
  for (size_t k = from; path[k] != '\0';) {
    k += strcspn(path + k, "/");
    char after = path[k];
    path[k] = '\0';
    bool link = lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
    path[k] = after;
    if (link) return true;
    if (after) k++;
  }
  return false;
}

/* job->file, and the file's size and identity. */
static lip_status find_file(const lip_graph_source *s, lip_graph_job *job, struct stat *st) {
  const char *location = entry(job->from, "location");
  if (!location) return refuse(s, job, "stands in a file without a name:", "location");
  if (!stays_inside(location))
    return refuse(s, job, "may only stand in a file below the folder of the ONNX file, not in", location);
  const char *slash = strrchr(s->path, '/');
  size_t folder = slash ? (size_t)(slash - s->path) + 1 : 0, n = strlen(location);
  job->file = lip_alloc(folder + n + 1, 1);
  if (!job->file) return no_memory(s);
  memcpy(job->file, s->path, folder);
  memcpy(job->file + folder, location, n + 1);
  if (has_links(job->file, folder)) return refuse(s, job, "may not be reached by symbolic links:", location);
  int fd;
  lip_status code = lip_file_open(job->file, &fd, NULL, s->err);
  if (code == LIP_NOT_FOUND) {
    char text[LIP_GRAPH_TENSOR_TEXT];
    return lip_fail(s->err, LIP_NOT_FOUND,
                    "%.100s: %s stands in '%.60s', which is not beside it: copy both files", s->path,
                    lip_graph_job_text(s, job, text), location);
  }
  if (code) return code;
  bool known = fstat(fd, st) == 0;
  close(fd);
  return known ? LIP_OK : lip_file_refuse(job->file, "look at", errno, s->err);
}

static lip_status find_place(const lip_graph_source *s, lip_graph_job *job, size_t size) {
  const char *offset = entry(job->from, "offset"), *length = entry(job->from, "length");
  size_t n, end;
  if (offset && !take_size(offset, &job->begin))
    return refuse(s, job, "has no number as its offset:", offset);
  if (length && !take_size(length, &n)) return refuse(s, job, "has no number as its length:", length);
  if (length && n != job->bytes) return refuse(s, job, "has another length in bytes than its shape:", length);
  if (lip_add_fits(job->begin, job->bytes, &end) && end <= size) return LIP_OK;
  return refuse(s, job, "reaches beyond the end of", job->file);
}

/* A place in a file, whatever names the file has. */
typedef struct place {
  dev_t device;
  ino_t file;
  const lip_graph_job *job;
} place;

static int by_place(const void *a, const void *b) {
  const place *x = a, *y = b;
  if (x->device != y->device) return x->device < y->device ? -1 : 1;
  if (x->file != y->file) return x->file < y->file ? -1 : 1;
  if (x->job->begin != y->job->begin) return x->job->begin < y->job->begin ? -1 : 1;
  return x->job->bytes < y->job->bytes ? -1 : x->job->bytes > y->job->bytes;
}

static lip_status find_all(const lip_graph_source *s, lip_graph_job *job, size_t n, place *p, size_t *found) {
  size_t all = 0;
  for (size_t k = 0; k < n; k++) {
    struct stat st;
    if (job[k].from->data_location != 1) continue;
    lip_status code = find_file(s, &job[k], &st);
    if (!code) code = find_place(s, &job[k], (size_t)st.st_size);
    if (code) return code;
    if (!lip_add_fits(all, job[k].bytes, &all) || all > LIP_GRAPH_LIMIT)
      return lip_fail(s->err, LIP_FORMAT,
                      "%.100s: its constants in other files are larger than the limit of %zu bytes", s->path,
                      LIP_GRAPH_LIMIT);
    if (job[k].bytes > 0) p[(*found)++] = (place){st.st_dev, st.st_ino, &job[k]};
  }
  return LIP_OK;
}

lip_status lip_graph_place(const lip_graph_source *s, lip_graph_job *job, size_t n) {
  size_t count = 0, found = 0;
  for (size_t k = 0; k < n; k++) count += job[k].from->data_location == 1;
  if (count == 0) return LIP_OK;
  place *p = lip_alloc(count, sizeof *p);
  if (!p) return no_memory(s);
  lip_status code = find_all(s, job, n, p, &found);
  if (!code) qsort(p, found, sizeof *p, by_place);
  /* so all of them take no more memory than the files have bytes */
  for (size_t k = 1; k < found && !code; k++) {
    const lip_graph_job *a = p[k - 1].job, *b = p[k].job;
    if (p[k].device == p[k - 1].device && p[k].file == p[k - 1].file && a->begin + a->bytes > b->begin)
      code = refuse(s, b, "shares bytes with another constant in", b->file);
  }
  lip_free(p);
  return code;
}

lip_status lip_graph_fetch(const lip_graph_source *s, const lip_graph_job *job, unsigned char **bytes) {
  int fd;
  *bytes = NULL;
  lip_status code = lip_file_open(job->file, &fd, NULL, s->err);
  if (code) return code;
  unsigned char *to = lip_alloc(job->bytes, 1);
  if (!to) code = no_memory(s);
  for (size_t at = 0; at < job->bytes && !code;) {
    ssize_t got = pread(fd, to + at, job->bytes - at, (off_t)(job->begin + at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) code = lip_file_refuse(job->file, "read", errno, s->err);
    if (got == 0) code = refuse(s, job, "reaches beyond the end of", job->file);
    if (got > 0) at += (size_t)got;
  }
  close(fd);
  if (code)
    lip_free(to);
  else
    *bytes = to;
  return code;
}
