/*
 * Files: shows what a pod is given (arguments, environment, directories), writes to it and reads it back.
 *
 * Invariant: it ends with 0 only if every byte it wrote was read back the same; "exit N" among the
 * arguments makes it end with N instead, once all went well.
 */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

extern char **environ;

/* The name of the file that is written in each directory. */
static const char FILE_NAME[] = "coracle.txt";

/* The most that is shown of a file: a ConfigMap holds up to 1 MiB, a log line should not. */
enum { SHOWN = 4096 };

/* The longest path we name; several stand on the stack, which is 64 KiB by default. */
enum { PATH = 1024 };

/* Says what could not be done and why, and ends. */
static void fail(const char *what, const char *path) {
    fprintf(stderr, "files: cannot %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

/* Joins a directory and a name; a path that does not fit ends the program rather than being cut. */
static void join(char *path, size_t size, const char *directory, const char *name) {
    size_t length = strlen(directory);
    const char *slash = length > 0 && directory[length - 1] == '/' ? "" : "/";
    int needed = snprintf(path, size, "%s%s%s", directory, slash, name);
    if (needed < 0 || (size_t)needed >= size) {
        errno = ENAMETOOLONG;
        fail("name a file in", directory);
    }
}

/* Reads the beginning of a file as text: at most size - 1 bytes and a NUL. Returns how many bytes. */
static size_t read_text(const char *path, char *text, size_t size) {
    FILE *file = fopen(path, "r");
    if (file == NULL) fail("open", path);
    size_t length = fread(text, 1, size - 1, file);
    if (ferror(file)) fail("read", path);
    fclose(file);
    text[length] = '\0';
    return length;
}

/* Writes a file in the directory and proves that it reads back the same. */
static void write_and_read(const char *directory) {
    char path[PATH], wrote[2 * PATH], read[sizeof wrote + 1];
    join(path, sizeof path, directory, FILE_NAME);
    snprintf(wrote, sizeof wrote, "written to %s", path);

    FILE *file = fopen(path, "w");
    if (file == NULL) fail("create", path);
    if (fputs(wrote, file) == EOF) fail("write", path);
    /* What a full directory refuses may show only when the last bytes are flushed. */
    if (fclose(file) == EOF) fail("write", path);
    printf("wrote %s: %s\n", path, wrote);

    read_text(path, read, sizeof read);
    printf("read %s: %s\n", path, read);
    if (strcmp(wrote, read) != 0) {
        fprintf(stderr, "files: %s is not as it was written\n", path);
        exit(1);
    }
}

static int by_text(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static void print_environment(void) {
    size_t count = 0;
    while (environ[count] != NULL) count++;
    qsort(environ, count, sizeof *environ, by_text);
    for (size_t i = 0; i < count; i++) printf("env %s\n", environ[i]);
}

/* Prints one line for each file of the directory, in the order of their names. */
static void print_directory(const char *directory) {
    DIR *stream = opendir(directory);
    if (stream == NULL) fail("open", directory);
    char **names = NULL;
    size_t count = 0, room = 0;
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        /* Names such as "..data" are how a mounted volume is swapped in one go; the files stand beside them. */
        if (strcmp(entry->d_name, ".") == 0 || strncmp(entry->d_name, "..", 2) == 0) continue;
        if (count == room) {
            room = room == 0 ? 16 : 2 * room;
            names = realloc(names, room * sizeof *names);
            if (names == NULL) fail("list", directory);
        }
        names[count] = strdup(entry->d_name);
        if (names[count] == NULL) fail("list", directory);
        count++;
    }
    closedir(stream);
    if (count > 0) qsort(names, count, sizeof *names, by_text);

    for (size_t i = 0; i < count; i++) {
        char path[PATH], text[SHOWN];
        struct stat status;
        join(path, sizeof path, directory, names[i]);
        if (stat(path, &status) != 0) fail("look at", path);
        if (S_ISREG(status.st_mode)) {
            size_t length = read_text(path, text, sizeof text);
            /* A value that ends its own line would make an empty one here. */
            if (length > 0 && text[length - 1] == '\n') text[length - 1] = '\0';
            printf("config %s: %s\n", names[i], text);
        }
        free(names[i]);
    }
    free(names);
}

/* The N of "exit N" among the arguments; 0 where there is none. */
static int exit_code(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "exit") != 0) continue;
        const char *number = i + 1 < argc ? argv[i + 1] : "";
        char *end;
        long code = strtol(number, &end, 10);
        if (end == number || *end != '\0' || code < 0 || code > 255) {
            fprintf(stderr, "files: exit wants a number from 0 to 255, not \"%s\"\n", number);
            exit(2);
        }
        return (int)code;
    }
    return 0;
}

int main(int argc, char **argv) {
    int code = exit_code(argc, argv);
    for (int i = 0; i < argc; i++) printf("arg %d: %s\n", i, argv[i]);
    print_environment();

    write_and_read("/");
    const char *data = getenv("DATA_DIR");
    if (data != NULL) write_and_read(data);
    const char *config = getenv("CONFIG_DIR");
    if (config != NULL) print_directory(config);

    fprintf(stderr, "files: done, ending with %d\n", code);
    return code;
}
