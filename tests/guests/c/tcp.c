// A TCP server in C, for WASI 0.2: it answers each line in capitals, and is a client of another such server if asked.
//
//     tcp serve PORT         answers connections one after the other, for ever
//     tcp ask HOST PORT ...  looks the name up, sends each further argument as a line, and prints the answers
#include <arpa/inet.h>
#include <ctype.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINE_BYTES = 1024, BACKLOG = 16 };

static int failed(const char *what) {
    perror(what);
    return 1;
}

static int serve(int port) {
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0) return failed("socket");
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_ANY)};
    if (bind(listener, (struct sockaddr *)&own, sizeof own) < 0) return failed("bind");
    if (listen(listener, BACKLOG) < 0) return failed("listen");
    printf("listening on port %d\n", port);
    fflush(stdout);
    for (;;) {
        int peer = accept(listener, NULL, NULL);
        if (peer < 0) return failed("accept");
        char text[LINE_BYTES];
        ssize_t length;
        while ((length = read(peer, text, sizeof text)) > 0) {
            for (ssize_t i = 0; i < length; i++) text[i] = toupper((unsigned char)text[i]);
            if (write(peer, text, length) != length) break;
        }
        close(peer);
    }
}

static int ask(const char *host, const char *port, int lines, char **line) {
    struct addrinfo wanted = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(host, port, &wanted, &found);
    if (error != 0) {
        fprintf(stderr, "cannot find %s: %s\n", host, gai_strerror(error));
        return 2;
    }
    int server = socket(found->ai_family, found->ai_socktype, 0);
    if (server < 0) return failed("socket");
    if (connect(server, found->ai_addr, found->ai_addrlen) < 0) return failed("connect");
    freeaddrinfo(found);
    FILE *answers = fdopen(server, "r");
    if (answers == NULL) return failed("fdopen");
    for (int i = 0; i < lines; i++) {
        dprintf(server, "%s\n", line[i]);
        char text[LINE_BYTES];
        if (fgets(text, sizeof text, answers) == NULL) return failed("read");
        printf("%s says %s", host, text);
    }
    fclose(answers);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "serve") == 0) return serve(atoi(argv[2]));
    if (argc >= 4 && strcmp(argv[1], "ask") == 0) return ask(argv[2], argv[3], argc - 4, argv + 4);
    fprintf(stderr, "usage: tcp serve PORT | tcp ask HOST PORT LINE...\n");
    return 64;
}
