/* The ceiling: what is left of a storage SCP that does nothing else. C, blocking, a thread for each association, the
 * system's OpenSSL; fragments go from TLS straight to a file. It checks nothing that a peer could get wrong.
 * cc -O2 -pthread -o sink sink.c -lssl -lcrypto; sink PORT STORE KEYS MAXIMUM_LENGTH */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM 131072
#define UID 64
enum { ASSOCIATE_RQ = 1, ASSOCIATE_AC = 2, P_DATA_TF = 4, RELEASE_RQ = 5, RELEASE_RP = 6 };
enum { COMMAND = 1, LAST = 2 }; /* message control header (PS3.8 E.2) */

struct peer {
    SSL *tls;
    size_t at, end; /* what is in the room and was not taken yet */
    unsigned char room[ROOM];
    char syntaxes[256][UID + 1]; /* the transfer syntax of each presentation context */
};

struct command { /* PS3.7 E.1: of each request what its response repeats */
    uint16_t field, message_id, data_set_type;
    char sop_class[UID + 2], sop_instance[UID + 2];
};

static SSL_CTX *context;
static const char *store;
static uint32_t maximum_length;

/* Numbers in bytes */
static size_t big(const unsigned char *from, int size) {
    size_t value = 0;
    while (size--) value = value << 8 | *from++;
    return value;
}
static size_t little(const unsigned char *from, int size) {
    size_t value = 0;
    while (size--) value = value << 8 | from[size];
    return value;
}
static unsigned char *put_big(unsigned char *to, size_t value, int size) {
    for (int place = size; place--; value >>= 8) to[place] = value;
    return to + size;
}
static unsigned char *put_little(unsigned char *to, size_t value, int size) {
    for (int place = 0; place < size; place++, value >>= 8) to[place] = value;
    return to + size;
}

/* Bytes from the peer and to it */
static int fill(struct peer *peer, size_t wanted) { /* until so many are there, at most ROOM */
    memmove(peer->room, peer->room + peer->at, peer->end - peer->at);
    peer->end -= peer->at;
    peer->at = 0;
    while (peer->end < wanted) {
        int size = SSL_read(peer->tls, peer->room + peer->end, ROOM - peer->end);
        if (size <= 0) return 0;
        peer->end += size;
    }
    return 1;
}
static unsigned char *take(struct peer *peer, size_t size) {
    if (size > ROOM || (peer->end - peer->at < size && !fill(peer, size))) return NULL;
    peer->at += size;
    return peer->room + peer->at - size;
}
static int take_to_file(struct peer *peer, size_t size, int file) {
    while (size) {
        if (peer->at == peer->end && !fill(peer, size < ROOM ? size : ROOM)) return 0;
        size_t there = peer->end - peer->at < size ? peer->end - peer->at : size;
        if (write(file, peer->room + peer->at, there) != (ssize_t)there) return 0;
        peer->at += there;
        size -= there;
    }
    return 1;
}
static int send_all(struct peer *peer, const unsigned char *from, const unsigned char *end) {
    return SSL_write(peer->tls, from, end - from) == end - from;
}

/* A-ASSOCIATE: every context is accepted with the first transfer syntax that is proposed (PS3.8 9.3.3) */
static unsigned char *accept_context(struct peer *peer, const unsigned char *item, unsigned char *to) {
    const unsigned char *abstract = item + 8, *transfer = abstract + 4 + big(abstract + 2, 2);
    size_t length = big(transfer + 2, 2);
    snprintf(peer->syntaxes[item[4]], UID + 1, "%.*s", (int)length, transfer + 4);
    memcpy(to, "\x21\0\0\0", 4);
    put_big(to + 2, 8 + length, 2);
    memset(to + 4, 0, 4);
    to[4] = item[4];
    memcpy(to + 8, transfer, 4 + length);
    return to + 12 + length;
}
static int associate(struct peer *peer, size_t length) {
    unsigned char *request = take(peer, length), answer[ROOM], *to = answer + 74;
    if (!request || length < 68) return 0;
    memset(answer, 0, 6);
    answer[0] = ASSOCIATE_AC;
    memcpy(answer + 6, request, 68);
    for (size_t at = 68; at + 4 <= length; at += 4 + big(request + at + 2, 2)) {
        if (request[at] == 0x20) to = accept_context(peer, request + at, to);
        if (request[at] == 0x10) /* the application context as it is */
            to = (unsigned char *)memcpy(to, request + at, 4 + big(request + at + 2, 2)) + 4 + big(request + at + 2, 2);
    }
    memcpy(to, "\x50\0\0\x12\x51\0\0\4\0\0\0\0\x52\0\0\6" "1.2.34", 22); /* maximum length, implementation class UID */
    put_big(to + 8, maximum_length, 4);
    to += 22;
    put_big(answer + 2, to - answer - 6, 4);
    return send_all(peer, answer, to);
}

