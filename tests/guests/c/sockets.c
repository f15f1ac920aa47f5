// Every socket call of the C library for WASI 0.2, on the pod's own addresses: `ok` or `FAILED` for each, and what was
// found. It exits with 0 if none failed.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORT = 4730, BACKLOG = 16, WAIT_MILLIS = 10000 };

static int failures = 0;

static int check(int so, const char *what) {
    printf(so ? "ok %s\n" : "FAILED %s: %s\n", what, strerror(errno));
    failures += !so;
    errno = 0;
    return so;
}

union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

static socklen_t size_of(const union address *at) {
    return at->any.sa_family == AF_INET ? sizeof at->four : sizeof at->six;
}

// An address by its text; the port in the machine's order.
static union address address(const char *text, int port) {
    union address at = {0};
    if (inet_pton(AF_INET, text, &at.four.sin_addr) == 1) {
        at.four.sin_family = AF_INET;
        at.four.sin_port = htons(port);
    } else if (inet_pton(AF_INET6, text, &at.six.sin6_addr) == 1) {
        at.six.sin6_family = AF_INET6;
        at.six.sin6_port = htons(port);
    }
    return at;
}

static int port_of(const union address *at) {
    return ntohs(at->any.sa_family == AF_INET ? at->four.sin_port : at->six.sin6_port);
}

static int bound(int type, const char *text, int port) {
    union address at = address(text, port);
    int made = socket(at.any.sa_family, type, 0);
    if (made < 0) return -1;
    if (bind(made, &at.any, size_of(&at)) < 0) {
        int why = errno;
        close(made);
        errno = why;
        return -1;
    }
    return made;
}

static int connected(const char *text, int port) {
    union address at = address(text, port);
    int made = socket(at.any.sa_family, SOCK_STREAM, 0);
    if (made >= 0 && connect(made, &at.any, size_of(&at)) == 0) return made;
    int why = errno;
    if (made >= 0) close(made);
    errno = why;
    return -1;
}

static int ready(int descriptor, int events) {
    struct pollfd one = {.fd = descriptor, .events = events};
    return poll(&one, 1, WAIT_MILLIS) == 1 && (one.revents & events);
}

static void streams(const char *family, const char *any, const char *here) {
    char what[128];
#define CHECK(so, text) (snprintf(what, sizeof what, "%s: %s", family, text), check(so, what))
    int listener = bound(SOCK_STREAM, any, PORT);
    if (!CHECK(listener >= 0 && listen(listener, BACKLOG) == 0, "bind and listen")) return;
    errno = 0;
    CHECK(bound(SOCK_STREAM, any, PORT) < 0 && errno == EADDRINUSE, "a port is given once");
    union address own = {0};
    socklen_t length = sizeof own;
    CHECK(getsockname(listener, &own.any, &length) == 0 && port_of(&own) == PORT, "getsockname of a listener");
    int client = connected(here, PORT);
    if (!CHECK(client >= 0, "connect")) return;
    CHECK(ready(listener, POLLIN), "poll says that somebody waits");
    union address peer = {0};
    length = sizeof peer;
    int server = accept(listener, &peer.any, &length);
    if (!CHECK(server >= 0, "accept")) return;
    length = sizeof own;
    CHECK(getsockname(client, &own.any, &length) == 0 && port_of(&own) == port_of(&peer), "the peer is who connected");
    length = sizeof peer;
    CHECK(getpeername(client, &peer.any, &length) == 0 && port_of(&peer) == PORT, "getpeername");

    char text[64] = {0};
    CHECK(send(client, "ahoy", 4, 0) == 4 && ready(server, POLLIN), "send, and poll says that it is there");
    CHECK(recv(server, text, 4, 0) == 4 && memcmp(text, "ahoy", 4) == 0, "recv");
    CHECK(shutdown(client, SHUT_WR) == 0, "shutdown of one half");
    CHECK(recv(server, text, sizeof text, 0) == 0, "the other side reads the end");
    CHECK(send(server, "aye", 3, 0) == 3, "and still writes");
    fd_set set;
    FD_ZERO(&set);
    FD_SET(client, &set);
    struct timeval patience = {.tv_sec = WAIT_MILLIS / 1000};
    CHECK(select(client + 1, &set, NULL, NULL, &patience) == 1, "select");
    CHECK(recv(client, text, sizeof text, 0) == 3 && memcmp(text, "aye", 3) == 0, "which is read");

    int value = 1;
    length = sizeof value;
    CHECK(setsockopt(client, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value) == 0 &&
              getsockopt(client, SOL_SOCKET, SO_KEEPALIVE, &value, &length) == 0 && value == 1,
          "SO_KEEPALIVE");
    length = sizeof value;
    CHECK(getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value == 1, "SO_ACCEPTCONN");
    length = sizeof value;
    CHECK(getsockopt(client, SOL_SOCKET, SO_ERROR, &value, &length) == 0 && value == 0, "SO_ERROR");
    value = 65536;
    CHECK(setsockopt(client, SOL_SOCKET, SO_RCVBUF, &value, sizeof value) == 0, "SO_RCVBUF");
    CHECK(fcntl(listener, F_SETFL, O_NONBLOCK) == 0 && accept(listener, NULL, NULL) < 0 && errno == EAGAIN,
          "a listener that does not block");
    errno = 0;
    close(server);
    close(client);
    close(listener);
    CHECK(connected(here, PORT) < 0 && errno == ECONNREFUSED, "a port that is closed refuses");
    errno = 0;
    listener = bound(SOCK_STREAM, any, 0);
    length = sizeof own;
    CHECK(listener >= 0 && getsockname(listener, &own.any, &length) == 0 && port_of(&own) != 0, "any port");
    close(listener);
}

