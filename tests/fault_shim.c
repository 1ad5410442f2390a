/*
 * Disk faults and power losses for tests: a library for LD_PRELOAD, around the file functions of the C
 * library. It is compiled by tests/common/faults.rs:  cc -shared -fPIC -O1 -o shim.so fault_shim.c -ldl
 *
 * Only files whose path contains FAULT_PATH are watched, and directories too. Everything is set by
 * environment variables:
 *
 * | variable      | meaning                                                                          |
 * |---------------|----------------------------------------------------------------------------------|
 * | FAULT_PATH    | a part of the path of the watched files; without it nothing happens              |
 * | FAULT_CALLS   | which calls are counted and fail: a list of write, sync, truncate, rename,       |
 * |               | unlink, open (for writing or creating), opendir (the open of a directory)        |
 * | FAULT_AT      | the number of the first call that fails, from 1; 0 or absent: none               |
 * | FAULT_ALSO    | the number of another call that fails                                            |
 * | FAULT_KILL_AT | the number of the call at which the process is killed instead                    |
 * | FAULT_COUNT   | how many calls fail from there on; absent: 1; 0: all                             |
 * | FAULT_KIND    | eio, enospc: the call fails; short: a write writes a part, and the rest on being |
 * |               | called again; torn: a write writes a part and fails with EIO; dropped: a sync    |
 * |               | fails, and what was written since the last sync is gone, as when the system      |
 * |               | drops pages that it could not write (needs FAULT_RECORD)                         |
 * | FAULT_OFF     | a path: while this file exists no call fails                                     |
 * | FAULT_LOG     | a path: a line for each counted call is appended: number, call, file, result     |
 * | FAULT_RECORD  | a directory on the same file system: what a power loss leaves is recorded there  |
 * | FAULT_SYNC    | "ignored": a sync does nothing and says that it was successful                   |
 *
 * The record of what is certainly on the disk:
 *
 *   content.INODE   the content of the file when it was last synced successfully
 *   names           "INODE NAME" for each file of the directory when the directory was last synced
 *   link.INODE      a hard link, so that no inode number is used again
 *
 * A file of `names` without content was never synced: it is empty after a power loss. The record changes
 * after the sync and before the caller learns of its success. So a process that is killed at any moment
 * has not told anybody about more than what is recorded.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX 65536

/* Whether a descriptor is one of a watched file. */
static volatile unsigned char is_watched[FDS_MAX];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long n_calls;

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static long number(const char *name, long otherwise) {
    const char *value = setting(name);
    return value ? atol(value) : otherwise;
}

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

static int is_path_watched(const char *path) {
    const char *part = setting("FAULT_PATH");
    return part && path && strstr(path, part);
}

static int is_fd_watched(int fd) { return fd >= 0 && fd < FDS_MAX && is_watched[fd]; }

static void path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, size - 1);
    path[n < 0 ? 0 : n] = 0;
}

static void append_log(long n, const char *call, const char *path, const char *result) {
    const char *log = setting("FAULT_LOG");
    if (!log) return;
    char line[4096];
    const char *name = strrchr(path, '/');
    int length = snprintf(line, sizeof line, "%ld %s %s %s\n", n, call, name ? name + 1 : path, result);
    int fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    syscall(SYS_write, fd, line, length);
    syscall(SYS_close, fd);
}

enum fault { NONE, FAILS, SHORT, TORN, DROPPED };

/* Counts a call, and says whether it fails. Sets errno if it does. */
static enum fault fault_of(const char *call, const char *path) {
    const char *calls = setting("FAULT_CALLS");
    if (!calls) return NONE;
    size_t length = strlen(call);
    const char *found = calls;
    for (; found; found = strchr(found, ',')) {
        if (*found == ',') found++;
        if (!strncmp(found, call, length) && (found[length] == ',' || !found[length])) break;
    }
    if (!found) return NONE;
    pthread_mutex_lock(&mutex);
    long n = ++n_calls;
    long first = number("FAULT_AT", 0), count = number("FAULT_COUNT", 1);
    const char *off = setting("FAULT_OFF"), *kind = setting("FAULT_KIND");
    struct stat ignored;
    int is_off = off && stat(off, &ignored) == 0;
    int is_first = first > 0 && n >= first && (count == 0 || n < first + count);
    int fails = !is_off && (is_first || n == number("FAULT_ALSO", 0));
    if (n == number("FAULT_KILL_AT", 0)) kill(getpid(), SIGKILL);
    enum fault fault = !fails || !kind          ? NONE
                       : !strcmp(kind, "short") ? SHORT
                       : !strcmp(kind, "torn")  ? TORN
                       : !strcmp(kind, "dropped") ? DROPPED
                                                  : FAILS;
    append_log(n, call, path, fault == NONE ? "passed" : kind);
    pthread_mutex_unlock(&mutex);
    errno = kind && !strcmp(kind, "enospc") ? ENOSPC : EIO;
    return fault;
}