/* DIMSE (PS3.7 6.3.1) */
static void read_command(struct command *command, const unsigned char *from, size_t length) {
    memset(command, 0, sizeof *command);
    for (size_t at = 0; at + 8 <= length; at += 8 + little(from + at + 4, 4)) {
        const unsigned char *value = from + at + 8;
        int size = little(from + at + 4, 4);
        switch (little(from + at + 2, 2)) {
        case 0x0002: snprintf(command->sop_class, UID + 1, "%.*s", size, value); break;
        case 0x0100: command->field = little(value, 2); break;
        case 0x0110: command->message_id = little(value, 2); break;
        case 0x0800: command->data_set_type = little(value, 2); break;
        case 0x1000: snprintf(command->sop_instance, UID + 1, "%.*s", size, value); break;
        }
    }
}
static unsigned char *put_number(unsigned char *to, uint16_t number, size_t value, int size) {
    return put_little(put_little(put_little(to, (size_t)number << 16, 4), size, 4), value, size);
}
static unsigned char *put_uid(unsigned char *to, uint32_t tag, const char *vr, const char *uid) { /* vr "": implicit */
    size_t size = (strlen(uid) + 1) & ~1u;
    to = put_little(to, tag >> 16 | tag << 16, 4);
    memcpy(to, vr, strlen(vr));
    to = put_little(to + strlen(vr), size, *vr ? 2 : 4);
    memcpy(to, uid, size); /* with the NUL that ends the string, where it is odd */
    return to + size;
}
static int respond(struct peer *peer, unsigned char context_id, const struct command *command) {
    unsigned char answer[512], *first = answer + 12, *to = put_uid(first + 12, 0x0002, "", command->sop_class);
    to = put_number(put_number(to, 0x0100, command->field | 0x8000, 2), 0x0120, command->message_id, 2);
    to = put_number(put_number(to, 0x0800, 0x0101, 2), 0x0900, 0x0000, 2); /* no data set, Success */
    if (*command->sop_instance) to = put_uid(to, 0x1000, "", command->sop_instance);
    put_number(first, 0x0000, to - first - 12, 4);
    answer[0] = P_DATA_TF, answer[1] = 0;
    put_big(put_big(answer + 2, to - answer - 6, 4), to - answer - 10, 4);
    answer[10] = context_id, answer[11] = COMMAND | LAST;
    return send_all(peer, answer, to);
}

/* A Part 10 file, as far as the data set (PS3.10 7.1) */
static int open_file(const struct command *command, const char *syntax) {
    char path[4096];
    unsigned char head[512] = {0}, *first = head + 144, *to = first;
    snprintf(path, sizeof path, "%s/%s.dcm", store, command->sop_instance);
    memcpy(head + 128, "DICM\2\0\0\0UL\4\0", 12);
    memcpy(to, "\2\0\1\0OB\0\0\2\0\0\0\0\1", 14);
    to = put_uid(to + 14, 0x00020002, "UI", command->sop_class);
    to = put_uid(put_uid(to, 0x00020003, "UI", command->sop_instance), 0x00020010, "UI", syntax);
    put_little(head + 140, to - first, 4);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file >= 0 && write(file, head, to - head) != to - head) abort();
    return file;
}

/* One association, and the next */
static int receive(struct peer *peer, size_t length, struct command *command, int *file) {
    while (length) {
        unsigned char *item = take(peer, 6);
        if (!item) return 0;
        size_t size = big(item, 4) - 2;
        unsigned char context_id = item[4], control = item[5];
        length -= size + 6;
        if (control & COMMAND) { /* never in several fragments from our client */
            unsigned char *set = take(peer, size);
            if (!set) return 0;
            read_command(command, set, size);
            if (command->data_set_type == 0x0101 && !respond(peer, context_id, command)) return 0;
            continue;
        }
        if (*file < 0 && (*file = open_file(command, peer->syntaxes[context_id])) < 0) return 0;
        if (!take_to_file(peer, size, *file)) return 0;
        if (control & LAST) {
            close(*file);
            *file = -1;
            if (!respond(peer, context_id, command)) return 0;
        }
    }
    return 1;
}
static void *serve(void *argument) {
    struct peer *peer = calloc(1, sizeof *peer);
    struct command command = {0};
    int connection = (int)(intptr_t)argument, file = -1, yes = 1, open = 1;
    unsigned char *header;
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    peer->tls = SSL_new(context);
    SSL_set_fd(peer->tls, connection);
    for (open = SSL_accept(peer->tls) == 1; open && (header = take(peer, 6));) {
        size_t length = big(header + 2, 4);
        if (header[0] == ASSOCIATE_RQ) open = associate(peer, length);
        else if (header[0] == P_DATA_TF) open = receive(peer, length, &command, &file);
        else if (header[0] == RELEASE_RQ && take(peer, length)) {
            static const unsigned char answer[10] = {RELEASE_RP, 0, 0, 0, 0, 4};
            open = send_all(peer, answer, answer + sizeof answer);
        } else open = 0;
    }
    if (file >= 0) close(file);
    SSL_shutdown(peer->tls);
    SSL_free(peer->tls);
    close(connection);
    free(peer);
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 5) return 2;
    store = arguments[2], maximum_length = strtoul(arguments[4], NULL, 10);
    signal(SIGPIPE, SIG_IGN);
    context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"sink", 4);
    SSL_CTX_set_read_ahead(context, 1); /* as many records as there are, with one read of the socket */
    SSL_CTX_set_default_read_buffer_len(context, ROOM);
    if (chdir(arguments[3]) || SSL_CTX_load_verify_locations(context, "ca.pem", NULL) != 1 ||
        SSL_CTX_use_certificate_chain_file(context, "server.pem") != 1 ||
        SSL_CTX_use_PrivateKey_file(context, "server.key", SSL_FILETYPE_PEM) != 1) return 1;
    struct sockaddr_in address = {AF_INET, htons(atoi(arguments[1])), {htonl(INADDR_LOOPBACK)}, {0}};
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listening, (struct sockaddr *)&address, sizeof address) || listen(listening, 1024)) return 1;
    for (;;) {
        int connection = accept(listening, NULL, NULL);
        pthread_t thread;
        if (connection < 0 || pthread_create(&thread, NULL, serve, (void *)(intptr_t)connection)) return 1;
        pthread_detach(thread);
    }
}
