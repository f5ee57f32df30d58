/* Cuts the power of a file system: what has not reached its disk by now is lost, and its log is not flushed.
 *
 *   cut DIRECTORY
 *
 * ext4 and xfs have the same call for it. */
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define GOING_DOWN _IOR('X', 125, uint32_t)

int main(int argc, char **argv) {
    uint32_t without_log = 2;
    if (argc != 2) errx(1, "usage: cut DIRECTORY");
    int directory = open(argv[1], O_RDONLY | O_DIRECTORY);
    if (directory < 0 || ioctl(directory, GOING_DOWN, &without_log) != 0) err(1, "%s", argv[1]);
    return 0;
}