static enum fault fault_of_fd(const char *call, int fd) {
    char path[4096];
    path_of(fd, path, sizeof path);
    return fault_of(call, path);
}

/* Opening and closing. */

static int after_open(int fd, const char *path) {
    if (fd >= 0 && fd < FDS_MAX) is_watched[fd] = is_path_watched(path);
    return fd;
}

static int open_file(const char *path, int flags, mode_t mode) {
    if (is_path_watched(path)) {
        int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
        struct stat status;
        int is_directory = stat(path, &status) == 0 && S_ISDIR(status.st_mode);
        const char *call = is_directory ? "opendir" : writes ? "open" : NULL;
        if (call && fault_of(call, path) != NONE) return -1;
    }
    return after_open(NEXT(int (*)(const char *, int, ...), "open64")(path, flags, mode), path);
}

#define OPEN(name)                                                                                   \
    int name(const char *path, int flags, ...) {                                                     \
        va_list arguments;                                                                           \
        va_start(arguments, flags);                                                                  \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;                 \
        va_end(arguments);                                                                           \
        return open_file(path, flags, mode);                                                         \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    if (fd >= 0 && fd < FDS_MAX) is_watched[fd] = 0;
    return NEXT(int (*)(int), "close")(fd);
}

/* Writing. */

static ssize_t write_file(int fd, const void *bytes, size_t n, off_t offset, int is_at_offset) {
    ssize_t (*at)(int, const void *, size_t, off_t) = NEXT(void *, "pwrite64");
    ssize_t (*here)(int, const void *, size_t) = NEXT(void *, "write");
    enum fault fault = is_fd_watched(fd) ? fault_of_fd("write", fd) : NONE;
    if (fault == FAILS) return -1;
    if (fault != NONE && n > 1) n /= 2;
    ssize_t written = is_at_offset ? at(fd, bytes, n, offset) : here(fd, bytes, n);
    if (fault == TORN) {
        errno = EIO;
        return -1;
    }
    return written;
}

ssize_t write(int fd, const void *bytes, size_t n) {
    if (!is_fd_watched(fd)) return NEXT(ssize_t (*)(int, const void *, size_t), "write")(fd, bytes, n);
    return write_file(fd, bytes, n, 0, 0);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset) {
    return write_file(fd, bytes, n, offset, 1);
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t offset) {
    return write_file(fd, bytes, n, offset, 1);
}

ssize_t writev(int fd, const struct iovec *parts, int n_parts) {
    if (is_fd_watched(fd) && fault_of_fd("write", fd) != NONE) return -1;
    return NEXT(ssize_t (*)(int, const struct iovec *, int), "writev")(fd, parts, n_parts);
}

int ftruncate64(int fd, off_t size) {
    if (is_fd_watched(fd) && fault_of_fd("truncate", fd) != NONE) return -1;
    return NEXT(int (*)(int, off_t), "ftruncate64")(fd, size);
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

/* What is on the disk. Only plain system calls: these files are not watched. */

static void write_all(int fd, const char *bytes, ssize_t n) {
    while (n > 0) {
        ssize_t written = syscall(SYS_write, fd, bytes, n);
        if (written <= 0) abort();
        bytes += written;
        n -= written;
    }
}

static int create(const char *path) {
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) abort();
    return fd;
}

static void keep_inode(const char *record, const char *path, ino_t inode) {
    char link_path[4096];
    snprintf(link_path, sizeof link_path, "%s/link.%lu", record, (unsigned long)inode);
    if (link(path, link_path) != 0 && errno != EEXIST) abort();
}

