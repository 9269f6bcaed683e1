/* A web server that tells how it is: a page at /, the same as JSON at /status.json.
 *
 *   --ipv4=ADDR/LEN      its address
 *   --ipv4-gateway=ADDR  the way to other networks
 *   --port=N             where it listens (80)
 *
 * Status: 2 if an option is missing or wrong. */
#include "boot.h"
#include "console.h"
#include "hypercall.h"
#include "manifest.h"
#include "memory.h"
#include "net.h"
#include "options.h"
#include "runtime.h"
#include "web/http.h"
#include "web/page.h"

GUEST_MANIFEST(NET_DEVICE("net"));

enum {
    HEAD_MAX = 8192,
    REPLY_HEAD_MAX = 512,
    REPLY_MAX = REPLY_HEAD_MAX + PAGE_MAX,
};

struct visitor {
    uint64_t skip; /* bytes of a body */
    size_t used;
    char head[HEAD_MAX]; /* of the request that is arriving */
    bool close;
};

static struct visitor visitors[TCP_CONNECTIONS];
static uint64_t connections, requests;

static struct page *make_page(const struct http_request *request, int *status)
{
    static struct page page;
    struct status now = {net_now() / 1000000, requests, hypercall_generation(), connections};
    bool readable = text_equal(request->method, "GET") || text_equal(request->method, "HEAD");
    *status = request->status;
    if (*status == 200 && text_equal(request->path, "*"))
        *status = 405;
    else if (*status == 200 && !page_make(&page, request->path, &now))
        *status = 404;
    else if (*status == 200 && !readable)
        *status = 405;
    if (*status != 200) {
        page.type = "text/plain";
        page.length = format(page.content, sizeof page.content, "%s\n", status_text(*status));
    }
    return &page;
}

static void answer(struct tcp *connection, const struct http_request *request)
{
    requests++;
    int status;
    const struct page *page = make_page(request, &status);
    char head[REPLY_HEAD_MAX];
    size_t length = format(head, sizeof head,
                           "HTTP/1.1 %s\r\n"
                           "Content-Type: %s\r\n"
                           "Content-Length: %lu\r\n"
                           "Cache-Control: no-store\r\n"
                           "%s"
                           "Connection: %s\r\n"
                           "\r\n",
                           status_text(status), page->type, page->length,
                           status == 405 ? "Allow: GET, HEAD\r\n" : "",
                           request->close ? "close" : "keep-alive");
    tcp_write(connection, head, length);
    if (!text_equal(request->method, "HEAD"))
        tcp_write(connection, page->content, page->length);
}

/* The head ends with an empty line; empty lines in front of it do not count. */
static bool head_complete(const struct visitor *visitor)
{
    const char *end = visitor->head + visitor->used;
    return visitor->used >= 3 && end[-1] == '\n' &&
           (end[-2] == '\n' || (end[-2] == '\r' && end[-3] == '\n'));
}

/* Moves received bytes into `head`; returns how many. */
static size_t collect(struct visitor *visitor, const uint8_t *data, size_t length)
{
    size_t at = 0;
    while (at < length && visitor->used < HEAD_MAX && !head_complete(visitor)) {
        char c = (char)data[at++];
        if (visitor->used || (c != '\r' && c != '\n'))
            visitor->head[visitor->used++] = c;
    }
    return at;
}

static void take(struct tcp *connection, struct visitor *visitor, const uint8_t *data,
                 size_t length)
{
    if (visitor->skip) {
        length = visitor->skip < length ? visitor->skip : length;
        visitor->skip -= length;
        tcp_consume(connection, length);
        return;
    }
    tcp_consume(connection, collect(visitor, data, length));
    struct http_request request = {.status = 431, .close = true};
    if (head_complete(visitor))
        request = http_parse((struct text){visitor->head, visitor->used});
    else if (visitor->used < HEAD_MAX)
        return;
    answer(connection, &request);
    visitor->skip = request.body;
    visitor->close = request.close;
    visitor->used = 0;
}

static void opened(struct tcp *connection)
{
    struct visitor *visitor = &visitors[tcp_index(connection)];
    visitor->skip = visitor->used = 0;
    visitor->close = false;
    connections++;
}

static void ready(struct tcp *connection)
{
    struct visitor *visitor = &visitors[tcp_index(connection)];
    while (!visitor->close && tcp_room(connection) >= REPLY_MAX) {
        size_t length;
        const uint8_t *data = tcp_peek(connection, &length);
        if (!length)
            break;
        take(connection, visitor, data, length);
    }
    if (visitor->close || tcp_at_end(connection))
        tcp_close(connection);
}

static void closed(struct tcp *connection)
{
    (void)connection;
    connections--;
}

int guest_main(const struct boot_info *boot)
{
    static const struct tcp_service service = {opened, ready, closed};

    OPTIONS_ALLOW(NET_OPTIONS, "port");
    uint64_t port = option_number("port", 80, UINT16_MAX);
    if (!port) {
        print("--port takes a number from 1 to 65535\n");
        return 2;
    }
    net_start(boot, "net");
    tcp_listen((uint16_t)port, &service);
    print("web: port %lu\n", port);
    net_serve();
}
