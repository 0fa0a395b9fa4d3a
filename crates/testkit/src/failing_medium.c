// Preloaded into the operator: makes writes or syncs of files fail, as a worn or lost medium does. The test writes what is to fail
// into a page of shared memory; only files whose path holds IN_PATH are touched.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct orders {
    int32_t write_error; // errno of each write, or 0
    int32_t sync_error;  // errno of each sync, or 0
};

static const volatile struct orders *orders(void) {
    static const volatile struct orders *page;
    if (!page) {
        int fd = syscall(SYS_openat, AT_FDCWD, ORDERS, O_RDONLY | O_CLOEXEC);
        if (fd < 0) return 0;
        void *mapped = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
        syscall(SYS_close, fd);
        if (mapped == MAP_FAILED) return 0;
        page = mapped;
    }
    return page;
}

static int fails(int fd, int error) {
    char link[64], path[1024];
    if (!error) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    if (!strstr(path, IN_PATH)) return 0;
    errno = error;
    return 1;
}

#define FAILS(fd, what) (orders() && fails(fd, orders()->what))

ssize_t write(int fd, const void *bytes, size_t n) {
    return FAILS(fd, write_error) ? -1 : syscall(SYS_write, fd, bytes, n);
}
ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at) {
    return FAILS(fd, write_error) ? -1 : syscall(SYS_pwrite64, fd, bytes, n, at);
}
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at) { return pwrite64(fd, bytes, n, at); }
int fdatasync(int fd) { return FAILS(fd, sync_error) ? -1 : syscall(SYS_fdatasync, fd); }
int fsync(int fd) { return FAILS(fd, sync_error) ? -1 : syscall(SYS_fsync, fd); }