static void record_content(const char *record, int fd) {
    struct stat status;
    char path[4096], partial[4096], bytes[65536];
    if (fstat(fd, &status) != 0) abort();
    path_of(fd, path, sizeof path);
    keep_inode(record, path, status.st_ino);
    snprintf(partial, sizeof partial, "%s/partial", record);
    int copy = create(partial);
    for (off_t offset = 0;;) {
        ssize_t n = syscall(SYS_pread64, fd, bytes, sizeof bytes, offset);
        if (n < 0) { /* open for writing only */
            int again = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0);
            n = syscall(SYS_pread64, again, bytes, sizeof bytes, offset);
            syscall(SYS_close, again);
            if (n < 0) abort();
        }
        if (n == 0) break;
        write_all(copy, bytes, n);
        offset += n;
    }
    syscall(SYS_close, copy);
    snprintf(path, sizeof path, "%s/content.%lu", record, (unsigned long)status.st_ino);
    if (syscall(SYS_rename, partial, path) != 0) abort();
}

static void record_names(const char *record, int fd) {
    char directory[4096], partial[4096], path[8192], line[8192];
    path_of(fd, directory, sizeof directory);
    snprintf(partial, sizeof partial, "%s/partial-names", record);
    int names = create(partial);
    DIR *entries = opendir(directory);
    if (!entries) abort();
    for (struct dirent *entry; (entry = readdir(entries));) {
        struct stat status;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (stat(path, &status) != 0 || !S_ISREG(status.st_mode)) continue;
        keep_inode(record, path, status.st_ino);
        int n = snprintf(line, sizeof line, "%lu %s\n", (unsigned long)status.st_ino, entry->d_name);
        write_all(names, line, n);
    }
    closedir(entries);
    syscall(SYS_close, names);
    snprintf(path, sizeof path, "%s/names", record);
    if (syscall(SYS_rename, partial, path) != 0) abort();
}

/* The file gets the content of its last sync. Its size stays; the rest is zeros. */
static void drop_unsynced(const char *record, int fd) {
    struct stat status;
    char path[4096], bytes[65536];
    if (fstat(fd, &status) != 0) abort();
    path_of(fd, path, sizeof path);
    int file = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY, 0);
    snprintf(path, sizeof path, "%s/content.%lu", record, (unsigned long)status.st_ino);
    int content = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0);
    if (file < 0) abort();
    if (syscall(SYS_ftruncate, file, 0) != 0) abort();
    for (ssize_t n; content >= 0 && (n = syscall(SYS_read, content, bytes, sizeof bytes)) > 0;)
        write_all(file, bytes, n);
    if (syscall(SYS_ftruncate, file, status.st_size) != 0) abort();
    if (content >= 0) syscall(SYS_close, content);
    syscall(SYS_close, file);
}

static int sync_file(int fd, const char *name) {
    int (*next)(int) = NEXT(void *, name);
    if (!is_fd_watched(fd)) return next(fd);
    const char *sync = setting("FAULT_SYNC"), *record = setting("FAULT_RECORD");
    enum fault fault = fault_of_fd("sync", fd);
    if (fault == DROPPED && record) drop_unsynced(record, fd);
    if (fault != NONE) {
        errno = EIO;
        return -1;
    }
    if (sync && !strcmp(sync, "ignored")) return 0;
    if (next(fd) != 0) return -1;
    if (record) {
        struct stat status;
        pthread_mutex_lock(&mutex);
        if (fstat(fd, &status) != 0) abort();
        if (S_ISDIR(status.st_mode)) record_names(record, fd);
        else record_content(record, fd);
        pthread_mutex_unlock(&mutex);
    }
    return 0;
}

int fsync(int fd) { return sync_file(fd, "fsync"); }
int fdatasync(int fd) { return sync_file(fd, "fdatasync"); }

/* Names. */

int rename(const char *from, const char *to) {
    if (is_path_watched(to) && fault_of("rename", to) != NONE) return -1;
    return NEXT(int (*)(const char *, const char *), "rename")(from, to);
}

int unlink(const char *path) {
    struct stat status;
    /* A file that does not exist is no fault of the disk. */
    if (is_path_watched(path) && stat(path, &status) == 0 && fault_of("unlink", path) != NONE) return -1;
    return NEXT(int (*)(const char *), "unlink")(path);
}
