/* The floor of a sandbox: the namespaces and mounts of a build, made one after the other by nothing but system calls.
 *
 *   bare COUNT DIRECTORY INPUTS
 *
 * COUNT times a process in namespaces of its own, with DIRECTORY/base as /nix/store, the first INPUTS entries of
 * DIRECTORY/inputs read-only in it, and the devices and files of a build, runs DIRECTORY/shell. Its mount points in
 * the base are made once, before. Prints the seconds that all took, set-up and tear-down together. */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLONE_TREE 1
#define RECURSIVE 0x8000
#define EMPTY_PATH 0x1000
#define FROM_EMPTY 4
#define READ_ONLY 1
#define NOSUID 2
#define NODEV 4

static const char *directory;
static char **inputs;
static int input_count;

static int checked(long result, const char *what) {
    if (result < 0) err(1, "%s", what);
    return result;
}

static void write_file(const char *path, const char *text) {
    int fd = checked(open(path, O_WRONLY | O_CREAT, 0444), path);
    checked(write(fd, text, strlen(text)), path);
    close(fd);
}

static void attach(int mount, int at, const char *name) {
    checked(syscall(SYS_move_mount, mount, "", at, name, FROM_EMPTY), name);
    close(mount);
}

static void show(const char *source, int at, const char *name, uint64_t attributes) {
    int tree = checked(syscall(SYS_open_tree, AT_FDCWD, source, CLONE_TREE | RECURSIVE | O_CLOEXEC), source);
    struct { uint64_t set, clear, propagation, userns; } change = { attributes, 0, 0, 0 };
    checked(syscall(SYS_mount_setattr, tree, "", EMPTY_PATH | RECURSIVE, &change, sizeof change), source);
    attach(tree, at, name);
}

static int fresh(const char *kind, const char *option, const char *value) {
    int context = checked(syscall(SYS_fsopen, kind, 0), kind);
    if (option) checked(syscall(SYS_fsconfig, context, 1, option, value, 0), option);
    checked(syscall(SYS_fsconfig, context, 6, 0, 0, 0), kind);
    int mount = checked(syscall(SYS_fsmount, context, 0, NOSUID), kind);
    close(context);
    return mount;
}

static void make_file(int root, const char *name) { close(checked(openat(root, name, O_WRONLY | O_CREAT, 0444), name)); }

static void confine(void) {
    char path[4096];
    checked(syscall(SYS_mount_setattr, AT_FDCWD, "/", RECURSIVE, &(struct { uint64_t set, clear, propagation, userns; }){ 0, 0, 1 << 18, 0 }, 32), "private");
    int tree = fresh("tmpfs", "mode", "755");
    checked(syscall(SYS_move_mount, tree, "", AT_FDCWD, "/", FROM_EMPTY), "/");
    static const char *made[] = { "nix", "nix/store", "tmp", "build", "dev", "dev/shm", "dev/pts", "proc", "etc", "bin" };
    for (unsigned i = 0; i < sizeof made / sizeof *made; i++) checked(mkdirat(tree, made[i], 0755), made[i]);
    snprintf(path, sizeof path, "%s/base", directory);
    show(path, tree, "nix/store", NOSUID | NODEV);
    int base = checked(openat(tree, "nix/store", O_PATH | O_DIRECTORY), "nix/store");
    for (int i = 0; i < input_count; i++) {
        snprintf(path, sizeof path, "%s/inputs/%s", directory, inputs[i]);
        show(path, base, inputs[i], READ_ONLY | NOSUID | NODEV);
    }
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, i ? "build" : "tmp");
        show(path, tree, i ? "build" : "tmp", NOSUID | NODEV);
    }
    static const char *devices[] = { "dev/full", "dev/null", "dev/random", "dev/tty", "dev/urandom", "dev/zero" };
    for (int i = 0; i < 6; i++) {
        make_file(tree, devices[i]);
        snprintf(path, sizeof path, "/%s", devices[i]);
        show(path, tree, devices[i], NOSUID);
    }
    static const char *links[] = { "dev/fd", "dev/stdin", "dev/stdout", "dev/stderr", "dev/ptmx" };
    for (int i = 0; i < 5; i++) checked(symlinkat("/proc/self/fd", tree, links[i]), links[i]);
    attach(fresh("tmpfs", "size", "50%"), tree, "dev/shm");
    attach(fresh("devpts", "ptmxmode", "0666"), tree, "dev/pts");
    attach(fresh("proc", 0, 0), tree, "proc");
    int proc = checked(openat(tree, "proc", O_PATH | O_DIRECTORY), "proc");
    snprintf(path, sizeof path, "/proc/self/fd/%d/sys", proc);
    show(path, proc, "sys", READ_ONLY);
    show("/dev/null", proc, "keys", READ_ONLY);
    show("/dev/null", proc, "key-users", READ_ONLY);
    static const char *files[] = { "etc/passwd", "etc/group", "etc/hosts" };
    for (int i = 0; i < 3; i++) {
        int file = checked(openat(tree, files[i], O_WRONLY | O_CREAT, 0444), files[i]);
        checked(write(file, "nobody:x:65534:65534:Nobody:/:/noshell\n", 39), files[i]);
        close(file);
    }
    make_file(tree, "bin/sh");
    snprintf(path, sizeof path, "%s/shell", directory);
    show(path, tree, "bin/sh", READ_ONLY | NOSUID | NODEV);
    checked(sethostname("localhost", 9), "host name");
    struct ifreq lo = { .ifr_flags = IFF_UP | IFF_RUNNING };
    strcpy(lo.ifr_name, "lo");
    int sock = checked(socket(AF_INET, SOCK_DGRAM, 0), "socket");
    checked(ioctl(sock, SIOCSIFFLAGS, &lo), "loopback");
    checked(fchdir(tree), "root");
    checked(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    checked(syscall(SYS_umount2, ".", 2), "umount");
    checked(chdir("/build"), "/build");
}

