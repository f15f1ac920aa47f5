/*
 * Disk: does to files what its arguments say, one step each, and prints what came of it.
 *
 * Invariant: a step that fails is told with its reason and the next one follows; it always ends with 0,
 * unless a step is not known. What a volume allows and what not is read off its output.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A step is a few words: a verb, a path, and for some the rest of the line. */
enum { WORDS = 3 };

/* The most that is read of a file and shown. */
enum { SHOWN = 4096 };

/* How often a file is looked at that is waited for. */
enum { LOOK_NANOSECONDS = 10 * 1000 * 1000 };

/* What a large file is written in, and what a small write is. */
enum { PIECE = 64 * 1024, SMALL = 100 };

static void pause_for(time_t seconds, long nanoseconds) {
    struct timespec time = {seconds, nanoseconds};
    nanosleep(&time, NULL);
}

/* Reads the beginning of a file as text. Returns how many bytes, or -1. */
static ssize_t read_text(const char *path, char *text, size_t size) {
    int file = open(path, O_RDONLY);
    if (file < 0) return -1;
    ssize_t length = read(file, text, size - 1);
    int error = errno;
    close(file);
    errno = error;
    if (length >= 0) text[length] = '\0';
    return length;
}

static int write_text(const char *path, int flags, const char *text) {
    int file = open(path, O_WRONLY | O_CREAT | flags, 0644);
    if (file < 0) return -1;
    ssize_t wrote = write(file, text, strlen(text));
    int error = errno;
    if (wrote >= 0 && fsync(file) < 0) wrote = -1, error = errno;
    close(file);
    errno = error;
    return wrote < 0 ? -1 : 0;
}

/* Writes so many MiB, and stops at the first byte that finds no place. */
static int fill(const char *path, long mebibytes) {
    static char piece[PIECE];
    memset(piece, 'x', sizeof piece);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0) return -1;
    ssize_t wrote = 0;
    for (long i = 0; i < mebibytes * (1 << 20) / PIECE && wrote >= 0; i++) wrote = write(file, piece, sizeof piece);
    int error = errno;
    close(file);
    errno = error;
    return wrote < 0 ? -1 : 0;
}

/* A file of so many bytes of which none is written. */
static int sparse(const char *path, long long bytes) {
    int file = open(path, O_WRONLY | O_CREAT, 0644);
    if (file < 0) return -1;
    int result = ftruncate(file, bytes);
    close(file);
    return result;
}

/* A directory in a directory in a directory, so deep, gone into step by step as paths have a longest length. */
static int deep(const char *path, long levels) {
    int at = open(path, O_RDONLY | O_DIRECTORY);
    for (long i = 0; i < levels && at >= 0; i++) {
        int below = mkdirat(at, "d", 0755) == 0 || errno == EEXIST ? openat(at, "d", O_RDONLY | O_DIRECTORY) : -1;
        close(at);
        at = below;
    }
    if (at < 0) return -1;
    close(at);
    return 0;
}

static int many(const char *path, long count) {
    char name[SHOWN];
    for (long i = 0; i < count; i++) {
        if (snprintf(name, sizeof name, "%s/%ld", path, i) >= (int)sizeof name) return errno = ENAMETOOLONG, -1;
        int file = open(name, O_WRONLY | O_CREAT, 0644);
        if (file < 0) return -1;
        close(file);
    }
    return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static int no_dots(const struct dirent *entry) { return entry->d_name[0] != '.'; }

/* The names in a directory, sorted, without those that begin with a dot. */
static int list(const char *path, char *text, size_t size) {
    struct dirent **entries;
    int count = scandir(path, &entries, no_dots, by_name);
    text[0] = '\0';
    for (int i = 0; i < count; i++) {
        size_t length = strlen(text);
        snprintf(text + length, size - length, "%s%s", i > 0 ? " " : "", entries[i]->d_name);
    }
    return count < 0 ? -1 : 0;
}

static int show_link(const char *path, char *text, size_t size) {
    ssize_t length = readlink(path, text, size - 1);
    text[length < 0 ? 0 : length] = '\0';
    return length < 0 ? -1 : 0;
}

/* One turn of what is timed, on a file that is open. Returns less than 0 if it fails. */
typedef ssize_t turn(int file, const char *path);

static char block[PIECE];

static ssize_t write_small(int file, const char *path) { return (void)path, write(file, block, SMALL); }
static ssize_t write_large(int file, const char *path) { return (void)path, write(file, block, PIECE); }
static ssize_t read_small(int file, const char *path) { return (void)path, pread(file, block, SMALL, 0); }
static ssize_t read_large(int file, const char *path) { return (void)path, pread(file, block, PIECE, 0); }

static ssize_t write_and_sync(int file, const char *path) {
    return write_small(file, path) < 0 ? -1 : fsync(file);
}

static ssize_t create_and_remove(int file, const char *path) {
    static char name[SHOWN];
    (void)file;
    snprintf(name, sizeof name, "%s.new", path);
    int created = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (created < 0) return -1;
    close(created);
    return unlink(name);
}

static ssize_t look(int file, const char *path) {
    struct stat found;
    return (void)file, stat(path, &found);
}

static const struct {
    const char *name;
    turn *turn;
} timed[] = {
    {"time-write-small", write_small}, {"time-write-large", write_large}, {"time-read-small", read_small},
    {"time-read-large", read_large},   {"time-sync", write_and_sync},     {"time-create", create_and_remove},
    {"time-stat", look},
};

/* Does it so often and tells the nanoseconds of one turn. */
static int measure(turn *turn, const char *path, long count, char *text, size_t size) {
    struct timespec begin, end;
    int file = open(path, O_RDWR | O_CREAT, 0644);
    ssize_t done = file < 0 ? -1 : 0;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long i = 0; i < count && done >= 0; i++) done = turn(file, path);
    int error = errno;
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (file >= 0) close(file);
    errno = error;
    double nanoseconds = (double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec);
    snprintf(text, size, "%.0f ns", nanoseconds / (double)(count > 0 ? count : 1));
    return done < 0 ? -1 : 0;
}

