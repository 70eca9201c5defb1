/*
 * Loaded into a server before the C library: writes down, in order, all that happens to the files below a directory,
 * so that a test can work out what a power cut at any moment would have left of them; and, while a certain file exists,
 * lets every write and every sync below that directory fail with the errno that it names, and with EIO and EROFS every
 * other change, too.
 *
 * QUAY_JOURNAL is the file to write to, QUAY_JOURNAL_ROOT the directory, QUAY_JOURNAL_BROKEN the file with an errno.
 * A record is a line of JSON; the bytes of a write follow theirs. A sync is written down when it has succeeded, an
 * answer before it is sent: what a record says about durability is true at that moment.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FDS 65536

static char tracked[FDS];
static const char *root, *broken;
static int journal = -1;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    root = getenv("QUAY_JOURNAL_ROOT");
    broken = getenv("QUAY_JOURNAL_BROKEN");
    if (root && getenv("QUAY_JOURNAL"))
        journal = REAL(open)(getenv("QUAY_JOURNAL"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int below(const char *path) { return root && strncmp(path, root, strlen(root)) == 0; }
static int is_tracked(int fd) { return fd >= 0 && fd < FDS && tracked[fd]; }

/* The errno with which changes fail now, 0 for none. */
static int broken_with(void) {
    char text[16] = "";
    int fd = broken ? REAL(open)(broken, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    REAL(close)(fd);
    return length > 0 ? atoi(text) : 0;
}

static int fails(int fd) {
    int saved = errno, with = is_tracked(fd) ? broken_with() : 0;
    errno = with ? with : saved;
    return with;
}

/* A full medium lets names go, and a broken one does not. */
static int keeps(const char *path) {
    int saved = errno, with = below(path) ? broken_with() : 0;
    errno = with ? with : saved;
    return with == EIO || with == EROFS;
}

static int refuses(const char *path, int flags) {
    return (flags & (O_CREAT | O_TRUNC) || (flags & O_ACCMODE) != O_RDONLY) && keeps(path);
}

static void put(const void *data, size_t count) {
    for (ssize_t n; count; data = (const char *)data + n, count -= (size_t)n)
        if ((n = REAL(write)(journal, data, count)) <= 0) abort();
}

static void note(const void *data, size_t count, const char *format, ...) {
    if (journal < 0) return;
    int saved = errno;
    char line[9000];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    pthread_mutex_lock(&order);
    put(line, (size_t)length);
    put(data, count);
    pthread_mutex_unlock(&order);
    errno = saved;
}

static unsigned long inode(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : (unsigned long)found.st_ino;
}

static int opened(int fd, const char *path, int flags) {
    if (fd < 0 || fd >= FDS) return fd;
    tracked[fd] = (char)below(path);
    if (tracked[fd] && !(flags & O_DIRECTORY))
        note(0, 0, "{\"op\":\"open\",\"path\":\"%s\",\"inode\":%lu}\n", path, inode(fd));
    if (tracked[fd] && (flags & O_TRUNC)) note(0, 0, "{\"op\":\"truncate\",\"inode\":%lu,\"size\":0}\n", inode(fd));
    return fd;
}

static mode_t mode_of(int flags, va_list values) { return flags & O_CREAT ? va_arg(values, mode_t) : 0; }

#define OPEN(name)                                                                 \
    int name(const char *path, int flags, ...) {                                   \
        va_list values;                                                            \
        va_start(values, flags);                                                   \
        mode_t mode = mode_of(flags, values);                                      \
        va_end(values);                                                            \
        if (refuses(path, flags)) return -1;                                       \
        return opened(REAL(name)(path, flags, mode), path, flags);                 \
    }
#define OPENAT(name)                                                               \
    int name(int at, const char *path, int flags, ...) {                           \
        va_list values;                                                            \
        va_start(values, flags);                                                   \
        mode_t mode = mode_of(flags, values);                                      \
        va_end(values);                                                            \
        if (refuses(path, flags)) return -1;                                       \
        return opened(REAL(name)(at, path, flags, mode), path, flags);             \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    if (fd >= 0 && fd < FDS) tracked[fd] = 0;
    return REAL(close)(fd);
}

static ssize_t written(int fd, const void *data, ssize_t count, off_t at) {
    if (count > 0 && is_tracked(fd))
        note(data, (size_t)count, "{\"op\":\"write\",\"inode\":%lu,\"at\":%ld,\"count\":%ld}\n", inode(fd), (long)at,
             (long)count);
    return count;
}

ssize_t write(int fd, const void *data, size_t count) {
    if (fails(fd)) return -1;
    ssize_t done = REAL(write)(fd, data, count);
    return is_tracked(fd) && done > 0 ? written(fd, data, done, lseek(fd, 0, SEEK_CUR) - done) : done;
}

#define PWRITE(name, offset)                                                       \
    ssize_t name(int fd, const void *data, size_t count, offset at) {              \
        if (fails(fd)) return -1;                                                  \
        return written(fd, data, REAL(name)(fd, data, count, at), at);             \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATE(name, offset)                                                     \
    int name(int fd, offset size) {                                                \
        int done = REAL(name)(fd, size);                                           \
        if (!done && is_tracked(fd))                                               \
            note(0, 0, "{\"op\":\"truncate\",\"inode\":%lu,\"size\":%ld}\n", inode(fd), (long)size); \
        return done;                                                               \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

/* A directory is told by its path: its entries have been written down by theirs. */
static int synced(int fd, int done) {
    struct stat found;
    char link[64], path[4096];
    if (done || !is_tracked(fd) || fstat(fd, &found)) return done;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = S_ISDIR(found.st_mode) ? readlink(link, path, sizeof path - 1) : 0;
    path[length < 0 ? 0 : length] = 0;
    if (length > 0) note(0, 0, "{\"op\":\"sync directory\",\"path\":\"%s\"}\n", path);
    else note(0, 0, "{\"op\":\"sync\",\"inode\":%lu}\n", (unsigned long)found.st_ino);
    return done;
}

int fsync(int fd) { return fails(fd) ? -1 : synced(fd, REAL(fsync)(fd)); }
int fdatasync(int fd) { return fails(fd) ? -1 : synced(fd, REAL(fdatasync)(fd)); }

int rename(const char *from, const char *to) {
    if (keeps(to)) return -1;
    int done = REAL(rename)(from, to);
    if (!done && below(to)) note(0, 0, "{\"op\":\"rename\",\"path\":\"%s\",\"to\":\"%s\"}\n", from, to);
    return done;
}

int unlink(const char *path) {
    if (keeps(path)) return -1;
    int done = REAL(unlink)(path);
    if (!done && below(path)) note(0, 0, "{\"op\":\"unlink\",\"path\":\"%s\"}\n", path);
    return done;
}

int mkdir(const char *path, mode_t mode) {
    if (keeps(path)) return -1;
    int done = REAL(mkdir)(path, mode);
    if (!done && below(path)) note(0, 0, "{\"op\":\"mkdir\",\"path\":\"%s\"}\n", path);
    return done;
}

/* The digest of what an answer acknowledges, if it does; of a deletion, that it was accepted. */
ssize_t send(int fd, const void *data, size_t count, int flags) {
    static const char status[] = "HTTP/1.1 201", name[] = "Docker-Content-Digest: ";
    if (count > sizeof status && memcmp(data, status, sizeof status - 1) == 0) {
        const char *found = memmem(data, count, name, sizeof name - 1);
        if (found) note(0, 0, "{\"op\":\"created\",\"digest\":\"%.71s\"}\n", found + sizeof name - 1);
    }
    if (count > sizeof status && memcmp(data, "HTTP/1.1 202", sizeof status - 1) == 0) note(0, 0, "{\"op\":\"accepted\"}\n");
    return REAL(send)(fd, data, count, flags);
}