static void datagrams(const char *family, const char *any, const char *here) {
    char what[128], text[64];
    int server = bound(SOCK_DGRAM, any, PORT), client = bound(SOCK_DGRAM, any, 0);
    if (!CHECK(server >= 0 && client >= 0, "bind of datagrams")) return;
    union address at = address(here, PORT), from = {0};
    socklen_t length = sizeof from;
    CHECK(sendto(client, "ahoy", 4, 0, &at.any, size_of(&at)) == 4 && ready(server, POLLIN), "sendto");
    CHECK(recvfrom(server, text, sizeof text, 0, &from.any, &length) == 4, "recvfrom");
    CHECK(sendto(server, "aye", 3, 0, &from.any, length) == 3, "an answer");
    length = sizeof from;
    CHECK(recvfrom(client, text, sizeof text, 0, &from.any, &length) == 3 && port_of(&from) == PORT, "its sender");
    CHECK(connect(client, &at.any, size_of(&at)) == 0, "connect of datagrams");
    length = sizeof from;
    CHECK(getpeername(client, &from.any, &length) == 0 && port_of(&from) == PORT, "getpeername of datagrams");
    CHECK(send(client, "x", 1, 0) == 1 && recv(server, text, sizeof text, 0) == 1, "send and recv of datagrams");
    close(client);
    close(server);
}

static void names(const char *own) {
    struct addrinfo wanted = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    check(getaddrinfo("localhost", "80", &wanted, &found) == 0, "getaddrinfo of localhost");
    int four = 0, six = 0;
    for (struct addrinfo *one = found; one != NULL; one = one->ai_next) {
        four += one->ai_family == AF_INET;
        six += one->ai_family == AF_INET6;
    }
    check(four == 1 && six == 1, "localhost has an address of each family");
    freeaddrinfo(found);
    check(getaddrinfo("nobody.default", "80", &wanted, &found) != 0, "a name that nobody has");
    wanted.ai_family = AF_INET;
    if (!check(getaddrinfo(own, "4730", &wanted, &found) == 0, "getaddrinfo of the pod's own name")) return;
    int listener = bound(SOCK_STREAM, "0.0.0.0", PORT), client = socket(AF_INET, SOCK_STREAM, 0);
    check(listen(listener, BACKLOG) == 0 && connect(client, found->ai_addr, found->ai_addrlen) == 0,
          "the pod is reached by its own name");
    union address peer = {0};
    socklen_t length = sizeof peer;
    int server = accept(listener, &peer.any, &length);
    check(server >= 0 && peer.four.sin_addr.s_addr == ((struct sockaddr_in *)found->ai_addr)->sin_addr.s_addr,
          "and known by its own address");
    close(server);
    close(client);
    close(listener);
    freeaddrinfo(found);
}

int main(void) {
    const char *own = getenv("HOSTNAME");
    streams("IPv4", "0.0.0.0", "127.0.0.1");
    streams("IPv6", "::", "::1");
    streams("IPv6 found by IPv4", "::", "127.0.0.1");
    datagrams("IPv4", "0.0.0.0", "127.0.0.1");
    datagrams("IPv6", "::", "::1");
    names(own ? own : "localhost");
    int six = bound(SOCK_STREAM, "::", PORT), four = bound(SOCK_STREAM, "0.0.0.0", PORT);
    check(six >= 0 && four >= 0 && listen(six, BACKLOG) == 0 && listen(four, BACKLOG) == 0,
          "both families have the same port, IPv6 first");
    printf("%d failed\n", failures);
    return failures != 0;
}