static int by_name(const void *left, const void *right) { return strcmp(*(char **)left, *(char **)right); }

static void list(int most) {
    char path[4096];
    snprintf(path, sizeof path, "%s/inputs", directory);
    DIR *found = opendir(path);
    if (!found) err(1, "%s", path);
    int room = 0;
    for (struct dirent *entry; (entry = readdir(found));) {
        if (entry->d_name[0] == '.') continue;
        if (input_count == room) inputs = realloc(inputs, (room = room * 2 + 64) * sizeof *inputs);
        inputs[input_count++] = strdup(entry->d_name);
    }
    qsort(inputs, input_count, sizeof *inputs, by_name);
    if (input_count > most) input_count = most;
    for (int i = 0; i < input_count; i++) {
        snprintf(path, sizeof path, "%s/base/%s", directory, inputs[i]);
        if (mkdir(path, 0755) && errno != EEXIST) err(1, "%s", path);
    }
}

int main(int count, char **words) {
    if (count != 4) errx(2, "bare COUNT DIRECTORY INPUTS");
    directory = words[2];
    list(atoi(words[3]));
    /* As the launcher of builds does, once: an ordinary user becomes root of a user namespace. */
    if (getuid() != 0) {
        char map[64];
        int uid = getuid(), gid = getgid();
        checked(unshare(CLONE_NEWUSER), "user namespace");
        write_file("/proc/self/setgroups", "deny");
        snprintf(map, sizeof map, "0 %d 1", uid);
        write_file("/proc/self/uid_map", map);
        snprintf(map, sizeof map, "0 %d 1", gid);
        write_file("/proc/self/gid_map", map);
    }
    int times = atoi(words[1]);
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < times; i++) {
        struct { uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls; } how = {
            .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP,
            .exit_signal = SIGCHLD,
        };
        int pid = checked(syscall(SYS_clone3, &how, sizeof how), "clone3");
        if (pid == 0) {
            confine();
            checked(unshare(CLONE_NEWUSER), "builder's user namespace");
            execl("/bin/sh", "sh", "-c", ":", (char *)0);
            err(1, "/bin/sh");
        }
        int status;
        checked(waitpid(pid, &status, 0), "wait");
        if (status) errx(1, "a sandbox ended with %d", status);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%f\n", (end.tv_sec - start.tv_sec) + (end.tv_nsec - start.tv_nsec) / 1e9);
    return 0;
}