/* Returns when the file holds the text: it never gives up, that is for whoever looks at the pod. */
static int until(const char *path, const char *text) {
    static char found[SHOWN];
    while (read_text(path, found, sizeof found) < 0 || strcmp(found, text) != 0) pause_for(0, LOOK_NANOSECONDS);
    return 0;
}

/* Does one step. Returns 0, or -1 with errno; what there is to show is in text. */
static int step(char *words[WORDS], char *text, size_t size) {
    const char *verb = words[0], *path = words[1], *rest = words[2];
    if (!strcmp(verb, "read")) return read_text(path, text, size) < 0 ? -1 : 0;
    if (!strcmp(verb, "write")) return write_text(path, O_TRUNC, rest);
    if (!strcmp(verb, "append")) return write_text(path, O_APPEND, rest);
    if (!strcmp(verb, "list")) return list(path, text, size);
    if (!strcmp(verb, "mkdir")) return mkdir(path, 0755);
    if (!strcmp(verb, "rmdir")) return rmdir(path);
    if (!strcmp(verb, "remove")) return unlink(path);
    if (!strcmp(verb, "symlink")) return symlink(rest, path);
    if (!strcmp(verb, "readlink")) return show_link(path, text, size);
    if (!strcmp(verb, "link")) return link(path, rest);
    if (!strcmp(verb, "rename")) return rename(path, rest);
    if (!strcmp(verb, "truncate")) return truncate(path, atoll(rest));
    if (!strcmp(verb, "fill")) return fill(path, atol(rest));
    if (!strcmp(verb, "sparse")) return sparse(path, atoll(rest));
    if (!strcmp(verb, "deep")) return deep(path, atol(rest));
    if (!strcmp(verb, "many")) return many(path, atol(rest));
    if (!strcmp(verb, "until")) return until(path, rest);
    for (size_t i = 0; i < sizeof timed / sizeof *timed; i++) {
        if (!strcmp(verb, timed[i].name)) return measure(timed[i].turn, path, atol(rest), text, size);
    }
    fprintf(stderr, "disk: there is no step '%s'\n", verb);
    exit(2);
}

int main(int count, char **arguments) {
    static char text[SHOWN];
    for (int i = 1; i < count; i++) {
        char *words[WORDS] = {arguments[i], "", ""};
        printf("%s: ", arguments[i]);
        if (!strcmp(arguments[i], "hold")) {
            puts("holding");
            fflush(stdout);
            for (;;) pause_for(3600, 0);
        }
        for (int word = 1; word < WORDS; word++) {
            char *space = strchr(words[word - 1], ' ');
            if (space == NULL) break;
            *space = '\0';
            words[word] = space + 1;
        }
        fflush(stdout);
        text[0] = '\0';
        if (step(words, text, sizeof text) == 0) {
            printf("ok%s%s\n", text[0] ? " " : "", text);
        } else {
            printf("%s\n", strerror(errno));
        }
        fflush(stdout);
    }
    return 0;
}
